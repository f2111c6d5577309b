"""Plain data from a pickle, without unpickling it.

A pickle is a program. Even an Unpickler that admits only three numpy names lets a hostile file fill the
memory (a memo of four thousand million places, an array of any shape) or hash nested tuples for ever. So
nothing of ``pickle`` runs here: ``pickletools.genops`` splits the file into its opcodes, and those that plain
data need are carried out on plain data: lists, tuples, numbers, text and dicts whose keys are text or whole
numbers. No name is looked up and no function is called: what a name stands for, and what a call of it gives, is
what the ``Machine`` of one purpose says; what else a file asks for is refused.

Source of the opcodes: PEP 307 and the documentation in Python's ``pickletools``.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Mapping
from typing import IO, Any, ClassVar, TypeVar

_T = TypeVar("_T")


class NotPlainError(Exception):
    """Why a pickle is refused, as a phrase that follows the file's name."""


_VALUES = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG1", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
        *("BINUNICODE", "SHORT_BINUNICODE"),
    )
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


class Machine:
    """The stack machine of a pickle, for plain data; memory and time grow with the file and no faster.

    A subclass says which names one kind of file needs. ``purpose`` ends the sentence that refuses any other.
    """

    names: ClassVar[Mapping[str, object]] = {}
    purpose: ClassVar[str]

    def __init__(self, most_opcodes: int) -> None:
        self.left = self.most_opcodes = most_opcodes
        self._start()

    def run(self, file: IO[bytes]) -> Any:
        """Give the value that the pickle at the file's position describes, and leave the position behind it.

        Byte strings of Python 2 become Latin-1 text. The limit of opcodes holds for all pickles that one machine
        runs. Raises NotPlainError when the pickle is damaged or does more than hold data.
        """
        self._start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # genops lets Python warn of odd escapes in a text
                return self._run(file)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
            raise NotPlainError("is damaged or not a pickle of plain data") from error

    def called(self, function: object, arguments: tuple[Any, ...]) -> object:
        """Give what a call of one of ``names`` stands for; ValueError for a call that the purpose does not need."""
        raise ValueError("a call")

    def built(self, target: object, state: object) -> None:
        """Give a value its state, or pass over it."""
        raise ValueError("a state")

    def persistent(self, identity: object) -> object:
        """Give what lies outside the pickle under this identity."""
        raise ValueError("something outside the pickle")

    def _start(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

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
                stack.append(self._named(argument))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(self._named(f"{of(str, module)} {of(str, name)}"))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self.called(function, of(tuple, arguments)))
            case "BUILD":
                state = stack.pop()
                self.built(stack[-1], state)
            case "BINPERSID":
                stack.append(self.persistent(stack.pop()))
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
        of(list, self.stack[-1]).extend(items)

    def _set(self, items: list[Any]) -> None:
        target = of(dict, self.stack[-1])
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str and type(key) is not int:
                raise TypeError("hashing nested tuples can take forever")
            target[key] = value

    def _named(self, name: str) -> object:
        if name not in self.names:
            raise NotPlainError(f"is a pickle that asks for {name[:60]!r}, {self.purpose}")
        return self.names[name]


def of(kind: type[_T], value: Any) -> _T:
    """Return the value, if it is exactly of that type; TypeError otherwise."""
    if type(value) is not kind:
        raise TypeError(kind.__name__)
    return value
