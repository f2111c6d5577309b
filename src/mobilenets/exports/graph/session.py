"""ONNX graphs run in ONNX Runtime, to look inside them."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnxruntime

from mobilenets.runtime.engines import Array, ort


def open_session(model: onnx.ModelProto, optimized: bool = True) -> onnxruntime.InferenceSession:
    """Open a graph; unless ``optimized``, layer by layer as it is written."""
    return ort.open_session(model.SerializeToString(), optimized=optimized)


def tensors(model: onnx.ModelProto, images: Array, names: Sequence[str]) -> dict[str, Array]:
    """Give what named tensors hold on ``images``, which are as the graph takes them."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {leave.name for leave in model.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    # Fused away, a layer could not be looked at.
    found = open_session(watched, optimized=False).run(list(names), {model.graph.input[0].name: images})
    return dict(zip(names, found, strict=True))
