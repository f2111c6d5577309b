"""What flows through a float graph on calibration pictures, and the ranges that int8 is given for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from mobilenets.base.progress import progress
from mobilenets.exports.graph.nodes import NO_END, NumberedGraph, Term
from mobilenets.exports.graph.session import open_session
from mobilenets.exports.int8.qdq import Floats, Range, activation_scale, flowing
from mobilenets.runtime.engines import Array

# Values kept of each tensor and picture.
SAMPLES = 512
# Below and above these an activation gives the same, so int8 needs no steps for it.
LIMITS: dict[str, Range] = {"HardSwish": (-3.0, np.inf), "HardSigmoid": (-3.0, 3.0)}
RANGE_RULES = ("min-max", "percentile 99.99", "least squares")


@dataclass(frozen=True, eq=False)
class Observed:
    """A float graph on N pictures.

    ``lows`` and ``highs`` (N) and ``samples`` (N×about ``SAMPLES``) of every tensor that flows, ``means`` (N×channels)
    of what each convolution and the classifier give before the activation, and the graph's ``outputs`` (N×classes).
    """

    lows: dict[str, Floats]
    highs: dict[str, Floats]
    samples: dict[str, Floats]
    means: dict[str, Floats]
    outputs: Floats

    def ranges(self, rule: str, pictures: Sequence[int]) -> dict[str, Range]:
        """Give each tensor's range on some of the pictures by one of ``RANGE_RULES``."""
        chosen = list(pictures)
        found = {}
        for name in self.lows:
            low, high = float(self.lows[name][chosen].min()), float(self.highs[name][chosen].max())
            found[name] = _narrowed(self.samples[name][chosen].ravel(), min(low, 0.0), max(high, 0.0), rule)
        return found


def observe(model: onnx.ModelProto, images: Array) -> Observed:
    """Run a float graph of open batch over ``images``, as it takes them, one by one."""
    names = flowing(model)
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    session = open_session(_with_figures(model, names, layers))
    entry = session.get_inputs()[0].name
    kept: list[list[Array]] = []
    with progress("int8: observing activations in float", len(images), "pictures") as shown:
        for image in images:
            kept.append(session.run(None, {entry: image[None]}))
            shown.advance(1)
    outputs, *columns = [np.stack(column) for column in zip(*kept, strict=True)]
    count = len(names)
    limits = {name: _limits(model, name) for name in names}
    lows, highs, samples = (
        {
            name: np.clip(column, *limits[name])
            for name, column in zip(names, columns[start : start + count], strict=True)
        }
        for start in (0, count, 2 * count)
    )
    means = dict(zip([node.name for node in layers], columns[3 * count :], strict=True))
    return Observed(lows, highs, samples, means, outputs[:, 0])


def _limits(model: onnx.ModelProto, name: str) -> Range:
    """Say beyond what values of a tensor nothing changes any more in what is made of it."""
    kinds = [node.op_type for node in model.graph.node if name in node.input]
    found = [LIMITS.get(kind, (-np.inf, np.inf)) for kind in kinds]
    return min((low for low, _ in found), default=-np.inf), max((high for _, high in found), default=np.inf)


def _with_figures(model: onnx.ModelProto, names: Sequence[str], layers: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
    """Reduce inside the graph: whole maps of every layer would take gigabytes."""
    graph, sizes = NumberedGraph("watch"), _sizes(model)
    maps = [Term(graph, name, np.float32) for name in names]
    made = [term.op(kind, keepdims=0) for kind in ("ReduceMin", "ReduceMax") for term in maps]
    for term in maps:
        # An odd step, so that not always the same columns of a map are met.
        ends = (graph.term([value], np.int64) for value in (0, NO_END, 0, sizes[term.name] // SAMPLES | 1))
        made.append(term.shaped(-1).op("Slice", *ends))
    for node in layers:
        axes = [0, 2, 3] if node.op_type == "Conv" else [0]
        made.append(Term(graph, node.output[0], np.float32).op("ReduceMean", axes=axes, keepdims=0))
    watching = onnx.ModelProto()
    watching.CopyFrom(model)
    watching.graph.node.extend(graph.nodes)
    watching.graph.initializer.extend(graph.tensors.values())
    watching.graph.output.extend(helper.make_tensor_value_info(term.name, TensorProto.FLOAT, None) for term in made)
    return watching


def _sizes(model: onnx.ModelProto) -> dict[str, int]:
    """Count the numbers of every tensor for one picture."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {
        info.name: int(np.prod([dim.dim_value for dim in info.type.tensor_type.shape.dim[1:]]))
        for info in (*inferred.input, *inferred.value_info, *inferred.output)
    }


def _narrowed(values: Floats, low: float, high: float, rule: str) -> Range:
    if rule == "min-max":
        return low, high
    if rule.startswith("percentile"):
        share = float(rule.removeprefix("percentile ")) / 100
        bottom, top = (float(value) for value in np.quantile(values, [1 - share, share]))
        # Where nearly all is zero, a percentile would leave nothing.
        return (min(bottom, 0.0), top) if top > 0 else (low, high)
    best, least = (low, high), np.inf
    for fraction in np.linspace(1.0, 0.4, 13):
        scale, zero = activation_scale(low * fraction, high * fraction)
        steps = np.clip(np.rint(values / scale) + np.float32(zero), 0, 255) - np.float32(zero)
        error = float(np.square(steps * scale - values, dtype=np.float64).mean())
        if error < least:
            best, least = (low * fraction, high * fraction), error
    return best
