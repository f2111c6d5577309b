"""The pickles of torch.save, read without unpickling: tensors, plain data, and objects that stay opaque.

Checkpoints hold what training had at hand: an ``argparse.Namespace``, numpy scalars, enums, callbacks, a whole
module. Each such object becomes an ``Object``: the name of its class, and the plain data that the file gives it. The
class is never looked up and nothing is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mobilenets.base.pickled import Machine, Name, NotPlainError, Object, exactly, put

# A MobileNetV2 with Adam's state takes some 32,000 steps and 200 KB.
MOST_OPCODES = 300_000
MAX_DIMENSIONS = 8

# The numbers in a storage; bfloat16, which numpy does not have, as its bits.
BRAIN = "BFloat16"
TYPES = {"Float": "<f4", "Double": "<f8", "Half": "<f2", BRAIN: "<u2"}
TYPES |= {"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1", "Bool": "?"}
# Storages of numbers that no weights are kept in, by bytes a number: an old file is a row of storages.
_OTHER_TYPES = {"ComplexFloat": 8, "ComplexDouble": 16, "QInt8": 1, "QUInt8": 1, "QInt32": 4}


@dataclass(frozen=True)
class Storage:
    """So many numbers of one type, which lie outside the pickle under ``key``."""

    kind: str
    key: str
    numbers: int

    @property
    def size(self) -> int:
        """In bytes."""
        each = np.dtype(TYPES[self.kind]).itemsize if self.kind in TYPES else _OTHER_TYPES.get(self.kind, 1)
        return self.numbers * each


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


# What makes tensors and dicts, none of which is ever looked up. ``reduce`` of an object in protocols 0 and 1 names a
# function; the class is its first argument.
_DICTS = ("collections OrderedDict", "collections defaultdict")
_TENSORS = ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2")
_PARAMETERS = ("torch._utils _rebuild_parameter", "torch._utils _rebuild_parameter_with_state")
_SUBCLASS = "torch._tensor _rebuild_from_type_v2"
_MAKERS = ("copy_reg _reconstructor", "copyreg _reconstructor")
_STORAGES = {f"torch {kind}Storage": kind for kind in (*TYPES, *_OTHER_TYPES)} | {
    "torch.storage UntypedStorage": "Untyped"
}


class TorchPickle(Machine):
    """Gives dicts, lists and tuples of plain data, ``Tensor`` and ``Object``."""

    def __init__(self) -> None:
        super().__init__(MOST_OPCODES)
        self.storages: dict[str, Storage] = {}

    def called(self, name: str, arguments: tuple[Any, ...]) -> object:
        """Make a tensor or a dict; whatever else is called gives an ``Object``."""
        if name in _DICTS:
            return _dict(arguments)
        if name in _TENSORS:
            storage, offset, shape, strides, *_ = arguments
            return Tensor(exactly(Storage, storage), _whole(offset), _wholes(shape), _wholes(strides))
        if name in _PARAMETERS and isinstance(arguments[0], Tensor | Object):
            return arguments[0]
        first = arguments[0].name if arguments and isinstance(arguments[0], Name) else ""
        if name == _SUBCLASS and first in (*_TENSORS, *_PARAMETERS):
            return self.called(first, exactly(tuple, arguments[2]))
        return Object(first if first and name in _MAKERS else name)

    def persistent(self, identity: Any) -> object:
        """Give a storage, or the class of a module that an old file brings with its source."""
        kind, *rest = exactly(tuple, identity)
        if kind == "module":
            return rest[0]
        if kind != "storage" or identity[5:] not in ((), (None,)):
            raise NotPlainError("holds more than tensors")
        of_type, key, _, numbers = rest[:4]
        name = exactly(Name, of_type).name
        storage = Storage(_STORAGES.get(name, name), exactly(str, key), _whole(numbers))
        if self.storages.setdefault(storage.key, storage) != storage:
            raise ValueError("two storages of one name")
        return storage


def _dict(arguments: tuple[Any, ...]) -> dict[str | int, Any]:
    """Make what OrderedDict or defaultdict gives: empty, or of the pairs that Python 2 wrote as arguments."""
    made: dict[str | int, Any] = {}
    pairs = arguments[0] if arguments and type(arguments[0]) is list else []
    if all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        put(made, pairs)
    return made


def _whole(value: object) -> int:
    if exactly(int, value) < 0:
        raise ValueError("a negative offset, shape or stride")
    return exactly(int, value)


def _wholes(values: object) -> tuple[int, ...]:
    if len(exactly(tuple, values)) > MAX_DIMENSIONS:
        raise ValueError("more dimensions than any layer has")
    return tuple(_whole(value) for value in exactly(tuple, values))
