"""An HDF5 file as names, attributes and arrays, read by a child process within limits of time and memory."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.errors import InputError
from mobilenets.weights.layers import MAX_ARRAYS, MAX_BYTES, check_room

_CHILD = Path(__file__).with_name("hdf5_child.py")
_MEMORY = 1 << 30
_CPU_SECONDS = 3
# A child that only waits, for a slow disk, takes no processor time.
_SECONDS = 60.0

DAMAGED = "a damaged or incomplete HDF5 file; copy or download it again"


@dataclass(frozen=True)
class Tree:
    """What an HDF5 file holds; paths are joined by ``/`` and are only ever labels.

    ``texts``: of each group, the attributes that Keras writes. ``unread``: datasets that are no floating-point numbers,
    or belong to an optimiser, and their type.
    """

    texts: Mapping[str, Mapping[str, tuple[str, ...]]]
    arrays: Mapping[str, npt.NDArray[Any]]
    unread: Mapping[str, str]


def load(path: Path, source: Path | None = None) -> Tree:
    """Read the HDF5 file at ``source``, by default ``path`` itself; errors name ``path``.

    Raises InputError for anything damaged, for links and storage outside the file, for more than a MobileNet has, and
    where h5py is not installed.
    """
    if importlib.util.find_spec("h5py") is None:
        raise InputError(f"{path}: reading Keras files needs h5py; install it with: pip install h5py")
    source = path if source is None else source
    if not source.is_file():
        raise InputError(f"{path}: no such file; name a Keras file")
    try:
        with tempfile.TemporaryDirectory(prefix="mobilenets-") as folder:
            _run(path, source, Path(folder))
            return _collect(path, Path(folder))
    # No listing: the child was stopped by a crash or a limit, as on damaged files.
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: {DAMAGED}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _run(path: Path, source: Path, folder: Path) -> None:
    limits = (MAX_ARRAYS, MAX_BYTES, _MEMORY, _CPU_SECONDS)
    # -P: a module of the same name in the script's folder is not imported. No filter plug-ins are loaded, and one
    # thread keeps the memory that numpy reserves small.
    environment = {**os.environ, "HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        subprocess.run(
            [sys.executable, "-P", str(_CHILD), str(source.resolve()), str(folder), *map(str, limits)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{path}: reading it takes more than {_SECONDS:.0f} s; {DAMAGED}") from error


def _collect(path: Path, folder: Path) -> Tree:
    listing = json.loads((folder / "listing.json").read_bytes())
    if "room" in listing:
        check_room(path, *map(int, listing["room"]))
    if "refused" in listing:
        raise InputError(f"{path}: {listing['refused']}; give a file as Keras itself wrote it")
    numbers = (folder / "arrays.bin").read_bytes()
    arrays = {}
    for name, entry in listing["arrays"].items():
        shape, offset = tuple(entry["shape"]), entry["offset"]
        arrays[name] = np.frombuffer(numbers, entry["dtype"], math.prod(shape), offset).reshape(shape)
    texts = {
        group: {key: tuple(values) for key, values in attributes.items()}
        for group, attributes in listing["groups"].items()
    }
    return Tree(texts, arrays, listing["unread"])
