"""Plain data from a pickle, without unpickling it.

A pickle is a program. Even an Unpickler that admits only three numpy names lets a hostile file fill the
memory (a memo of four thousand million places, an array of any shape) or hash nested tuples for ever. So
nothing of ``pickle`` runs here: ``pickletools.genops`` splits the file into its opcodes, and these are carried out on
plain data: lists, tuples, numbers, text and dicts of which only keys that are text or whole numbers are kept. No name
is looked up and no function is called: what a call would make is an ``Object`` that says what the file says.

Source of the opcodes: PEP 307 and the documentation in Python's ``pickletools``.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO, Any, TypeVar

_T = TypeVar("_T")


class NotPlainError(Exception):
    """Why a pickle is refused, as a phrase that follows the file's name."""


@dataclass(eq=False)
class Name:
    """A class or function that a pickle names, ``module name``; it is never looked up."""

    name: str


@dataclass(eq=False)
class Object:
    """What a call would make: the ``name`` of what is called, its arguments, and the items and state put into it."""

    name: str
    arguments: tuple[Any, ...] = ()
    items: dict[str | int, Any] = field(default_factory=dict)
    state: Any = None


_VALUES = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    )
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


class Machine:
    """The stack machine of a pickle, for plain data; memory and time grow with the file and no faster.

    A subclass may make more of some calls than an ``Object``.
    """

    def __init__(self, most_opcodes: int) -> None:
        self.left = self.most_opcodes = most_opcodes

    def run(self, file: IO[bytes]) -> Any:
        """Give the value that the pickle at the file's position describes, and leave the position behind it.

        Byte strings of Python 2 become Latin-1 text. The limit of opcodes holds for all pickles that one machine
        runs. Raises NotPlainError when the pickle is damaged or does more than hold data.
        """
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # genops lets Python warn of odd escapes in a text
                return self._run(file)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
            raise NotPlainError("is damaged or not a pickle of plain data") from error

    def called(self, name: str, arguments: tuple[Any, ...]) -> object:
        """Give what a call stands for."""
        return Object(name, arguments)

    def persistent(self, identity: Any) -> object:
        """Give what lies outside the pickle under this identity."""
        raise ValueError("something outside the pickle")

    def _run(self, file: IO[bytes]) -> Any:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return self.stack.pop()
            self.left -= 1
            if self.left < 0:
                raise NotPlainError(f"is a pickle of more than {self.most_opcodes:,} steps")
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
            case "POP_MARK":
                self._above_mark()
            case "POP":
                stack.pop()
            case "DUP":
                stack.append(stack[-1])
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
            case _:
                self._step_of_objects(opcode, argument)

    def _step_of_objects(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        match opcode:
            case "EMPTY_SET":
                stack.append(Object("set"))
            case "FROZENSET":
                stack.append(Object("frozenset", tuple(self._above_mark())))
            case "ADDITEMS":  # of a set: nothing of it is needed
                self._above_mark()
            case "GLOBAL":
                stack.append(Name(argument))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(Name(f"{exactly(str, module)} {exactly(str, name)}"))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                self._call(function, arguments)
            case "NEWOBJ_EX":
                _, arguments, function = stack.pop(), stack.pop(), stack.pop()
                self._call(function, arguments)
            case "OBJ":
                function, *given = self._above_mark()
                self._call(function, tuple(given))
            case "INST":
                self._call(Name(argument), tuple(self._above_mark()))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Object):  # a dict's attributes are passed over
                    stack[-1].state = state
            case "BINPERSID":
                stack.append(self.persistent(stack.pop()))
            case _:
                raise NotPlainError(f"is a pickle that does more than hold data ({opcode})")

    def _call(self, function: object, arguments: object) -> None:
        name = function.name if isinstance(function, Name) else "an object"
        self.stack.append(self.called(name, exactly(tuple, arguments)))

    def _above_mark(self) -> list[Any]:
        mark = self.marks.pop()
        if not 0 <= mark <= len(self.stack):
            raise IndexError(mark)
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], Object):  # a deque, a list of one's own: nothing of it is needed
            exactly(list, self.stack[-1]).extend(items)

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        put(
            target.items if isinstance(target, Object) else exactly(dict, target),
            zip(items[::2], items[1::2], strict=True),
        )


def put(target: dict[str | int, Any], pairs: Iterable[tuple[Any, Any]]) -> None:
    """Put pairs of key and value into a dict, but for keys of other kinds: hashing nested tuples can take for ever."""
    for key, value in pairs:
        if type(key) is str or type(key) is int:
            target[key] = value


def exactly(kind: type[_T], value: Any) -> _T:
    """Return the value, if it is exactly of that type; TypeError otherwise."""
    if type(value) is not kind:
        raise TypeError(kind.__name__)
    return value
