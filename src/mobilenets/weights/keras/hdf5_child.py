"""Lists and reads an HDF5 file in a process of its own; ``mobilenets.weights.keras.hdf5`` starts it as a script.

libhdf5 crashes, hangs or takes gigabytes on some damaged files; here that costs a child and not the caller. Its limits
are set before the file is opened. It imports nothing of this package and gives back ``listing.json`` and
``arrays.bin`` in a private folder.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

# What a Keras file says in attributes, its training state apart.
_WANTED = re.compile(r"(?:layer_names|weight_names)\d{0,4}|model_config|keras_version|backend|name|dtype")
_TRAINING = {"optimizer_weights", "optimizer"}
_MAX_DEPTH = 30
_MAX_TEXT = 16 << 20


class _Refused(Exception):
    """A reason that the user is told as it is."""


class _Listing:
    """What is in a file, without the numbers."""

    def __init__(self, max_arrays: int, max_bytes: int) -> None:
        self.max_arrays, self.max_bytes = max_arrays, max_bytes
        self.groups: dict[str, dict[str, list[str]]] = {}
        self.arrays: dict[str, dict[str, Any]] = {}
        self.unread: dict[str, str] = {}
        self.found: list[tuple[str, Any]] = []
        self.entries = self.bytes = self.text = 0

    def visit(self, group: Any, path: str, depth: int) -> None:
        """Walk a group; links that leave the tree are refused, and loops of hard links end at a depth."""
        if depth > _MAX_DEPTH:
            raise _Refused(f"its groups are nested more than {_MAX_DEPTH} deep")
        self.groups[path] = self.texts(group)
        # What it claims is checked before anything is made of it.
        if self.entries + len(group) > self.max_arrays:
            raise _Room(self.entries + len(group), self.bytes)
        for name in group:
            self.entries += 1
            inner = f"{path}/{name}" if path else name
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise _Refused(f"{inner[:100]!r} is a link to another place or file, which a Keras file never has")
            entry = group[name]
            if isinstance(entry, h5py.Group):
                self.visit(entry, inner, depth + 1)
            elif isinstance(entry, h5py.Dataset):
                self.add(inner, entry)
            else:
                self.unread[inner] = type(entry).__name__
            if self.entries > self.max_arrays:
                raise _Room(self.entries, self.bytes)

    def add(self, path: str, dataset: Any) -> None:
        """List one dataset; only floating-point ones that belong to the network will be read."""
        if dataset.external or dataset.is_virtual:
            raise _Refused(f"{path[:100]!r} keeps its numbers in other files, which a Keras file never does")
        bfloat16 = dataset.dtype == "V2" and self.texts(dataset).get("dtype") == ["bfloat16"]
        floating = dataset.dtype.kind == "f" and dataset.dtype.itemsize in (2, 4, 8)
        if path.partition("/")[0] in _TRAINING or dataset.shape is None or not (floating or bfloat16):
            self.unread[path] = str(dataset.dtype)[:100]
            return
        self.bytes += math.prod(dataset.shape) * dataset.dtype.itemsize
        chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
        if max(self.bytes, chunk) > self.max_bytes:
            raise _Room(self.entries, max(self.bytes, chunk))
        self.found.append((path, dataset))

    def texts(self, holder: Any) -> dict[str, list[str]]:
        """The attributes that Keras writes, as lists of text."""
        texts: dict[str, list[str]] = {}
        for name in holder.attrs:
            if not _WANTED.fullmatch(name):
                continue
            attribute = holder.attrs.get_id(name)
            # An empty list of names is stored as float64.
            if attribute.dtype.kind not in "SO" or attribute.shape is None:
                texts[name] = []
                continue
            if math.prod(attribute.shape) > self.max_arrays or attribute.get_storage_size() > _MAX_TEXT:
                raise _Room(math.prod(attribute.shape), attribute.get_storage_size())
            values = np.asarray(holder.attrs[name]).reshape(-1).tolist()
            texts[name] = [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values]
            if not all(isinstance(value, str) for value in texts[name]):
                raise _Refused(f"its attribute {name[:100]!r} is not text")
            self.text += sum(map(len, texts[name]))
            if self.text > _MAX_TEXT:
                raise _Refused(f"its names and model_config are more than {_MAX_TEXT} characters")
        return texts

    def read(self, out: BinaryIO) -> None:
        """Append each array to ``out``, in this machine's byte order."""
        for path, dataset in self.found:
            array = np.asarray(dataset[()])
            if array.dtype.kind == "V":
                array = (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
            array = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(dataset.shape)
            self.arrays[path] = {"dtype": array.dtype.name, "shape": array.shape, "offset": out.tell()}
            out.write(array.tobytes())


class _Room(Exception):
    """More arrays or bytes than allowed."""


def _limit(memory: int, seconds: int) -> None:
    """Let the system stop this process where it can; the parent's timeout is there everywhere."""
    with suppress(ImportError):
        import resource

        seconds += int(time.process_time())  # a slow machine has needed some to load h5py
        for kind, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)):
            with suppress(ValueError, OSError):
                resource.setrlimit(kind, (value, value))


def main(source: str, folder: str, max_arrays: str, max_bytes: str, memory: str, seconds: str) -> None:
    """Read ``source`` into ``folder`` within limits."""
    _limit(int(memory), int(seconds))
    listing = _Listing(int(max_arrays), int(max_bytes))
    result: dict[str, Any]
    try:
        with h5py.File(source, "r", locking=False) as file, Path(folder, "arrays.bin").open("wb") as out:
            listing.visit(file, "", 0)
            listing.read(out)
        result = {"groups": listing.groups, "arrays": listing.arrays, "unread": listing.unread}
    except _Refused as error:
        result = {"refused": str(error)}
    except _Room as error:
        result = {"room": error.args}
    # Whatever else h5py raises on a damaged file: OSError, KeyError, RuntimeError, ValueError, OverflowError, ...
    except Exception as error:
        result = {"damaged": type(error).__name__}
    Path(folder, "listing.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
