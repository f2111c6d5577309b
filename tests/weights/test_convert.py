from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mobilenets.errors import InputError
from mobilenets.models.network import Network
from mobilenets.verbs.models import create_model
from mobilenets.weights.class_names import BACKGROUND, imagenet_classes, read_classes
from mobilenets.weights.convert import convert, read_input
from mobilenets.weights.layers import TENSORFLOW_INPUT, TORCH_INPUT

Disturbed = Callable[..., Network]
Bare = Callable[..., Path]


@pytest.fixture
def bare(tmp_path: Path, disturbed: Disturbed) -> Bare:
    """Give ``bare(classes)``: weights of ours without their ``model.json``."""

    def make(classes: int, width: float = 0.1) -> Path:
        path = tmp_path / f"bare-{classes}.safetensors"
        save_file(disturbed("mobilenet_v2", classes, width).state_dict(), path)
        return path

    return make


def same_function(network: Network, other: Network, size: int = 64) -> bool:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return torch.equal(network(images), other(images))


def test_our_own_weights_without_their_description(bare: Bare, disturbed: Disturbed) -> None:
    model = convert(bare(3)).model
    assert same_function(model.network, disturbed("mobilenet_v2", 3, 0.1))
    assert model.bundle.classes == ("class_0", "class_1", "class_2")
    assert model.bundle.origin["weights"] == "imported"
    assert model.bundle.origin["files"] == ["bare-3.safetensors"]
    assert len(model.bundle.origin["sha256"][0]) == 64
    assert not model.network.training


def test_what_is_said_of_a_head_apart(bare: Bare, tmp_path: Path) -> None:
    head = {"head.weight": torch.randn(3, 1280), "head.bias": torch.zeros(3)}
    mean = {name: tensor.clone() for name, tensor in head.items()}
    torch.save({"model": head, "model_ema": mean}, tmp_path / "head.pth")
    converted = convert([bare(0), tmp_path / "head.pth"])
    assert converted.model.network.classes == 3
    assert any("those under 'model_ema', a moving average" in line for line in converted.model.bundle.origin["assumed"])


def test_numbered_classes_are_said(bare: Bare, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mobilenets"):
        convert(bare(3))
    assert "the 3 classes are numbered; name them with import --classes FILE" in caplog.text


@pytest.mark.parametrize("outputs", [1000, 1001])
def test_imagenets_classes(bare: Bare, outputs: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mobilenets"):
        classes = convert(bare(outputs)).model.bundle.classes
    assert classes == (imagenet_classes() if outputs == 1000 else (BACKGROUND, *imagenet_classes()))
    assert "assumed to be ImageNet's classes" in caplog.text


def test_classes_as_given(bare: Bare) -> None:
    path = bare(2)
    assert convert(path, classes=("cat", "dog")).model.bundle.classes == ("cat", "dog")
    with pytest.raises(InputError, match=rf"^{path}: 3 class names for its 2 outputs"):
        convert(path, classes=("cat", "dog", "cow"))
    with pytest.raises(InputError, match="occurs twice"):
        convert(path, classes=("cat", "cat"))


def test_files_of_classes(tmp_path: Path) -> None:
    text, keras, names, other = (tmp_path / name for name in ("c.txt", "keras.json", "list.json", "other.json"))
    text.write_text("塑料瓶\n\n dog \n", encoding="utf-8")
    keras.write_text(json.dumps({"1": ["n02", "goldfish"], "0": ["n01", "tench"]}))
    names.write_text('["a", "b"]')
    other.write_text('{"a": 1}')
    assert read_classes(text) == ("塑料瓶", "dog")
    assert read_classes(keras) == ("tench", "goldfish")
    assert read_classes(names) == ("a", "b")
    for path in (other, tmp_path / "absent.txt"):
        with pytest.raises(InputError, match=str(path)):
            read_classes(path)


def test_how_pictures_come_in(bare: Bare, tmp_path: Path) -> None:
    assert read_input("torch") == TORCH_INPUT
    assert read_input("tensorflow") == TENSORFLOW_INPUT
    own = tmp_path / "input.json"
    own.write_text('{"mean": [0, 0, 0], "std": [1, 1, 1], "resize": "stretch"}')
    contract = convert(bare(2), preprocessing=read_input(own), size=97).model.bundle.preprocessing
    assert (contract.mean, contract.std, contract.resize, contract.size) == ((0, 0, 0), (1, 1, 1), "stretch", 97)
    own.write_text('{"means": [0, 0, 0]}')
    for wrong in (own, "caffe"):
        with pytest.raises(InputError):
            read_input(wrong)


def test_a_backbone_and_its_head_apart(tmp_path: Path, disturbed: Disturbed) -> None:
    network = disturbed("mobilenet_v1", 4, 0.25)
    state = network.state_dict()
    head = {name: value for name, value in state.items() if name.startswith("classifier")}
    save_file({name: value for name, value in state.items() if name not in head}, tmp_path / "body.safetensors")
    save_file(head, tmp_path / "head.safetensors")
    whole = convert([tmp_path / "body.safetensors", tmp_path / "head.safetensors"]).model
    assert same_function(whole.network, network)
    body = convert(tmp_path / "body.safetensors").model
    assert (body.network.classes, body.bundle.classes) == (0, ())
    with pytest.raises(InputError, match=r"head\.safetensors: it holds 0 convolutions"):
        convert(tmp_path / "head.safetensors")


def test_an_odd_size_is_only_a_size(bare: Bare) -> None:
    model = convert(bare(2), size=75).model
    assert (model.network.architecture.size, model.bundle.preprocessing.size) == (75, 75)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none(tmp_path: Path, value: float) -> None:
    state = create_model("mobilenet_v2", 2, 0.1).state_dict()
    state["body.inverted3.expand.conv.weight"][0, 0] = value
    save_file(state, tmp_path / "odd.safetensors")
    with pytest.raises(InputError, match=r"odd\.safetensors: .*not finite"):
        convert(tmp_path / "odd.safetensors")


def test_one_output_is_two_classes(bare: Bare, disturbed: Disturbed) -> None:
    converted = convert(bare(1))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        high = disturbed("mobilenet_v2", 1, 0.1)(images)[:, 0].sigmoid()
        given = converted.model.network(images).softmax(1)
    assert torch.allclose(given, torch.stack([1 - high, high], 1), atol=1e-6)
    assert converted.model.bundle.classes == ("class_0", "class_1")
    assert any("the logit z of two classes" in note for note in converted.notes)
    assert convert(bare(1), classes=("cat", "dog")).model.bundle.classes == ("cat", "dog")


def test_notes_are_said_and_kept(bare: Bare, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mobilenets"):
        converted = convert(bare(0))
    assert any("no classifier that fits" in note for note in converted.notes)
    assert converted.model.bundle.origin["notes"] == list(converted.notes)
    assert all(note in caplog.text for note in converted.notes)
