"""PyTorch's ``.pth`` and ``.pt``: the weights alone, read without PyTorch and never unpickled.

``torch.save`` writes a pickle that names storages, and the storages' bytes beside it: in a zip archive since
PyTorch 1.6, behind the pickle before (torch/serialization.py, ``_save`` and ``_legacy_save``).
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.base.pickled import NotPlainError, Object, exactly
from mobilenets.errors import InputError
from mobilenets.weights.class_names import names_in
from mobilenets.weights.layers import Foreign, bfloat16, check_room, reported
from mobilenets.weights.pytorch.checkpoint import LEAVES, State, choose, find, is_average, settings_of
from mobilenets.weights.pytorch.described import from_folder, from_training
from mobilenets.weights.pytorch.state import read_state
from mobilenets.weights.pytorch.torch_pickle import BRAIN, TYPES, Storage, Tensor, TorchPickle

MAX_PICKLE = 16 << 20

LEGACY_START = (0x1950A86A20F9469CFC6C, 1001)  # a number of their own, and the version
HINT = "in PyTorch, save only model.state_dict()"
_DAMAGES = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, MemoryError),
    *(ValueError, TypeError, LookupError, OverflowError),
)


def read(path: Path, output: str | None = None) -> Foreign:
    """Read a state dictionary or a whole module, alone or in a checkpoint; class names beside it come along.

    ``output`` names the weights to take where there are several, such as ``model`` and ``model_ema``; by default a
    moving average where there is one. Raises ``InputError`` in one line for a file that is missing, damaged, or holds
    no MobileNet's layers.
    """
    damaged = "damaged, not a complete torch.save file; copy or download it again"
    with reported(path, damaged, *_DAMAGES), reported(path, f"it {{}}; {HINT}", NotPlainError):
        check_room(path, 0, path.stat().st_size)
        content = path.read_bytes()
        if not content.startswith(b"PK"):
            return _foreign(path, *_open_legacy(content), output)
        # Each entry of the directory begins with this mark, so there are no more than are counted here.
        check_room(path, content.count(b"PK\x01\x02"), 0)
        del content
        with zipfile.ZipFile(path) as archive:
            check_room(path, 0, sum(entry.file_size for entry in archive.infolist()))
            return _foreign(path, *_open_zip(archive), output)


Fetch = Callable[[Storage], bytes | memoryview]


def _open_zip(archive: zipfile.ZipFile) -> tuple[object, Fetch]:
    """Return what the pickle describes, and what gives a storage's bytes; each entry is held against its CRC."""
    names = archive.namelist()
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if any(name.endswith(("models/model.json", "serialized_exported_program.json")) for name in names):
        raise NotPlainError("is an archive from torch.export, which holds a program")
    if len(pickles) != 1 or len(set(names)) < len(names):
        raise NotPlainError("is a zip archive, but not from torch.save")
    root = pickles[0].removesuffix("data.pkl")
    if any(name.startswith("/") or ".." in name.split("/") for name in names):
        raise NotPlainError("has entries outside its own folder")
    held = [entry for entry in archive.infolist() if not entry.filename.startswith(f"{root}code/")]
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in held):
        raise NotPlainError("is compressed, which torch.save never does")
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
        raise NotPlainError("was written on a big-endian machine")
    if archive.getinfo(pickles[0]).file_size > MAX_PICKLE:
        raise NotPlainError(f"has a pickle of more than {MAX_PICKLE:,} bytes")
    contents: dict[str, bytes] = {}

    def fetch(storage: Storage) -> bytes:
        if storage.key not in contents:
            contents[storage.key] = archive.read(f"{root}data/{storage.key}")
        return contents[storage.key]

    return TorchPickle().run(io.BytesIO(archive.read(pickles[0]))), fetch


def _open_legacy(content: bytes) -> tuple[object, Fetch]:
    """Return what the fourth pickle describes, and what gives a storage's bytes."""
    pickles, machine = io.BytesIO(content[:MAX_PICKLE]), TorchPickle()
    if any(machine.run(pickles) != number for number in LEGACY_START):
        raise NotPlainError("is a pickle, but not from torch.save")
    if not machine.run(pickles)["little_endian"]:
        raise NotPlainError("was written on a big-endian machine")
    value, keys = machine.run(pickles), exactly(list, machine.run(pickles))
    view, at = memoryview(content), pickles.tell()
    places: dict[str, int] = {}
    for key in keys:
        storage = machine.storages[exactly(str, key)]
        if int.from_bytes(view[at : at + 8], "little") != storage.numbers:
            raise ValueError("a storage of the wrong length")
        places[key] = at + 8
        at += 8 + storage.size
    if at != len(content):
        raise ValueError("too short, or too long")
    return value, lambda storage: view[places[storage.key] :][: storage.size]


def _foreign(path: Path, value: object, fetch: Fetch, output: str | None) -> Foreign:
    """Group the tensors of the weights in ``value``."""
    states = find(value)
    if not states:
        raise InputError(f"it holds no state dictionary; {HINT}")
    state, others = choose(states, output)
    tensors, passed_over = _tensors(state)
    check_room(path, len(tensors), sum(4 * math.prod(tensor.shape) for tensor in tensors.values()))
    arrays = {name: _array(tensor, fetch) for name, tensor in tensors.items()}
    settings = settings_of(value)
    classes, notes = _classes(settings)
    if output in (state.name, state.name.rpartition(".")[2]):
        output = None
    foreign = read_state(
        path, "PyTorch", arrays, classes=classes, notes=notes, left_out=passed_over, module=state, output=output
    )
    foreign = from_folder(path, from_training(foreign, settings))
    if not state.name:
        return foreign
    average = ", a moving average" if is_average(state.name) else ""
    taken = f"the weights used are those under {state.name!r}{average}{_instead(others)}"
    if others:
        return replace(foreign, assumed=(taken, *foreign.assumed))
    return replace(foreign, notes=(taken, *foreign.notes))


def _instead(others: list[State]) -> str:
    named = [state.name for state in others if state.name][:3]
    return f"; choose {' or '.join(map(repr, named))} with --output {named[0]}" if named else ""


def _tensors(state: State) -> tuple[Mapping[str, Tensor], list[str]]:
    """Give the tensors, and the names of what is none; raises ``InputError`` where that is a weight."""
    tensors = {name: entry for name, entry in state.tensors.items() if type(entry) is Tensor}
    passed_over = []
    for name, entry in state.tensors.items():
        kind = entry.name if isinstance(entry, Object) else entry.storage.kind
        if isinstance(entry, Tensor) and kind in TYPES:
            continue
        if name.rpartition(".")[2] in LEAVES:
            kind = " ".join(kind[:60].split())
            if "qtensor" in kind:
                raise InputError(f"{name[:60]!r} is quantised; {HINT}, of the float network")
            raise InputError(f"{name[:60]!r} is not a tensor of plain numbers ({kind}); {HINT}, as float32")
        passed_over.append(name)
        tensors.pop(name, None)
    return tensors, passed_over


def _array(tensor: Tensor, fetch: Fetch) -> npt.NDArray[Any]:
    storage = tensor.storage
    dtype = np.dtype(TYPES[storage.kind])
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, dtype)
    content = fetch(storage)
    last = tensor.offset + sum((side - 1) * step for side, step in zip(tensor.shape, tensor.strides, strict=True))
    if last >= storage.numbers or len(content) != storage.size:
        raise ValueError("a tensor that reaches beyond its storage")
    strides = tuple(step * dtype.itemsize for step in tensor.strides)
    # The constructor holds shape and strides against the buffer once more.
    array: npt.NDArray[Any] = np.ndarray(tensor.shape, dtype, content, tensor.offset * dtype.itemsize, strides)
    return bfloat16(array) if storage.kind == BRAIN else array


def _classes(checkpoint: Mapping[str | int, Any]) -> tuple[tuple[str, ...] | None, list[str]]:
    """Return the class names that come with weights, under the keys in use, and a note where they are unclear."""
    for key in ("classes", "class_names", "class_to_idx", "idx_to_class", "CLASSES"):
        given = checkpoint.get(key)
        if isinstance(given, list | tuple | dict):
            names = names_in(list(given) if isinstance(given, tuple) else given) or []
            if len(set(names)) == len(names) > 0:
                return tuple(names), []
            return None, [f"the class names under {key!r} are not unique names numbered from 0, so they are left out"]
    return None, []
