"""The first blocks of a network in ONNX Runtime: those that stay frozen in training need not run in PyTorch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.engines import TOGETHER, laid_out
from mobilenets.runtime.engines.ort import open_session


def open_trunk(network: Network, blocks: int) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]] | None:
    """Open the first ``blocks`` blocks of a network as it is now; None where ONNX is not installed.

    The result takes float32 N×S×S×3 and gives what ``Network.trunk`` gives, but channels last: N×H×W×C, and
    N×1×1×features after all of the blocks, which are then pooled. It computes on the thread that calls it, and several
    may call it at once. What it gives for a picture does not depend on the others: every run has the same shape.
    """
    if importlib.util.find_spec("onnx") is None:
        return None
    from mobilenets.exports.graph.build import onnx_model
    from mobilenets.exports.graph.part import part_of
    from mobilenets.exports.job import Options

    whole_graph = onnx_model(network, Preprocessing(network.architecture.size), Options("onnx"))
    images, last = network.plan.images, network.plan.kept(blocks)
    # What comes after is left out, weights too.
    model = part_of(whole_graph, images.name, images.shape, [last.name])
    session = open_session(model.SerializeToString(), threads=1)
    entry, whole = session.get_inputs()[0].name, blocks == len(network.body)

    def run(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        parts = []
        for start in range(0, len(images), TOGETHER):
            part = laid_out(images[start : start + TOGETHER], "NCHW")
            count = len(part)
            if count < TOGETHER:
                part = np.concatenate([part, np.zeros((TOGETHER - count, *part.shape[1:]), np.float32)])
            [maps] = session.run(None, {entry: part})
            parts.append(maps[:count].reshape(count, -1, 1, 1) if whole else maps[:count])
        return np.ascontiguousarray(np.concatenate(parts).transpose(0, 2, 3, 1))

    return run
