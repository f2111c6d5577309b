from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch

from mobilenets.errors import InputError
from mobilenets.models.network import Network
from mobilenets.verbs.models import create_model
from mobilenets.weights.assign import assign
from mobilenets.weights.classifier import find_head
from mobilenets.weights.layers import Foreign, Layer, conv, linear

ForeignOf = Callable[[Network], Foreign]


@pytest.fixture
def network(disturbed: Callable[..., Network]) -> Network:
    return disturbed("mobilenet_v2", 4, 0.1, size=64)


def logits(network: Network) -> np.ndarray:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return network.eval()(images).numpy()


def without(foreign: Foreign, *names: str) -> Foreign:
    return dataclasses.replace(foreign, layers=tuple(layer for layer in foreign.layers if layer.name not in names))


def with_head(foreign: Foreign, *heads: Layer) -> Foreign:
    return dataclasses.replace(without(foreign, "head"), layers=(*without(foreign, "head").layers, *heads))


def test_every_layer_finds_its_place(network: Network, foreign_of: ForeignOf) -> None:
    fresh = create_model("mobilenet_v2", 4, 0.1, size=64)
    assigned = assign(fresh, foreign_of(network))
    assert np.array_equal(logits(fresh), logits(network))
    assert assigned.surplus == ()
    assert assigned.placed["body.inverted1.depthwise"] == ("c2", "n3")
    assert all(parameter.requires_grad for parameter in fresh.parameters())


def test_the_kinds_may_be_told_in_any_order(network: Network, foreign_of: ForeignOf) -> None:
    foreign = foreign_of(network)
    shuffled = tuple(sorted(foreign.layers, key=lambda layer: layer.kind))
    fresh = create_model("mobilenet_v2", 4, 0.1, size=64)
    assign(fresh, dataclasses.replace(foreign, layers=shuffled))
    assert np.array_equal(logits(fresh), logits(network))


def test_a_bias_before_batchnorm(network: Network, foreign_of: ForeignOf) -> None:
    foreign = foreign_of(network)
    random = np.random.default_rng(0)
    layers, moved = [], []
    for layer in foreign.layers:
        if layer.kind in ("conv", "depthwise"):
            bias = random.normal(size=layer.arrays["weight"].shape[0]).astype(np.float32)
            layer = dataclasses.replace(layer, arrays=dict(layer.arrays) | {"bias": bias})
            moved.append(bias)
        elif layer.kind == "norm":
            # The same function: what the bias adds, the mean takes away.
            mean = layer.arrays["running_mean"] + moved[-1]
            layer = dataclasses.replace(layer, arrays=dict(layer.arrays) | {"running_mean": mean})
        layers.append(layer)
    fresh = create_model("mobilenet_v2", 4, 0.1, size=64)
    assign(fresh, dataclasses.replace(foreign, layers=tuple(layers)))
    expected = logits(network)
    assert np.abs(logits(fresh) - expected).max() <= 1e-5 * np.ptp(expected)


def test_batchnorm_folded_into_the_convolutions(network: Network, foreign_of: ForeignOf) -> None:
    foreign = foreign_of(network)
    layers: list[Layer] = []
    for layer in foreign.layers:
        if layer.kind == "norm":
            a, last = layer.arrays, layers.pop()
            factor = a["weight"] / np.sqrt(a["running_var"] + np.float32(1e-3))
            weight = last.arrays["weight"] * factor[:, None, None, None]
            layer = conv(last.name, weight, a["bias"] - a["running_mean"] * factor)
        layers.append(layer)
    fresh = create_model("mobilenet_v2", 4, 0.1, size=64)
    assign(fresh, dataclasses.replace(foreign, layers=tuple(layers)))
    expected = logits(network)
    assert np.abs(logits(fresh) - expected).max() <= 1e-5 * np.ptp(expected)


def test_a_batchnorm_that_is_missing_among_biases_is_no_reason_to_drop_the_others(
    network: Network, foreign_of: ForeignOf
) -> None:
    foreign = foreign_of(network)
    layers = [
        conv(layer.name, layer.arrays["weight"], np.zeros(len(layer.arrays["weight"]), np.float32))
        if layer.kind in ("conv", "depthwise")
        else layer
        for layer in foreign.layers
        if layer.name != "n5"
    ]
    with pytest.raises(InputError, match=r"51 surplus \(n1, n3, n7, …\)"):
        assign(network, dataclasses.replace(foreign, layers=tuple(layers)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "c0",
            r"^its layers do not fit this network: 1 missing \(body\.conv18 \(conv\)\), 1 surplus \(n103\), \d+ of ",
        ),
        ("c2", r"1 missing \(body\.inverted17\.depthwise \(depthwise\)\)"),
        (
            "n3",
            r"1 missing \(body\.conv18\.norm \(norm\)\), \d+ of another shape \(n7 \(48,\) for body\.inverted1\.pro",
        ),
        ("head", r"1 missing \(classifier \(linear\)\)"),
    ],
)
def test_what_is_missing_is_named(network: Network, foreign_of: ForeignOf, name: str, words: str) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(InputError, match=words) as caught:
        assign(network, without(foreign_of(network), name))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_surplus_and_another_shape_are_named(network: Network, foreign_of: ForeignOf) -> None:
    foreign = foreign_of(network)
    with pytest.raises(InputError, match=r"2 surplus \(c2, n3\)"):
        twice = tuple(layer for layer in foreign.layers if layer.name in ("c2", "n3"))
        assign(network, dataclasses.replace(foreign, layers=foreign.layers + twice))
    wider = create_model("mobilenet_v2", 4, 0.35, size=64)
    with pytest.raises(InputError, match=r"of another shape \(c0 \(8, 3, 3, 3\) for body\.conv0\.conv\.weight \(16, 3"):
        assign(wider, foreign)


def test_a_convolution_as_head(network: Network, foreign_of: ForeignOf) -> None:
    foreign = foreign_of(network)
    head = foreign.layers[-1].arrays
    assigned = assign(network, with_head(foreign, conv("head", head["weight"][:, :, None, None], head["bias"])))
    assert assigned.placed["classifier"] == ("head",)


def heads(foreign: Foreign, *sizes: tuple[int, int]) -> str | None:
    plan = create_model("mobilenet_v2", 0, 0.1).plan
    made = [linear(f"dense{i}", np.ones((outputs, inputs), np.float32)) for i, (inputs, outputs) in enumerate(sizes)]
    hidden, found = find_head(with_head(foreign, *made), plan)
    assert hidden == ()
    return found.name if found else None


def test_which_head_is_taken(network: Network, foreign_of: ForeignOf) -> None:
    foreign = foreign_of(network)
    # A retrained head beside the one that it replaced.
    assert heads(foreign, (1280, 1001), (1280, 5)) == "dense1"
    # Two layers that follow one another are not one classifier.
    assert heads(foreign, (1280, 64), (64, 5)) is None
    assert heads(foreign, (1280, 1280), (1280, 5)) is None
    assert heads(foreign, (300, 5)) is None
    assert heads(foreign, (1280, 256), (256, 5)) is None
    assert heads(foreign) is None


def test_a_network_without_classifier_leaves_the_head_out(network: Network, foreign_of: ForeignOf) -> None:
    body = create_model("mobilenet_v2", 0, 0.1, size=64)
    assert assign(body, foreign_of(network)).surplus == ("head",)


def test_names_break_no_line(network: Network, foreign_of: ForeignOf) -> None:
    foreign = foreign_of(network)
    odd = dataclasses.replace(foreign.layers[0], name="a\nb\r" + "x" * 500)
    wider = create_model("mobilenet_v2", 4, 0.35, size=64)
    with pytest.raises(InputError) as caught:
        assign(wider, dataclasses.replace(foreign, layers=(odd, *foreign.layers[1:])))
    assert re.fullmatch(r"[^\n\r]{1,900}", str(caught.value))
