"""How a graph's convolutions step over the picture and pad it, and how pictures are prepared before the first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobilenets.models.padding import padded
from mobilenets.weights.layers import TENSORFLOW_INPUT
from mobilenets.weights.tensorflow.graphdef import GraphError, Node
from mobilenets.weights.tensorflow.tensor import Array

MAX_SIDE = 4096


@dataclass(frozen=True)
class Window:
    """A convolution's kernel side and stride; ``zeros`` before and after, or None for TensorFlow's SAME."""

    node: Node
    kernel: int
    stride: int
    zeros: tuple[int, int] | None

    def same(self, side: int) -> tuple[int, int]:
        """Give the zeros that SAME takes for a picture of that many pixels."""
        return padded(side, self.kernel, self.stride, "same")


def window_of(node: Node, kernel: int, pad: tuple[int, int] | None) -> Window:
    """Read stride and padding of a convolution behind an explicit padding or none. Raises GraphError."""
    rows = 2 if node.text("data_format", "NHWC") == "NCHW" else 1
    strides = node.whole("strides")
    if len(strides) != 4 or strides[rows] != strides[rows + 1] or strides[rows] not in (1, 2):
        raise GraphError(f"{node} has strides {list(strides[:4])}, in no MobileNetV1 or V2")
    if any(step != 1 for step in node.whole("dilations")):
        raise GraphError(f"{node} has dilations, in no MobileNetV1 or V2")
    padding = node.text("padding", "")
    zeros: tuple[int, int] | None = (0, 0)
    if padding == "EXPLICIT":
        zeros = _both(node, node.whole("explicit_paddings"), rows)
    elif padding == "SAME":
        zeros = None
    elif padding != "VALID":
        raise GraphError(f"{node} has padding {padding[:20]!r}")
    if pad is not None:
        if zeros != (0, 0):
            raise GraphError(f"{node} pads what is padded, in no MobileNetV1 or V2")
        zeros = pad
    return Window(node, kernel, strides[rows], zeros)


def pad_of(node: Node, paddings: Array) -> tuple[int, int]:
    """Read the zeros of a Pad before and after the rows, which are those of the columns. Raises GraphError."""
    if paddings.shape != (4, 2) or paddings.dtype.kind != "i":
        raise GraphError(f"{node} pads something other than pictures")
    given = [int(value) for value in paddings.reshape(-1)]
    return _both(node, given, 2 if not any(given[2:4]) and any(given[6:]) else 1)


def _both(node: Node, given: Sequence[int], rows: int) -> tuple[int, int]:
    where = slice(2 * rows, 2 * rows + 4)
    if len(given) != 8 or any(given[: where.start]) or any(given[where.stop :]):
        raise GraphError(f"{node} pads something other than pictures")
    top, bottom, left, right = given[where]
    if (top, bottom) != (left, right) or not 0 <= top <= bottom < 16:
        raise GraphError(f"{node} pads {top}, {bottom}, {left}, {right} pixels, in no MobileNetV1 or V2")
    return top, bottom


def padding_of(windows: Sequence[Window], side: int | None) -> str:
    """Name the way of padding that all windows share, a value of ``Foreign.padding``. Raises GraphError.

    ``side`` is the picture's, where the file tells: padding written out for one size may be SAME for that size.
    """
    strided = []
    explained = side is not None  # whether each is what SAME would be at this size
    for window in windows:
        half = window.kernel // 2
        if window.zeros is not None and side is not None:
            explained = explained and window.zeros == window.same(side)
        if side is not None:
            side = math.ceil(side / window.stride)
        if window.kernel == 1:
            continue
        if window.stride > 1:
            strided.append((window, "same" if window.zeros is None else _style(window)))
        elif window.zeros not in (None, (half, half)):
            raise GraphError(f"{window.node} does not keep the picture's size, as a MobileNet does at stride 1")
    styles = [style for _, style in strided]
    if all(style == "same" for style in styles):
        return "same"
    if all(style == "symmetric" for style in styles):
        return "symmetric"
    if all(style == "after" for style in styles[1:]) and styles[0] in ("same", "after"):
        return "keras"
    if explained:
        return "same"
    window = next(window for window, style in strided if style != styles[0])
    raise GraphError(f"{window.node} pads in another way than {strided[0][0].node}; no MobileNet mixes them")


def _style(window: Window) -> str:
    known = {padded(0, window.kernel, window.stride, way): way for way in ("after", "symmetric")}
    if window.zeros not in known:
        raise GraphError(f"{window.node} is padded by {window.zeros}, in no MobileNetV1 or V2")
    return known[window.zeros]


def side_of(shape: tuple[int, ...] | None) -> int | None:
    """Give the side of the square pictures that an input takes, if its shape tells."""
    if shape is None or len(shape) not in (3, 4):
        return None
    picture = shape[-3:]
    rows, columns = picture[:2] if picture[2] in (1, 3) else picture[1:]
    return rows if rows == columns and 0 < rows <= MAX_SIDE else None


def preprocessing_of(
    steps: Sequence[tuple[Node, bool, Array | None]], from_bytes: bool, resize: str
) -> Mapping[str, Any]:
    """Put what a graph multiplies its pictures with and adds to them into ``Preprocessing``'s fields.

    Without any step, floating-point pictures are taken as slim's networks take them. Raises GraphError.
    """
    fields = dict(TENSORFLOW_INPUT)
    if resize:
        fields |= {"resize": "stretch", "interpolation": resize}
    if not steps and not from_bytes:
        return fields
    factor, offset = np.ones(3), np.zeros(3)
    for node, times, value in steps:
        if value is None or value.size not in (1, 3):
            raise GraphError(f"{node} prepares pictures with something that is not in the file")
        numbers = value.reshape(-1).astype(np.float64)
        factor, offset = (factor * numbers, offset * numbers) if times else (factor, offset + numbers)
    # The graph takes pixels of 0 to 255 or of 0 to 1: the ones that give a network numbers of moderate size.
    most = 255 if from_bytes or factor.max() < 0.1 or np.abs(offset).max() > 10 else 1
    if not (np.isfinite(factor).all() and np.isfinite(offset).all() and 1e-6 < factor.min() <= factor.max() < 1e6):
        raise GraphError("it prepares pictures with numbers that no network is trained with")
    mean, std = -offset / factor / most, 1 / factor / most
    fields |= {"scale": 1 / 255, "mean": _rounded(mean), "std": _rounded(std)}
    return fields


def _rounded(values: Array) -> tuple[float, ...]:
    """Round to what float32 tells apart, so that 0.49999999 is 0.5."""
    return tuple(float(f"{value:.6g}") + 0.0 for value in values)
