"""Plain data from a pickle, without unpickling it.

A pickle is a program. Even an Unpickler that admits only three numpy names lets a hostile file fill the
memory (a memo of four thousand million places, an array of any shape) or hash nested tuples for ever. So
nothing of ``pickle`` runs here: ``pickletools.genops`` splits the file into its opcodes, and those that plain
data need are carried out on plain data: lists, dicts with text keys, tuples, integers, text and one array of
bytes whose shape must match the bytes that are there. No name is looked up and no function is called; what
else a file asks for is refused.

Source of the opcodes: PEP 307 and the documentation in Python's ``pickletools``.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from enum import Enum, auto
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

MOST_OPCODES = 1_000_000  # in one pickle; CIFAR-100's training file has about 200,000
_T = TypeVar("_T")


class NotPlainError(Exception):
    """Why a pickle is refused, as a phrase that follows the file's name."""


@dataclass
class Array:
    """An array of bytes in a pickle, (rows, columns); None until the pickle has filled it."""

    values: NDArray[np.uint8] | None = None


def plain_data(file: IO[bytes]) -> Any:
    """The value that a pickle of plain data describes; byte strings of Python 2 become Latin-1 text.

    An array is given as ``Array``. Raises NotPlainError when the pickle is damaged or does more than hold
    data.
    """
    try:
        return _Machine().run(file)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise NotPlainError("is damaged or not a pickle of plain data") from error


class _Name(Enum):
    """The names in numpy's pickles, each standing for itself; what they name is never looked up."""

    RECONSTRUCT = auto()
    NDARRAY = auto()
    DTYPE = auto()
    ENCODE = auto()


_NAMES = {
    "numpy.core.multiarray _reconstruct": _Name.RECONSTRUCT,
    "numpy._core.multiarray _reconstruct": _Name.RECONSTRUCT,
    "numpy ndarray": _Name.NDARRAY,
    "numpy dtype": _Name.DTYPE,
    "_codecs encode": _Name.ENCODE,  # how Python 3 writes bytes in protocol 2
}
_BYTE = object()  # the dtype uint8
_VALUES = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG1"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
        *("BINUNICODE", "SHORT_BINUNICODE"),
    )
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


class _Machine:
    """The stack machine of a pickle, for plain data; memory and time grow with the file and no faster."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.arrays = 0

    def run(self, file: IO[bytes]) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if opcode.name == "STOP":
                return self.stack.pop()
            if count >= MOST_OPCODES:
                raise NotPlainError(f"is a pickle of more than {MOST_OPCODES:,} steps")
            self._step(opcode.name, argument)
        raise ValueError("no STOP")

    def _step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        if opcode in _VALUES:
            stack.append(argument)
            return
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append(_CONSTANTS[opcode])
            case "MARK":
                self.marks.append(len(stack))
            case "EMPTY_LIST":
                stack.append([])
            case "LIST":
                stack.append(self._above_mark())
            case "APPEND":
                self._extend([stack.pop()])
            case "APPENDS":
                self._extend(self._above_mark())
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                items = self._above_mark()
                stack.append({})
                self._set(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._set([key, value])
            case "SETITEMS":
                self._set(self._above_mark())
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.marks.append(len(stack) - int(opcode[-1]))
                stack.append(tuple(self._above_mark()))
            case "TUPLE":
                stack.append(tuple(self._above_mark()))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(_named(argument))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_named(f"{_of(str, module)} {_of(str, name)}"))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self._made(function, _of(tuple, arguments)))
            case "BUILD":
                self._build(stack.pop(), stack[-1])
            case _:
                raise NotPlainError(f"is a pickle that does more than hold data ({opcode})")

    def _above_mark(self) -> list[Any]:
        mark = self.marks.pop()
        if not 0 <= mark <= len(self.stack):
            raise IndexError(mark)
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def _extend(self, items: list[Any]) -> None:
        _of(list, self.stack[-1]).extend(items)

    def _set(self, items: list[Any]) -> None:
        target = _of(dict, self.stack[-1])
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_of(str, key)] = value  # only text: the hash of nested tuples can take for ever

    def _made(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        if function is _Name.RECONSTRUCT and arguments[0] is _Name.NDARRAY:
            return Array()
        if function is _Name.DTYPE:
            if arguments[0] != "u1":
                raise NotPlainError("holds an array of another type than bytes")
            return _BYTE
        if function is _Name.ENCODE and arguments[1] == "latin1":
            return _of(str, arguments[0])  # text is as good as bytes here, and makes no copy
        raise ValueError("a call that no array needs")

    def _build(self, state: Any, target: Any) -> None:
        if target is _BYTE:
            return  # its state says byte order and alignment, which bytes do not have
        self.arrays += 1
        if self.arrays > 1:  # each may copy the same text
            raise NotPlainError("holds more than one array")
        _, shape, dtype, fortran, content = _of(tuple, state)
        rows, columns = _of(tuple, shape)
        if dtype is not _BYTE or min(_of(int, rows), _of(int, columns)) < 0:
            raise ValueError("not an array of bytes")
        raw = content if isinstance(content, bytes) else _of(str, content).encode("latin-1")
        if rows * columns != len(raw):
            raise NotPlainError("holds an array whose shape does not fit its bytes")
        _of(Array, target).values = np.frombuffer(raw, np.uint8).reshape((rows, columns), order="F" if fortran else "C")


def _of(kind: type[_T], value: Any) -> _T:
    """The value, if it is exactly of that type."""
    if type(value) is not kind:
        raise TypeError(kind.__name__)
    return value


def _named(name: str) -> _Name:
    if name not in _NAMES:
        raise NotPlainError(f"is a pickle that asks for {name[:60]!r}, which no CIFAR file does")
    return _NAMES[name]
