"""The distance in the graph is what NumPy makes of features and logits, for every kind of head and every form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.graph.distance import with_distance
from mobilenets.exports.graph.evidence import with_evidence
from mobilenets.exports.graph.session import open_session
from mobilenets.exports.job import Options
from mobilenets.measure.known import Answered, fit_space
from mobilenets.models.distance import Space
from mobilenets.models.engine import NetworkEngine
from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing

HEADS = {"mobilenet_v1_cifar": 32, "mobilenet_v2": 32, "mobilenet_v3_small": 64, "mobilenet_v4_conv_small": 64}


def pictures(size: int, count: int) -> np.ndarray:
    return np.random.default_rng(count).normal(0, 1, (count, size, size, 3)).astype(np.float32)


def space_of(network: Network) -> Space:
    """Fit to features that vary, as those of an untrained network hardly do."""
    rng, count = np.random.default_rng(0), 60
    features = rng.uniform(0, 3, (count, network.features)).astype(np.float32)
    given = Answered(features, rng.normal(0, 2, (count, 5)).astype(np.float32))
    return fit_space(given, np.arange(count) % 5, given)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("options", [Options("onnx"), Options("onnx", probabilities=True)])
def test_the_graph_gives_the_distance(lively: Callable[..., Network], name: str, options: Options) -> None:
    size = HEADS[name]
    network = lively(name, width=0.25, size=size) if name != "mobilenet_v1_cifar" else lively(name, size=size)
    space = space_of(network)
    model = onnx_model(network, Preprocessing(size), options)
    before = [leave.name for leave in model.graph.output]
    with_evidence(model)
    assert with_distance(model, space)
    assert [leave.name for leave in model.graph.output][: len(before)] == before
    new = pictures(size, 3)
    wanted = NetworkEngine(network, torch.device("cpu"), space=space).with_distance(new)[1]
    session = open_session(model)
    [found] = session.run(["distance"], {session.get_inputs()[0].name: new.transpose(0, 3, 1, 2)})
    assert found.shape == (3,) and found == pytest.approx(wanted, rel=1e-4, abs=1e-3)


def test_no_linear_layer_no_distance(lively: Callable[..., Any]) -> None:
    network = lively("mobilenet_v2", width=0.25, size=32)
    space = space_of(network)
    bare = Network(replace(network.architecture), 0).eval()
    assert not with_distance(onnx_model(bare, Preprocessing(32), Options("onnx")), space)
