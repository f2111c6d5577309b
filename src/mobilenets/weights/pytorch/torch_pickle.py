"""The pickles of torch.save, read without unpickling: tensors, plain data, and objects that stay opaque.

Checkpoints hold what training had at hand: an ``argparse.Namespace``, numpy scalars, enums, callbacks, a whole
module. Each such object becomes an ``Opaque``: the name of its class, and the plain data that the file gives it. The
class is never looked up and nothing is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, ClassVar

import numpy as np

from mobilenets.base.pickled import Machine, NotPlainError, of

# A MobileNetV2 with Adam's state takes some 32,000 steps and 200 KB.
MOST_OPCODES = 300_000
MAX_DIMENSIONS = 8

# The numbers in a storage; bfloat16, which numpy does not have, as its bits.
BRAIN = "BFloat16"
TYPES = {"Float": "<f4", "Double": "<f8", "Half": "<f2", BRAIN: "<u2"}
TYPES |= {"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1", "Bool": "?"}
# Storages of numbers that no weights are kept in, by bytes a number: an old file is a row of storages.
_OTHER_TYPES = {"ComplexFloat": 8, "ComplexDouble": 16, "QInt8": 1, "QUInt8": 1, "QInt32": 4}


class Named:
    """A class or function that a pickle names; it is never looked up."""

    def __init__(self, name: str) -> None:
        self.name = name


class Opaque:
    """An object of a class that is not looked up: its name, the items put into it, and its state."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: dict[str | int, Any] = {}
        self.state: object = None


class _Call(Enum):
    """The names that tensors need, each standing for itself; what they name is never looked up."""

    DICT = auto()
    TENSOR = auto()
    PARAMETER = auto()
    SUBCLASS = auto()


@dataclass(frozen=True)
class _Kind:
    """The type of a storage."""

    name: str


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


# ``reduce`` of an object in protocols 0 and 1 names a function; the class is its first argument.
_MAKERS = ("copy_reg _reconstructor", "copyreg _reconstructor")
_PLAIN_VALUES = ("LONG", "LONG4", "FLOAT", "UNICODE", "BINUNICODE8", "BINBYTES8", "BYTEARRAY8")


class TorchPickle(Machine):
    """Gives dicts, lists and tuples of plain data, ``Tensor`` and ``Opaque``."""

    names: ClassVar = {
        "collections OrderedDict": _Call.DICT,
        "collections defaultdict": _Call.DICT,
        "torch._utils _rebuild_tensor": _Call.TENSOR,
        "torch._utils _rebuild_tensor_v2": _Call.TENSOR,
        "torch._utils _rebuild_parameter": _Call.PARAMETER,
        "torch._utils _rebuild_parameter_with_state": _Call.PARAMETER,
        "torch._tensor _rebuild_from_type_v2": _Call.SUBCLASS,
        **{f"torch {kind}Storage": _Kind(kind) for kind in (*TYPES, *_OTHER_TYPES)},
        "torch.storage UntypedStorage": _Kind("Untyped"),
    }
    purpose: ClassVar = ""

    def __init__(self) -> None:
        super().__init__(MOST_OPCODES)
        self.storages: dict[str, Storage] = {}

    def called(self, function: object, arguments: tuple[Any, ...]) -> object:
        """Make a tensor or a dict; whatever else is called gives an ``Opaque``."""
        match function:
            case _Call.DICT:
                return _dict(arguments)
            case _Call.TENSOR:
                storage, offset, shape, strides, *_ = arguments
                return Tensor(of(Storage, storage), _whole(offset), _wholes(shape), _wholes(strides))
            case _Call.PARAMETER if isinstance(arguments[0], Tensor | Opaque):
                return arguments[0]
            case _Call.SUBCLASS if arguments[0] in (_Call.TENSOR, _Call.PARAMETER):
                return self.called(arguments[0], of(tuple, arguments[2]))
        name = function.name if isinstance(function, Named) else "an object"
        if name in _MAKERS and arguments and type(arguments[0]) is Named:
            name = arguments[0].name
        return Opaque(name)

    def built(self, target: object, state: object) -> None:
        """Give an opaque object its state; a dict's attributes are passed over (the versions of a state's modules)."""
        if isinstance(target, Opaque):
            target.state = state

    def persistent(self, identity: Any) -> object:
        """Give a storage, or the class of a module that an old file brings with its source."""
        kind, *rest = of(tuple, identity)
        if kind == "module":
            return rest[0]
        if kind != "storage" or identity[5:] not in ((), (None,)):
            raise NotPlainError("holds more than tensors")
        of_type, key, _, numbers = rest[:4]
        if not isinstance(of_type, _Kind | Named):
            raise TypeError("a storage of no type")
        storage = Storage(of_type.name, of(str, key), _whole(numbers))
        if self.storages.setdefault(storage.key, storage) != storage:
            raise ValueError("two storages of one name")
        return storage

    def _named(self, name: str) -> object:
        return self.names.get(name) or Named(name)

    def _step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        if opcode in _PLAIN_VALUES:
            stack.append(argument)
            return
        match opcode:
            case "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self.called(function, of(tuple, arguments)))
            case "NEWOBJ_EX":
                _, arguments, function = stack.pop(), stack.pop(), stack.pop()
                stack.append(self.called(function, of(tuple, arguments)))
            case "OBJ":
                function, *given = self._above_mark()
                stack.append(self.called(function, tuple(given)))
            case "INST":
                stack.append(self.called(self._named(argument), tuple(self._above_mark())))
            case "EMPTY_SET":
                stack.append(Opaque("set"))
            case "FROZENSET":
                self._above_mark()
                stack.append(Opaque("frozenset"))
            case "ADDITEMS":
                self._above_mark()
            case "DUP":
                stack.append(stack[-1])
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._above_mark()
            case _:
                super()._step(opcode, argument)

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], Opaque):  # a deque, a list of one's own: nothing of it is needed
            super()._extend(items)

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        _put(target.items if isinstance(target, Opaque) else of(dict, target), items[::2], items[1::2])


def _dict(arguments: tuple[Any, ...]) -> dict[str | int, Any]:
    """Make what OrderedDict or defaultdict gives: empty, or of the pairs that Python 2 wrote as arguments."""
    made: dict[str | int, Any] = {}
    pairs = arguments[0] if arguments and type(arguments[0]) is list else []
    if all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        _put(made, [pair[0] for pair in pairs], [pair[1] for pair in pairs])
    return made


def _put(target: dict[str | int, Any], keys: Sequence[Any], values: Sequence[Any]) -> None:
    # Other keys are left out with their values: the hash of nested tuples can take for ever.
    for key, value in zip(keys, values, strict=True):
        if type(key) is str or type(key) is int:
            target[key] = value


def _whole(value: object) -> int:
    if of(int, value) < 0:
        raise ValueError("a negative offset, shape or stride")
    return of(int, value)


def _wholes(values: object) -> tuple[int, ...]:
    if len(of(tuple, values)) > MAX_DIMENSIONS:
        raise ValueError("more dimensions than any layer has")
    return tuple(_whole(value) for value in of(tuple, values))
