"""Unknown names: the forward order is found, or the file is refused; a wrong order never passes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mobilenets.errors import InputError
from mobilenets.models.blocks import ConvNorm
from mobilenets.models.network import Network
from mobilenets.verbs.models import create_model
from mobilenets.weights.convert import convert
from mobilenets.weights.pytorch.order import by_names, is_sorted, natural
from mobilenets.weights.pytorch.state import read_state
from mobilenets.weights.read import read

State = dict[str, torch.Tensor]
# The names of a convolution and its BatchNorm: of the block (0 is the stem), and of the place in it.
Naming = Callable[[int, str], tuple[str, str]]
NUMBERS = {"expand": 0, "depthwise": 3, "project": 6}
PLACES = {"expand": 1, "depthwise": 2, "project": 3}

TOLD: dict[str, Naming] = {
    "a shared stem": lambda n, part: (f"block{n}.{part}_conv", f"block{n}.{part}_bn"),
    "a stem behind": lambda n, part: (f"block.{n}.conv_{part[:2]}", f"block.{n}.bn_{part[:2]}"),
    "no word for the convolution": lambda n, part: (f"b{n}.{part}", f"b{n}.{part}_batch_norm"),
    "camel case": lambda n, part: (f"b{n}.{part}Conv2d", f"b{n}.{part}BatchNorm2d"),
    "numbers": lambda n, part: (f"net.{n}.conv{PLACES[part]}", f"net.{n}.bn{PLACES[part]}"),
    "a sequence": lambda n, part: (f"layers.{n}.{NUMBERS[part]}", f"layers.{n}.{NUMBERS[part] + 1}"),
    "sequences in a block": lambda n, part: (f"layers.{n}.{part}.0", f"layers.{n}.{part}.1"),
    "a sequence and numbers": lambda n, part: (f"l.{n}.conv{NUMBERS[part]}", f"l.{n}.bn{NUMBERS[part] + 1}"),
    "two lists": lambda n, part: (f"b{n}.convs.{PLACES[part]}", f"b{n}.norms.{PLACES[part]}"),
    "alone with it": lambda n, part: (f"b{n}.{part}.kernel", f"b{n}.{part}.affine"),
}
UNTOLD: dict[str, Naming] = {
    "other words": lambda n, part: (
        f"b{n}.{part}",
        f"b{n}." + {"expand": "bn_exp", "depthwise": "bn_dw", "project": "bn_out"}[part],
    ),
    "numbers of norms alone": lambda n, part: (f"b{n}.{part}", f"b{n}.bn{PLACES[part]}"),
    "numbers one off": lambda n, part: (f"b{n}.conv{PLACES[part]}", f"b{n}.bn{PLACES[part] - 1}"),
    "letters for blocks": lambda n, part: (f"b{chr(97 + n)}.{part}_conv", f"b{chr(97 + n)}.{part}_bn"),
}
REFUSED = "the order of its layers does not follow from its names"


def network_of(name: str) -> Network:
    torch.manual_seed(0)
    network = create_model(name, 5, 0.35 if name == "mobilenet_v2" else 0.25, size=32, variant="standard").eval()
    for value in network.state_dict().values():
        if value.ndim == 1:
            value.uniform_(0.5, 1.5)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.eps = 1e-5  # what is assumed for unknown names
    return network


def renamed(network: Network, naming: Naming) -> State:
    """Give the state dictionary under other names, in forward order."""
    state: State = {}
    blocks = [part for part in network.body.children() if any(isinstance(m, ConvNorm) for m in part.modules())]
    for number, block in enumerate(blocks):
        units = [part for part in block.modules() if isinstance(part, ConvNorm)]
        places = {1: ["project"], 2: ["depthwise", "project"], 3: ["expand", "depthwise", "project"]}[len(units)]
        for unit, place in zip(units, places, strict=True):
            conv, norm = naming(number, place)
            state |= {f"{conv}.weight": unit.conv.weight.detach()}
            state |= {f"{norm}.{key}": value for key, value in unit.norm.state_dict().items()}
    return state | {f"classifier.{key}": value for key, value in network.classifier.state_dict().items()}


def logits(network: torch.nn.Module) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))).numpy()


@pytest.mark.parametrize("kind", ["safetensors", "sorted", "natural"])
@pytest.mark.parametrize("naming", TOLD)
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_names_that_tell_the_order(name: str, naming: str, kind: str, tmp_path: Path) -> None:
    network = network_of(name)
    state = renamed(network, TOLD[naming])
    path = tmp_path / "weights.pth"
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save({key: state[key] for key in (sorted if kind == "sorted" else natural)(state)}, path)
    converted = convert(path, size=32)
    assert converted.assigned.surplus == ()
    np.testing.assert_array_equal(logits(converted.model.network), logits(network))
    (note,) = converted.foreign.assumed
    assert "in the order of the numbers in them" in note
    assert "the paper's strides" in note


@pytest.mark.parametrize("kind", ["safetensors", "sorted"])
@pytest.mark.parametrize("naming", UNTOLD)
def test_names_that_do_not_are_refused(naming: str, kind: str, tmp_path: Path) -> None:
    state = renamed(network_of("mobilenet_v2"), UNTOLD[naming])
    path = tmp_path / "weights.pth"
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save({key: state[key] for key in sorted(state)}, path)
    with pytest.raises(InputError, match=REFUSED) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "torch.save(model.state_dict()) unsorted, or rename to torchvision's" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("naming", ["other words", "numbers of norms alone", "letters for blocks"])
def test_their_own_order_is_trusted_and_said(naming: str, tmp_path: Path) -> None:
    network = network_of("mobilenet_v2")
    torch.save(renamed(network, UNTOLD[naming]), tmp_path / "weights.pth")
    converted = convert(tmp_path / "weights.pth", size=32)
    np.testing.assert_array_equal(logits(converted.model.network), logits(network))
    (note,) = converted.foreign.assumed
    assert "in the order of the file" in note


@pytest.mark.parametrize("naming", TOLD)
def test_the_order_of_the_file_does_not_matter(naming: str) -> None:
    state = {key: value.numpy() for key, value in renamed(network_of("mobilenet_v2"), TOLD[naming]).items()}
    seen = set()
    for seed in range(3):
        names = random.Random(seed).sample(list(state), len(state))
        foreign = read_state(Path("x"), "F", {key: state[key] for key in names}, ordered=False)
        seen.add(tuple(layer.name for layer in foreign.layers))
    assert len(seen) == 1


def test_safetensors_come_in_one_order(tmp_path: Path) -> None:
    """The library gives the entries in another order in every process, and in each call."""
    state = {f"part{n}.weight": torch.zeros(n + 1, 2) for n in range(40)} | {"a.num_batches_tracked": torch.tensor(1)}
    save_file(state, tmp_path / "x.safetensors")
    for _ in range(5):
        assert [layer.name for layer in read(tmp_path / "x.safetensors").layers] == [f"part{n}" for n in range(40)]


def test_a_norm_of_another_shape_has_no_partner() -> None:
    state = {key: value.numpy() for key, value in renamed(network_of("mobilenet_v1"), TOLD["numbers"]).items()}
    for part in ("weight", "bias", "running_mean", "running_var"):
        state[f"net.3.bn2.{part}"] = np.ones(3, np.float32)
    with pytest.raises(InputError, match=REFUSED):
        read_state(Path("x"), "F", state, ordered=False)


def test_no_layers_and_hostile_names() -> None:
    assert by_names((), {}) == ()
    assert is_sorted(["a2", "a10"])
    assert is_sorted(["a10", "a2"])
    assert not is_sorted(["b", "a"])
    names = ["", ".", "..", "9" * 9999, "bn", "conv", "²", "a\nb", "BN2d" * 100]
    arrays = {f"{name}.weight": np.ones((2, 1, 3, 3), np.float32) for name in names}
    with pytest.raises(InputError, match=REFUSED) as caught:
        read_state(Path("x"), "F", arrays, ordered=False)
    assert "\n" not in str(caught.value)
