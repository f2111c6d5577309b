"""A part of a graph computes what the whole computes there."""

from __future__ import annotations

import numpy as np
import torch

from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.graph.part import part_of
from mobilenets.exports.graph.session import open_session, tensors
from mobilenets.exports.job import Options
from mobilenets.models.catalog import describe
from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing


def test_it_computes_what_the_whole_does_there() -> None:
    torch.manual_seed(0)
    network = Network(describe("mobilenet_v3_small", 0.35, 32), 3).eval()
    model = onnx_model(network, Preprocessing(32), Options("onnx"))
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32)
    block = network.plan.blocks[4]  # with a gate and a residual
    names = [block.input.name, block.output.name, "logits"]
    entry, wanted, logits = tensors(model, images, names).values()
    part = part_of(model, block.input.name, block.input.shape, [block.output.name])
    [given] = open_session(part).run(None, {block.input.name: entry})
    np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-6)
    assert {tensor.name.rsplit(".", 1)[0] for tensor in part.graph.initializer} <= {
        name for operation in block.operations for name in (operation.name, f"{operation.name}.conv")
    }
    whole = part_of(model, block.output.name, block.output.shape, ["logits"])
    [rest] = open_session(whole).run(None, {block.output.name: wanted})
    np.testing.assert_allclose(rest, logits, rtol=1e-4, atol=1e-6)
