"""What the last layer of a network takes and gives, in ONNX Runtime: faster than in PyTorch, on the calling thread."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.engines import laid_out
from mobilenets.runtime.engines.ort import open_session

Floats = npt.NDArray[np.float32]
# From float32 N×S×S×3 to features N×D and logits N×classes.
Features: TypeAlias = Callable[[npt.NDArray[Any]], tuple[Floats, Floats]]


def open_features(network: Network) -> Features | None:
    """Open a network as it is now; None where ONNX is not installed, or the last layer is not a linear one."""
    if importlib.util.find_spec("onnx") is None:
        return None
    import onnx

    from mobilenets.exports.graph.build import onnx_model
    from mobilenets.exports.job import Options

    model = onnx_model(network, Preprocessing(network.architecture.size), Options("onnx"))
    last = model.graph.node[-1]
    if last.op_type != "Gemm":
        return None
    model.graph.output.append(onnx.ValueInfoProto(name=last.input[0]))
    session = open_session(model.SerializeToString(), threads=1)
    entry, names = session.get_inputs()[0].name, [last.input[0], last.output[0]]

    def run(images: npt.NDArray[Any]) -> tuple[Floats, Floats]:
        features, logits = session.run(names, {entry: laid_out(images, "NCHW")})
        return features, logits

    return run
