"""This package's own weights, with the model.json beside them and without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle, write_bundle
from mobilenets.verbs.models import create_model
from mobilenets.weights.layers import Foreign
from mobilenets.weights.pytorch.state import read_state


def own(folder: Path) -> tuple[Network, Path, dict[str, np.ndarray]]:
    network = create_model("mobilenet_v2", 3, 0.35, size=32, variant="small")
    arrays = {key: value.numpy() for key, value in network.state_dict().items()}
    return network, folder / "model.safetensors", arrays


def test_our_own_description_is_heeded(tmp_path: Path) -> None:
    network, path, arrays = own(tmp_path)
    architecture = network.architecture.to_json()
    architecture["table"] |= {"norm_epsilon": 1e-4, "padding": "same"}
    preprocessing = Preprocessing(32, mean=(0.1, 0.2, 0.3))
    write_bundle(tmp_path, Bundle(architecture, ("a", "b", "c"), preprocessing))
    foreign = read_state(path, "safetensors", arrays)
    assert (foreign.epsilon, foreign.padding, foreign.size) == (1e-4, "same", 32)
    assert foreign.classes == ("a", "b", "c")
    assert foreign.strides == (1, 1, 1, 1, 2, *[1] * 2, 2, *[1] * 6, 2, 1, 1, 1)
    assert Preprocessing(size=32, **foreign.preprocessing) == preprocessing
    assert not foreign.notes


def assumed(foreign: Foreign) -> str:
    """Give the note on our own weights whose description was not taken."""
    assert (foreign.epsilon, foreign.padding, foreign.size, foreign.strides) == (1e-3, "symmetric", None, None)
    assert foreign.classes is None
    (note,) = foreign.assumed
    assert "symmetric padding" in note
    assert "keep model.safetensors and its model.json together" in note
    return note


def test_our_own_weights_without_a_description_say_what_is_assumed(tmp_path: Path) -> None:
    _, path, arrays = own(tmp_path)
    assert "no model.json beside it" in assumed(read_state(path, "safetensors", arrays))


@pytest.mark.parametrize("described", ["whole", "damaged"])
def test_the_description_of_another_file_is_not_taken(tmp_path: Path, described: str) -> None:
    network, path, arrays = own(tmp_path)
    write_bundle(tmp_path, Bundle(network.architecture.to_json(), ("a", "b", "c"), Preprocessing(32)))
    if described == "damaged":
        (tmp_path / "model.json").write_text("{")
    note = assumed(read_state(path.with_name("best.safetensors"), "safetensors", arrays))
    assert "belongs to model.safetensors and was not used" in note


@pytest.mark.parametrize(("name", "classes", "width"), [("mobilenet_v2", 3, 0.5), ("mobilenet_v1", 3, 0.35)])
def test_the_description_of_another_network_is_not_taken(tmp_path: Path, name: str, classes: int, width: float) -> None:
    _, path, arrays = own(tmp_path)
    other = create_model(name, classes, width, size=32)
    names = tuple("abcd"[:classes])
    write_bundle(tmp_path, Bundle(other.architecture.to_json(), names, Preprocessing(32)))
    assert "describes another network" in assumed(read_state(path, "safetensors", arrays))
    prefixed = {f"module.{key}": value for key, value in arrays.items()}
    assert "describes another network" in assumed(read_state(path, "safetensors", prefixed))


@pytest.mark.parametrize("change", ["architecture", "json"])
def test_a_damaged_description_is_refused(tmp_path: Path, change: str) -> None:
    network, path, arrays = own(tmp_path)
    architecture = network.architecture.to_json()
    if change == "architecture":
        architecture["table"]["padding"] = "none"
    write_bundle(tmp_path, Bundle(architecture, ("a", "b", "c"), Preprocessing(32)))
    if change == "json":
        (tmp_path / "model.json").write_text("{")
    with pytest.raises(InputError, match=r"model\.json"):
        read_state(path, "safetensors", arrays)
