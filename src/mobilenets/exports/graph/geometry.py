"""The geometry of the preprocessing as ONNX operators: pictures as they come from a camera.

Not by ``Resize``: its bilinear antialiasing in ONNX Runtime is up to 12 levels off Pillow's, and it can only resample
whole pictures, of which "crop" would make a strip of 1 × 5000 one of 256 × 1280000. Here each pass of Pillow's own
resampling (its ``Resample.c``) is a product with a matrix of weights that the graph makes from the picture's shape: by
blocks of outputs, because an output needs few of the inputs. The weights are Pillow's whole numbers and the sums of
products are exact, so ONNX Runtime gives Pillow's pixels to the bit. OpenVINO computes float32 where float64 is written
and int32 for int64: positions are kept as a whole number and a rest that these hold, and it is a level off here and
there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from mobilenets.errors import InputError
from mobilenets.exports.graph.nodes import NO_END, NumberedGraph, Term
from mobilenets.exports.graph.session import tensors
from mobilenets.pictures.preprocess import REACH, Preprocessing

NAME = "geometry"
PIXELS = f"{NAME}.pixels"
# Outputs of a pass whose weights are one matrix: fewer need less arithmetic, and more products.
BLOCK = 16
# Pillow's weights for 8-bit pictures are whole multiples of this.
STEP = 2.0**-22
HALF = 2.0**11


def check_geometry(preprocessing: Preprocessing) -> None:
    """Refuse what has no form inside a graph: raises ``InputError``."""
    if preprocessing.interpolation not in REACH:
        raise InputError(
            f"--camera can resize inside the file with {', '.join(REACH)}, but this model uses "
            f"{preprocessing.interpolation}: use --pixels"
        )


def pixels_inside(path: Path, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Give the uint8 S×S×3 that an ONNX file with the geometry inside makes of uint8 H×W×3."""
    made: npt.NDArray[np.uint8] = tensors(onnx.load(path), picture[None], [PIXELS])[PIXELS][0]
    return made


def with_geometry(model: onnx.ModelProto, preprocessing: Preprocessing) -> onnx.ModelProto:
    """Put the geometry before a graph that takes uint8 N×S×S×3.

    The result takes uint8 1×H×W×3 for any H and W, by the same name, and does what ``Preprocessing.fit`` does. Raises
    ``InputError`` for an interpolation that has no form here.
    """
    entry = model.graph.input[0].name
    graph = _fitted(preprocessing, entry)
    for node in model.graph.node:
        node.input[:] = [PIXELS if name == entry else name for name in node.input]
    graph.nodes += model.graph.node
    graph.tensors |= {tensor.name: tensor for tensor in model.graph.initializer}
    made = graph.model(model.graph.name, [_camera(entry)], model.graph.output)
    # One picture a run, whatever the inner graph takes.
    made.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.checker.check_model(made, full_check=True)
    return made


def geometry_model(preprocessing: Preprocessing, entry: str) -> onnx.ModelProto:
    """Build the geometry alone: uint8 1×H×W×3, named ``entry``, to uint8 1×S×S×3. Raises as ``with_geometry``."""
    sides = [1, preprocessing.size, preprocessing.size, 3]
    leave = helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, sides)
    return _fitted(preprocessing, entry).model(NAME, [_camera(entry)], [leave])


def _camera(entry: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(entry, TensorProto.UINT8, [1, "height", "width", 3])


@dataclass(frozen=True)
class _Span:
    """What of a side is seen, and where: ``count`` outputs from ``before`` on show ``length`` inputs from ``low`` on.

    ``low`` and ``length`` in pixels of the picture, rounded to float32 as Pillow does. All of shape 1.
    """

    side: Term
    low: Term
    length: Term
    count: Term
    before: Term


def _fitted(how: Preprocessing, entry: str) -> NumberedGraph:
    """Do what ``Preprocessing.fit`` does: resample along the rows and round, then along the columns."""
    check_geometry(how)
    graph = NumberedGraph(NAME)
    camera = Term(graph, entry, np.uint8)
    size, shape = how.size, camera.op("Shape", kind=np.int64)
    # A sum of one number is the number. But OpenVINO does not work out bounds through it, which would take it seconds
    # when it reads and when it opens a file.
    height, width = (shape.part(axis, axis + 1, 0).op("CumSum", graph.term(0, np.int64)) for axis in (1, 2))
    spans = _spans(how, height, width)
    (down, lines), (along, columns) = (_weights(how, span) for span in spans)
    # Only the lines that are needed, each line's pixels in a row.
    first, last = (lines.op(kind, keepdims=0).shaped(1) for kind in ("ReduceMin", "ReduceMax"))
    x = camera.part(first, last + 1, 1).op("Squeeze", graph.term([0], np.int64)).shaped(0, -1)
    x = _downwards(_across(x, along, columns, size), down, lines - first, size).shaped(size, size, 3)
    if how.resize == "pad":
        seen = [_seen(size, span) for span in spans]
        inside = seen[0].shaped(-1, 1, 1).op("And", seen[1].shaped(1, -1, 1))
        x = inside.op("Where", x, graph.term(how.fill, np.uint8))
    graph.add("Reshape", [x.name, graph.constant([1, size, size, 3], np.int64)], PIXELS)
    return graph


def _spans(how: Preprocessing, height: Term, width: Term) -> tuple[_Span, _Span]:
    """Say what of both sides is seen, rounded as ``Preprocessing`` rounds."""

    def seen(side: Term) -> _Span:
        graph, size = side.graph, how.size
        if how.resize == "pad":
            longer = height.op("Max", width)
            whole, rest = (side * size) // longer, (side * size) % longer
            # Up where the rest is more than half, and a half to the even neighbour.
            count = (whole + (rest * 2 + whole % 2).op("Greater", longer).ints()).op("Max", 1)
            return _Span(side, graph.term([0], np.float64), side.doubles(), count, (count * -1 + size) // 2)
        count, before = graph.term([size], np.int64), graph.term([0], np.int64)
        if how.resize == "stretch":
            return _Span(side, graph.term([0], np.float64), side.doubles(), count, before)
        scaled = (side * round(size / how.crop_fraction)) // height.op("Min", width)
        spare = scaled - size
        half = spare // 2
        offset = half + (spare % 2) * (half % 2)
        low, high = ((side.doubles() * end.doubles() / scaled.doubles()).floats() for end in (offset, offset + size))
        return _Span(side, low.doubles(), (high - low).doubles(), count, before)

    return seen(height), seen(width)


def _weights(how: Preprocessing, span: _Span) -> tuple[Term, Term]:
    """Make the weights of a pass, blocks × outputs × inputs, and say which inputs each block takes, blocks × inputs."""
    graph, blocks = span.side.graph, -(-how.size // BLOCK)
    # The middle of each output in pixels of the picture, low + (output + 0.5) * length / count: ``base`` and ``rest``.
    outputs = graph.term(np.arange(blocks * BLOCK).reshape(blocks, BLOCK, 1), np.int64) - span.before
    odd = outputs.op("Max", 0).op("Min", span.count - 1) * 2 + 1
    (low, low_rest), (length, length_rest) = _parted(span.low), _parted(span.length)
    twice = span.count * 2
    base = (odd * length) // twice + low
    rest = (((odd * length) % twice).doubles() + odd.doubles() * length_rest) / twice.doubles() + low_rest
    # A filter is widened when shrinking.
    wide = (span.length / span.count.doubles()).op("Max", 1.0)
    reach = (wide * REACH[how.interpolation]).op("Ceil").ints()
    # The rest is below 3, so a block reaches from the first base - reach - 1 to the last base + reach + 3.
    first, last = base.part(0, 1, 1).shaped(-1, 1), base.part(BLOCK - 1, BLOCK, 1).shaped(-1, 1)
    most = (last - first).op("ReduceMax", keepdims=0).shaped(1) + reach * 2 + 5
    taken = most.op("Min", span.side)
    start = (first - reach - 1).op("Min", span.side - taken).op("Max", 0)
    along = graph.term(0, np.int64).op("Range", taken.op("Squeeze"), 1)
    places = start + along
    distance = (places.shaped(blocks, 1, -1) - base).doubles() - rest + 0.5
    values = _filtered(how.interpolation, distance.op("Abs") / wide)
    values = values / values.op("ReduceSum", graph.term([2], np.int64), keepdims=1)
    return (values / STEP + 0.5).op("Floor"), places


def _parted(number: Term) -> tuple[Term, Term]:
    """Split a number of at least 0 into a whole number and the rest."""
    whole = number.op("Floor")
    return whole.ints(), number - whole


def _filtered(name: str, x: Term) -> Term:
    """Give Pillow's filter at distances of at least 0, in units of its width."""
    if name == "bilinear":
        return (x * -1.0 + 1.0).op("Max", 0.0)
    if name == "bicubic":
        near = (x * 1.5 - 2.5) * x * x + 1.0
        far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
        ends = x.op("Less", 2.0)
        return x.op("Less", 1.0).op("Where", near, ends.op("Where", far, 0.0, kind=np.float64), kind=np.float64)
    # lanczos: sinc(x) * sinc(x / 3), to 3.
    angle = x.op("Max", 1e-6) * float(np.pi)
    third = angle / 3.0
    wave = angle.op("Sin") / angle * (third.op("Sin") / third)
    return x.op("Less", 3.0).op("Where", wave, 0.0, kind=np.float64)


def _halves(weights: Term) -> tuple[Term, Term]:
    """Split the weights in two whose sums of products with pixels float32 holds, in levels."""
    upper = (weights / HALF).op("Floor") * HALF
    return (upper * STEP).floats(), ((weights - upper) * STEP).floats()


def _downwards(x: Term, weights: Term, lines: Term, size: int) -> Term:
    """Resample lines × values to size × values."""
    taken = x.op("Gather", lines, axis=0).floats()
    upper, lower = (half.op("MatMul", taken).shaped(-(-size // BLOCK) * BLOCK, -1) for half in _halves(weights))
    return _levels(upper, lower).part(0, size, 0)


def _across(x: Term, weights: Term, columns: Term, size: int) -> Term:
    """Resample lines × (width × 3) to lines × (size × 3), a block of columns after the other."""
    graph, blocks = x.graph, -(-size // BLOCK)
    # Every channel by itself, so that the three need not be taken apart.
    apart = graph.term(np.eye(3).reshape(1, 1, 3, 1, 3), np.float32)
    turned = (
        half.op("Transpose", perm=[0, 2, 1]).op("Unsqueeze", graph.term([2, 4], np.int64)) for half in _halves(weights)
    )
    matrices = [(half * apart).shaped(blocks, -1, 3 * BLOCK) for half in turned]
    first, last = columns.part(0, 1, 1) * 3, columns.part(-1, NO_END, 1) * 3 + 3
    made = []
    for block in range(blocks):
        start, end = (place.part(block, block + 1, 0).shaped(1) for place in (first, last))
        taken, at = x.part(start, end, 1).floats(), graph.term([0], np.int64)
        halves = (taken.op("MatMul", matrix.part(block, block + 1, 0).op("Squeeze", at)) for matrix in matrices)
        made.append(_levels(*halves))
    return made[0].op("Concat", *made[1:], axis=1).part(0, 3 * size, 1)


def _levels(upper: Term, lower: Term) -> Term:
    """Put the two halves of the sums together and round to whole levels, half up as Pillow does."""
    # The whole levels of the upper half apart, so that nothing is lost to float32.
    whole = upper.op("Floor")
    levels = whole + ((upper - whole) + (lower + 0.5)).op("Floor")
    levels = levels.op("Clip", levels.graph.term(0, np.float32), levels.graph.term(255, np.float32))
    return levels.op("Cast", to=TensorProto.UINT8, kind=np.uint8)


def _seen(size: int, span: _Span) -> Term:
    place = span.side.graph.term(np.arange(size), np.int64) - span.before
    return place.op("GreaterOrEqual", 0).op("And", place.op("Less", span.count))
