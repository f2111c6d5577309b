"""TensorFlow's shapes, kinds of numbers and tensors, as its files hold them.

Source: ``tensor.proto``, ``tensor_shape.proto`` and ``types.proto`` in ``tensorflow/core/framework``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.weights.layers import MAX_BYTES, bfloat16
from mobilenets.weights.wire import Budget, WireError, blob, grouped, number_of, signed, varints

Array = npt.NDArray[Any]

BFLOAT16, STRING = 14, 7
# The kinds that weights, axes and sizes come in; bfloat16 is the upper half of a float32.
KINDS = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 9: "<i8", 10: "?", BFLOAT16: "<u2", 19: "<f2"}
_WHOLE_LISTS = {7: "<i4", 10: "<i8", 11: "?", 13: "<u2"}  # int_val, int64_val, bool_val, half_val
_FLOAT_LISTS = {5: "<f4", 6: "<f8"}  # float_val, double_val
_MAX_RANK = 16


def read_shape(data: memoryview, budget: Budget) -> tuple[int, ...] | None:
    """Read a TensorShapeProto: a side that is open is -1, and None is a tensor of any rank. Raises WireError."""
    got = grouped(data, budget)
    if any(got[3]):
        return None
    sides = tuple(signed(number_of(grouped(blob(side), budget)[1])) for side in got[2])
    if len(sides) > _MAX_RANK or any(side < -1 for side in sides):
        raise WireError("a shape is malformed")
    return sides


def from_bytes(kind: int, data: memoryview | bytes) -> Array:
    """Take raw numbers of a kind of ``KINDS``, without a copy but for bfloat16. Raises WireError."""
    form = np.dtype(KINDS[kind])
    if len(data) % form.itemsize:
        raise WireError(f"{len(data)} bytes do not divide into values of {form.itemsize} bytes")
    values: Array = np.frombuffer(data, form)
    return bfloat16(values) if kind == BFLOAT16 else values


def read_tensor(data: memoryview, budget: Budget) -> Array | None:
    """Read a TensorProto; None is one of another kind of contents, such as text.

    A list of numbers that is shorter than the shape goes on with its last number, which makes a constant of any size
    out of a few bytes: the array that comes back may be such a repetition that holds no memory of its own.
    Raises WireError.
    """
    got = grouped(data, budget)
    kind = number_of(got[1])
    shape = read_shape(blob(got[2][-1]), budget) or () if got[2] else ()
    content = blob(got[4][-1]) if got[4] else None
    lists: list[Array] = []
    for field, form in _FLOAT_LISTS.items():
        lists += [np.frombuffer(_whole(blob(value), form), form) for value in got[field]]
    for field, form in _WHOLE_LISTS.items():
        for value in got[field]:
            budget.take(0 if isinstance(value, int) else 16 * len(value))
            lists.append((np.array([value], np.uint64) if isinstance(value, int) else varints(value)).astype(form))
    if kind not in KINDS:
        return None
    if -1 in shape:
        raise WireError("a constant has an open shape")
    size = math.prod(shape)
    if size * np.dtype(KINDS[kind]).itemsize > MAX_BYTES:
        raise WireError(f"a constant claims {size} numbers, more than any MobileNet has")
    if content:
        budget.take(2 * len(content) if kind == BFLOAT16 else 0)
        values = from_bytes(kind, content)
    else:
        values = np.concatenate(lists) if lists else np.zeros(1 if size else 0)
        half = kind in (BFLOAT16, 19) and values.dtype == np.uint16
        values = from_bytes(kind, values.tobytes()) if half else values.astype(KINDS[kind])
        if len(values) == 1:
            values = np.broadcast_to(values, size)
        elif 0 < len(values) < size:
            budget.take(size * values.itemsize)
            values = np.concatenate((values, np.broadcast_to(values[-1:], size - len(values))))
    if len(values) != size:
        raise WireError(f"a constant of shape {shape} holds {len(values)} numbers")
    return values.reshape(shape)


def _whole(data: memoryview, form: str) -> memoryview:
    if len(data) % np.dtype(form).itemsize:
        raise WireError("a list of numbers ends within one")
    return data
