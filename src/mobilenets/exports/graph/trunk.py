"""The first blocks of a network in ONNX Runtime: those that stay frozen in training need not run in PyTorch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.engines import laid_out
from mobilenets.runtime.engines.ort import open_session


def open_trunk(network: Network, blocks: int) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]] | None:
    """Open the first ``blocks`` blocks of a network as it is now; None where ONNX is not installed.

    The result takes float32 N×S×S×3 and gives what ``Network.trunk`` gives, but channels last: N×H×W×C, and
    N×1×1×features after all of the blocks, which are then pooled.
    """
    if importlib.util.find_spec("onnx") is None:
        return None
    import onnx

    from mobilenets.exports.graph.build import onnx_model
    from mobilenets.exports.job import Options

    last = network.plan.kept(blocks)
    model = onnx_model(network, Preprocessing(network.architecture.size), Options("onnx"))
    model.graph.output[0].CopyFrom(onnx.ValueInfoProto(name=last.name))
    # What comes after is taken out, weights too.
    needed = {last.name}
    kept = []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    for field, values in ((model.graph.node, kept[::-1]), (model.graph.initializer, weights)):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(copies)
    session = open_session(model.SerializeToString())

    def run(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        [maps] = session.run(None, {session.get_inputs()[0].name: laid_out(images, "NCHW")})
        if blocks == len(network.body):
            maps = maps.reshape(len(maps), -1, 1, 1)
        return np.ascontiguousarray(maps.transpose(0, 2, 3, 1))

    return run
