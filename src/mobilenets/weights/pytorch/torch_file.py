"""PyTorch's ``.pth`` and ``.pt``: the weights alone, read without PyTorch and never unpickled.

``torch.save`` writes a pickle that names storages, and the storages' bytes beside it: in a zip archive since
PyTorch 1.6, behind the pickle before (torch/serialization.py, ``_save`` and ``_legacy_save``).
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mobilenets.errors import InputError
from mobilenets.runtime.pickled import Machine, NotPlainError, of
from mobilenets.weights.layers import Foreign, check_room, count
from mobilenets.weights.pytorch.safetensors_file import bfloat16
from mobilenets.weights.pytorch.state import read_state

# A MobileNetV2 with Adam's state takes some 32,000 steps and 200 KB.
MOST_OPCODES = 300_000
MAX_PICKLE = 16 << 20
MAX_DIMENSIONS = 8

LEGACY_START = (0x1950A86A20F9469CFC6C, 1001)  # a number of their own, and the version
HINT = "in PyTorch, save model.state_dict() alone"

# Where checkpoints keep the weights, the better ones first: timm (models/_helpers.py) evaluates the moving average of
# the weights where there is one.
_AVERAGES = ("state_dict_ema", "model_ema")
STATES = (*_AVERAGES, "state_dict", "model_state_dict", "model_state", "model", "net", "network", "params", "weights")


def read(path: Path) -> Foreign:
    """Read a state dictionary, alone or in a checkpoint beside plain data; class names beside it come along.

    Raises ``InputError`` in one line for a file that is missing, damaged, not of weights alone, or holds no
    MobileNet's layers.
    """
    try:
        check_room(path, 0, path.stat().st_size)
        content = path.read_bytes()
        if not content.startswith(b"PK"):
            return _foreign(path, *_open_legacy(content))
        # Each entry of the directory begins with this mark, so there are no more than are counted here.
        check_room(path, content.count(b"PK\x01\x02"), 0)
        del content
        with zipfile.ZipFile(path) as archive:
            check_room(path, 0, sum(entry.file_size for entry in archive.infolist()))
            return _foreign(path, *_open_zip(archive))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or 'damaged'}") from error
    except NotPlainError as error:
        raise InputError(f"{path}: it {error}; {HINT}") from error
    except (
        *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, MemoryError),
        *(ValueError, TypeError, LookupError, OverflowError),
    ) as error:
        raise InputError(f"{path}: damaged, not a whole file of torch.save; copy or download it again") from error


class _Call(Enum):
    """The names in PyTorch's pickles, each standing for itself; what they name is never looked up."""

    DICT = auto()
    TENSOR = auto()
    PARAMETER = auto()
    PLAIN = auto()  # what stands beside weights and says nothing of them


# The numbers in a storage; bfloat16, which numpy does not have, as its bits.
_FLOATS = {"Float": "<f4", "Double": "<f8", "Half": "<f2", "BFloat16": "<u2"}
_TYPES = _FLOATS | {"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1", "Bool": "?"}
_BRAIN = "BFloat16"


@dataclass(frozen=True)
class _Kind:
    """The type of a storage, a key of ``_TYPES``."""

    name: str


@dataclass(frozen=True)
class _Storage:
    """So many numbers of one type, which lie outside the pickle under ``key``."""

    kind: str
    key: str
    numbers: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.numbers * np.dtype(_TYPES[self.kind]).itemsize


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage; offset and strides count numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Torch(Machine):
    """The pickles of torch.save: dicts of tensors, and plain data beside them."""

    names: ClassVar = {
        "collections OrderedDict": _Call.DICT,
        "torch._utils _rebuild_tensor": _Call.TENSOR,
        "torch._utils _rebuild_tensor_v2": _Call.TENSOR,
        "torch._utils _rebuild_parameter": _Call.PARAMETER,
        **{f"torch {kind}Storage": _Kind(kind) for kind in _TYPES},
        **dict.fromkeys(("torch device", "torch Size", "collections Counter"), _Call.PLAIN),
        **dict.fromkeys(("__builtin__ set", "builtins set"), _Call.PLAIN),
        **{f"torch {name}": _Call.PLAIN for name in ("float16", "bfloat16", "float32", "float64", "int64", "uint8")},
    }
    purpose: ClassVar = "which weights alone do not need"

    def __init__(self) -> None:
        super().__init__(MOST_OPCODES)
        self.storages: dict[str, _Storage] = {}

    def called(self, function: object, arguments: tuple[Any, ...]) -> object:
        match function:
            case _Call.DICT if not arguments:
                return {}
            case _Call.TENSOR:
                storage, offset, shape, strides, *_ = arguments
                return _Tensor(of(_Storage, storage), _whole(offset), _wholes(shape), _wholes(strides))
            case _Call.PARAMETER:
                return of(_Tensor, arguments[0])
            case _Call.PLAIN:
                return None
        raise ValueError("a call that no weights need")

    def built(self, target: object, state: object) -> None:
        of(dict, target)  # an OrderedDict's attributes: the versions of the modules

    def persistent(self, identity: Any) -> _Storage:
        if of(tuple, identity)[0] != "storage" or identity[5:] not in ((), (None,)):
            raise NotPlainError("holds more than tensors")
        kind, key, _, numbers = identity[1:5]
        storage = _Storage(of(_Kind, kind).name, of(str, key), _whole(numbers))
        if self.storages.setdefault(storage.key, storage) != storage:
            raise ValueError("two storages of one name")
        return storage


def _whole(value: object) -> int:
    if of(int, value) < 0:
        raise ValueError("a negative offset, shape or stride")
    return of(int, value)


def _wholes(values: object) -> tuple[int, ...]:
    if len(of(tuple, values)) > MAX_DIMENSIONS:
        raise ValueError("more dimensions than any layer has")
    return tuple(_whole(value) for value in of(tuple, values))


Fetch = Callable[[_Storage], bytes | memoryview]


def _open_zip(archive: zipfile.ZipFile) -> tuple[object, Fetch]:
    """Return what the pickle describes, and what gives a storage's bytes; each entry is held against its CRC."""
    names = archive.namelist()
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1 or len(set(names)) < len(names):
        raise NotPlainError("is a zip archive, but not one of torch.save")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in names or any(name.startswith(f"{root}code/") for name in names):
        raise NotPlainError("is a TorchScript archive, which holds a program")
    if any(name.startswith("/") or ".." in name.split("/") for name in names):
        raise NotPlainError("has entries outside its own folder")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise NotPlainError("is compressed, which torch.save never does")
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
        raise NotPlainError("was written on a big-endian machine")
    if archive.getinfo(pickles[0]).file_size > MAX_PICKLE:
        raise NotPlainError(f"has a pickle of more than {MAX_PICKLE:,} bytes")
    contents: dict[str, bytes] = {}

    def fetch(storage: _Storage) -> bytes:
        if storage.key not in contents:
            contents[storage.key] = archive.read(f"{root}data/{storage.key}")
        return contents[storage.key]

    return _Torch().run(io.BytesIO(archive.read(pickles[0]))), fetch


def _open_legacy(content: bytes) -> tuple[object, Fetch]:
    """Return what the fourth pickle describes, and what gives a storage's bytes."""
    pickles, machine = io.BytesIO(content[:MAX_PICKLE]), _Torch()
    if any(machine.run(pickles) != number for number in LEGACY_START):
        raise NotPlainError("is a pickle, but not one of torch.save")
    if not machine.run(pickles)["little_endian"]:
        raise NotPlainError("was written on a big-endian machine")
    value, keys = machine.run(pickles), of(list, machine.run(pickles))
    view, at = memoryview(content), pickles.tell()
    places: dict[str, int] = {}
    for key in keys:
        storage = machine.storages[of(str, key)]
        if int.from_bytes(view[at : at + 8], "little") != storage.numbers:
            raise ValueError("a storage of another length")
        places[key] = at + 8
        at += 8 + storage.size
    if at != len(content):
        raise ValueError("too short, or too long")
    return value, lambda storage: view[places[storage.key] :][: storage.size]


def _foreign(path: Path, value: object, fetch: Fetch) -> Foreign:
    """Group the tensors of the state dictionary in ``value``, a dictionary itself or a checkpoint that has one."""
    notes: list[str] = []
    classes = None
    for _ in STATES:  # not for ever: a pickle can describe a dict that holds itself
        if type(value) is not dict:
            break
        if classes is None:
            classes, unclear = _classes(value)
            notes += unclear
        held = [key for key in STATES if type(value.get(key)) is dict and value[key]]
        if not held:
            break
        value = value[held[0]]
        notes.append(f"the weights are those under {held[0]!r}" + "".join(f", not {key!r}" for key in held[1:]))
    entries = value if type(value) is dict else {}
    tensors = {name: entry for name, entry in entries.items() if type(entry) is _Tensor and type(name) is str}
    if not tensors:
        raise InputError(f"{path}: it holds no state dictionary; {HINT}")
    check_room(path, len(tensors), sum(4 * count(tensor.shape) for tensor in tensors.values()))
    arrays = {name: _array(tensor, fetch) for name, tensor in tensors.items()}
    return read_state(path, "PyTorch", arrays, classes=classes, notes=notes)


def _array(tensor: _Tensor, fetch: Fetch) -> npt.NDArray[Any]:
    storage = tensor.storage
    dtype = np.dtype(_TYPES[storage.kind])
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, dtype)
    content = fetch(storage)
    last = tensor.offset + sum((side - 1) * step for side, step in zip(tensor.shape, tensor.strides, strict=True))
    if last >= storage.numbers or len(content) != storage.size:
        raise ValueError("a tensor that reaches beyond its storage")
    strides = tuple(step * dtype.itemsize for step in tensor.strides)
    # The constructor holds shape and strides against the buffer once more.
    array: npt.NDArray[Any] = np.ndarray(tensor.shape, dtype, content, tensor.offset * dtype.itemsize, strides)
    return bfloat16(array) if storage.kind == _BRAIN else array


def _classes(checkpoint: dict[Any, Any]) -> tuple[tuple[str, ...] | None, list[str]]:
    """Return the class names that stand beside weights, under the keys in use, and a note where they are unclear."""
    for key in ("classes", "class_names", "class_to_idx", "idx_to_class"):
        given = checkpoint.get(key)
        if isinstance(given, list | tuple):
            pairs = list(enumerate(given))
        elif isinstance(given, dict):
            pairs = list(given.items()) if key == "idx_to_class" else [(index, name) for name, index in given.items()]
        else:
            continue
        if all(type(name) is str and type(index) is int for index, name in pairs):
            names = dict(pairs)
            if set(names) == set(range(len(pairs))) and len(set(names.values())) == len(pairs) > 0:
                return tuple(names[index] for index in range(len(pairs))), []
        return None, [f"the class names under {key!r} are not different names numbered from 0, and left out"]
    return None, []
