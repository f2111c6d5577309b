"""The plain data of CIFAR's pickles: what ``base.pickled`` reads, and one array of bytes a pickle."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mobilenets.base.pickled import Machine, NotPlainError, of

__all__ = ["Array", "NotPlainError", "plain_data"]

MOST_OPCODES = 1_000_000  # in one pickle; CIFAR-100's training file has about 200,000


@dataclass
class Array:
    """An array of bytes in a pickle, (rows, columns); None until the pickle has filled it."""

    values: NDArray[np.uint8] | None = None


def plain_data(file: IO[bytes]) -> Any:
    """The value that a pickle of plain data describes; byte strings of Python 2 become Latin-1 text.

    An array is given as ``Array``; its shape must match the bytes that are there. Raises NotPlainError when the
    pickle is damaged or does more than hold data.
    """
    return _Cifar(MOST_OPCODES).run(file)


class _Name(Enum):
    """The names in numpy's pickles, each standing for itself; what they name is never looked up."""

    RECONSTRUCT = auto()
    NDARRAY = auto()
    DTYPE = auto()
    ENCODE = auto()


_BYTE = object()  # the dtype uint8


class _Cifar(Machine):
    names: ClassVar = {
        "numpy.core.multiarray _reconstruct": _Name.RECONSTRUCT,
        "numpy._core.multiarray _reconstruct": _Name.RECONSTRUCT,
        "numpy ndarray": _Name.NDARRAY,
        "numpy dtype": _Name.DTYPE,
        "_codecs encode": _Name.ENCODE,  # how Python 3 writes bytes in protocol 2
    }
    purpose: ClassVar = "which no CIFAR file does"
    arrays = 0

    def called(self, function: object, arguments: tuple[Any, ...]) -> object:
        if function is _Name.RECONSTRUCT and arguments[0] is _Name.NDARRAY:
            return Array()
        if function is _Name.DTYPE:
            if arguments[0] != "u1":
                raise NotPlainError("holds an array of another type than bytes")
            return _BYTE
        if function is _Name.ENCODE and arguments[1] == "latin1":
            return of(str, arguments[0])  # text is as good as bytes here, and makes no copy
        raise ValueError("a call that no array needs")

    def built(self, target: object, state: object) -> None:
        if target is _BYTE:
            return  # its state says byte order and alignment, which bytes do not have
        self.arrays += 1
        if self.arrays > 1:  # each may copy the same text
            raise NotPlainError("holds more than one array")
        _, shape, dtype, fortran, content = of(tuple, state)
        rows, columns = of(tuple, shape)
        if dtype is not _BYTE or min(of(int, rows), of(int, columns)) < 0:
            raise ValueError("not an array of bytes")
        raw = content if isinstance(content, bytes) else of(str, content).encode("latin-1")
        if rows * columns != len(raw):
            raise NotPlainError("holds an array whose shape does not fit its bytes")
        of(Array, target).values = np.frombuffer(raw, np.uint8).reshape((rows, columns), order="F" if fortran else "C")
