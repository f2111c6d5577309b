"""The first blocks of a network in ONNX Runtime: those that stay frozen in training need not run in PyTorch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.engines import TOGETHER, batches, laid_out
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
        parts = [session.run(None, {entry: laid_out(part, "NCHW")})[0] for part in batches(images, TOGETHER)]
        maps = np.concatenate(parts)[: len(images)]
        maps = maps.reshape(len(images), -1, 1, 1) if whole else maps
        return np.ascontiguousarray(maps.transpose(0, 2, 3, 1))

    return run
