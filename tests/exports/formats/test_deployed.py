from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobilenets.exports.formats.deployed import Deployed, quantized
from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.graph.fold import fold
from mobilenets.exports.int8.qdq import Scheme, flowing, weight_steps
from mobilenets.exports.job import Job, Options
from mobilenets.measure.known import Answered, fit_space
from mobilenets.models.engine import NetworkEngine
from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing


def a_job(made: Network, tmp_path: Path) -> Job:
    return Job(made, Preprocessing(made.architecture.size), Options("litert", "int8"), tmp_path)


@pytest.mark.parametrize("rule", ["largest", "least squares"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [("mobilenet_v1", {"width": 0.25}), ("mobilenet_v2", {"width": 0.35}), ("mobilenet_v1_cifar", {})],
)
def test_a_quantized_network_holds_the_numbers_of_int8(
    tmp_path: Path, name: str, settings: dict[str, Any], rule: str, lively: Callable[..., Network]
) -> None:
    made = lively(name, size=32, **settings)
    task = a_job(made, tmp_path)
    model = onnx_model(made, task.preprocessing, Options("onnx"))
    blocks = [f"body.{block}" for block, _ in made.body.named_children()]
    steps = weight_steps(model, rule)
    biases = {f"{key.removesuffix('.weight')}.bias": np.full(len(value), 0.25, "f4") for key, value in steps.items()}
    scheme = Scheme(dict.fromkeys(flowing(model), (-1.0, 1.0)), steps, biases, frozenset(blocks[:2]))
    before, after = (dict(network.named_modules()) for network in (fold(made), Deployed(task, scheme).network))
    seen = 0
    for key, layer in after.items():
        if not isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            continue
        seen += 1
        old = before[key]
        if ".".join(key.split(".")[:2]) in blocks[:2]:
            assert torch.equal(layer.weight, old.weight) and torch.equal(layer.bias, old.bias)
            continue
        assert (layer.bias == 0.25).all()
        weight = layer.weight.detach().flatten(1)
        # A quantizer that knows nothing but these numbers takes its steps from the largest of them.
        found = weight.abs().amax(dim=1, keepdim=True) / 127
        whole = weight / found
        assert (whole - whole.round()).abs().max() < 1e-3
        own = torch.from_numpy(steps[f"{key.removesuffix('.conv')}.weight"])
        if key != "classifier" or name != "mobilenet_v1_cifar":  # whose columns are put in another order
            assert (weight - old.weight.flatten(1)).abs().amax() <= 40 * own.max()
        assert torch.allclose(found[:, 0], own, rtol=1e-5)
    assert seen == len(steps)


def test_the_jobs_own_network_stays_as_it_is(tmp_path: Path, lively: Callable[..., Network]) -> None:
    made = lively("mobilenet_v2", width=0.35, size=32)
    before = {key: value.clone() for key, value in made.state_dict().items()}
    steps = weight_steps(onnx_model(made, Preprocessing(32), Options("onnx")), "largest")
    Deployed(a_job(made, tmp_path), Scheme({}, {key: 3 * value for key, value in steps.items()}))
    assert all(torch.equal(value, before[key]) for key, value in made.state_dict().items())


@pytest.mark.parametrize(
    ("name", "settings"), [("mobilenet_v1_cifar", {}), ("mobilenet_v2", {"width": 0.35}), ("mobilenet_v3_small", {})]
)
def test_the_distance_is_that_of_numpy(
    tmp_path: Path, name: str, settings: dict[str, Any], lively: Callable[..., Network]
) -> None:
    made = lively(name, size=32, **settings)
    rng = np.random.default_rng(0)
    given = Answered(rng.uniform(0, 3, (60, made.features)).astype("f4"), rng.normal(0, 2, (60, 5)).astype("f4"))
    space = replace(fit_space(given, np.arange(60) % 5, given), scale=np.array([0.7], "f4"))
    pictures = rng.normal(0, 1, (3, 32, 32, 3)).astype("f4")
    deployed = Deployed(replace(a_job(made, tmp_path), space=space, options=Options("litert", probabilities=True)))
    scores, found = deployed(torch.from_numpy(pictures))
    logits, wanted = NetworkEngine(made, torch.device("cpu"), space=space).with_distance(pictures)
    assert found.numpy() == pytest.approx(wanted, rel=1e-4, abs=1e-3)
    assert scores.numpy() == pytest.approx(torch.from_numpy(logits).softmax(1).numpy(), abs=1e-5)
    assert deployed.answers(pictures) == pytest.approx(scores.numpy(), abs=1e-5)


def test_the_candidate_closest_to_float_is_taken(tmp_path: Path, lively: Callable[..., Network]) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
    task = replace(a_job(lively("mobilenet_v2", width=0.35, size=32), tmp_path), calibration=pictures)

    def candidates(scheme: Scheme, fitted: Any, judged: Any) -> Iterator[tuple[dict[str, Any], str, Any]]:
        assert (len(fitted), len(judged)) == (12, 4) and fitted.dtype == np.float32
        answers = Deployed(task, scheme).answers(judged)
        yield {"ranges": "turned"}, "far", -answers
        yield {"ranges": "as planned"}, "near", answers

    made, about = quantized(task, candidates)
    assert (made, about["chosen"]["ranges"], about["pictures"]) == ("near", "as planned", 16)
    assert [one["ranges"] for one in about["candidates"]] == ["turned", "as planned"]
    assert about["plan"]["divergence"] >= 0
