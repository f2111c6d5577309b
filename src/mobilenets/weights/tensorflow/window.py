"""Where a TensorFlow node's window stands: strides, padding, and the sides of pictures, from its attributes."""

from __future__ import annotations

from collections.abc import Sequence

from mobilenets.weights.operations import NO_PADDING, Padding, Pair
from mobilenets.weights.tensorflow.graphdef import GraphError, Node
from mobilenets.weights.tensorflow.tensor import Array

_MAX_SIDE = 4096


def window_of(node: Node) -> tuple[int, Padding | None]:
    """Read stride and padding of a convolution. Raises GraphError."""
    rows = 2 if node.text("data_format", "NHWC") == "NCHW" else 1
    strides = node.whole("strides")
    if len(strides) != 4 or strides[rows] != strides[rows + 1] or strides[rows] not in (1, 2):
        raise GraphError(f"{node} has strides {list(strides[:4])}, in no MobileNet")
    if any(step != 1 for step in node.whole("dilations")):
        raise GraphError(f"{node} has dilations, in no MobileNet")
    padding = node.text("padding", "")
    if padding == "EXPLICIT":
        return strides[rows], _both(node, node.whole("explicit_paddings"), rows)
    if padding not in ("SAME", "VALID"):
        raise GraphError(f"{node} has padding {padding[:20]!r}")
    return strides[rows], None if padding == "SAME" else NO_PADDING


def pad_of(node: Node, paddings: Array) -> Padding:
    """Read the zeros of a Pad. Raises GraphError."""
    if paddings.shape != (4, 2) or paddings.dtype.kind != "i":
        raise GraphError(f"{node} pads something other than pictures")
    given = [int(value) for value in paddings.reshape(-1)]
    return _both(node, given, 2 if not any(given[2:4]) and any(given[6:]) else 1)


def _both(node: Node, given: Sequence[int], rows: int) -> Padding:
    where = slice(2 * rows, 2 * rows + 4)
    if len(given) != 8 or any(given[: where.start]) or any(given[where.stop :]):
        raise GraphError(f"{node} pads something other than pictures")
    top, bottom, left, right = given[where]
    return (top, bottom), (left, right)


def side_of(shape: tuple[int, ...] | None) -> Pair | None:
    """Give the sides of the pictures that an input takes, if its shape tells."""
    if shape is None or len(shape) not in (3, 4):
        return None
    picture = shape[-3:]
    rows, columns = picture[:2] if picture[2] in (1, 3) else picture[1:]
    return (rows, columns) if min(rows, columns) > 0 and max(rows, columns) <= _MAX_SIDE else None
