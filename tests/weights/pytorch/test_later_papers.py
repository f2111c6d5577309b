"""MobileNetV3 and V4 of timm and torchvision: their files against their logits, and their names at full size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.catalog import CATALOG
from mobilenets.weights.convert import convert
from mobilenets.weights.layers import Foreign
from mobilenets.weights.published import choose
from mobilenets.weights.pytorch.described import from_training
from mobilenets.weights.pytorch.state import read_state
from mobilenets.weights.recognise import recognise

Compared = Callable[[str, str, np.ndarray, np.ndarray], None]
FILES = Path(__file__).parents[2] / "fixtures" / "torch"

# The name of the fixture, the network, the padding and the epsilon.
SMALL = {
    "torchvision_v3_010": ("mobilenet_v3_small", "symmetric", 1e-3),
    "timm_v3_large_005": ("mobilenet_v3_large", "symmetric", 1e-5),
    "timm_tf_v3_small_010": ("mobilenet_v3_small", "same", 1e-3),
    "timm_tf_v3_small_minimal_010": ("mobilenet_v3_small_minimalistic", "same", 1e-3),
    "timm_v4_small_005": ("mobilenet_v4_conv_small", "symmetric", 1e-5),
    "timm_v4_medium_005": ("mobilenet_v4_conv_medium", "symmetric", 1e-5),
}
FULL = {
    "torchvision_mobilenet_v3_large": ("mobilenet_v3_large", 1.0),
    "torchvision_mobilenet_v3_small": ("mobilenet_v3_small", 1.0),
    "timm_mobilenetv3_large_100": ("mobilenet_v3_large", 1.0),
    "timm_mobilenetv3_small_100": ("mobilenet_v3_small", 1.0),
    "timm_mobilenetv3_small_050": ("mobilenet_v3_small", 0.5),
    "timm_tf_mobilenetv3_large_minimal_100": ("mobilenet_v3_large_minimalistic", 1.0),
    "timm_tf_mobilenetv3_small_minimal_100": ("mobilenet_v3_small_minimalistic", 1.0),
    "timm_mobilenetv4_conv_small": ("mobilenet_v4_conv_small", 1.0),
    "timm_mobilenetv4_conv_medium": ("mobilenet_v4_conv_medium", 1.0),
    "timm_mobilenetv4_conv_large": ("mobilenet_v4_conv_large", 1.0),
}


@pytest.mark.parametrize("fixture", SMALL)
def test_logits(fixture: str, tmp_path: Path, compared: Compared) -> None:
    name, padding, epsilon = SMALL[fixture]
    # As timm's releases call it: names inside do not tell its own weights from TensorFlow's.
    file = tmp_path / fixture.replace("timm_tf_v3", "tf_mobilenetv3")
    shutil.copy(FILES / f"{fixture}.safetensors", file.with_suffix(".safetensors"))
    converted = convert(file.with_suffix(".safetensors"))
    architecture = converted.model.network.architecture
    assert (architecture.name, architecture.variant) == (name, "standard")
    assert (architecture.table.padding, architecture.table.norm_epsilon) == (padding, epsilon)
    assert converted.assigned.surplus == ()
    seen = np.load(FILES / f"{fixture}.npz")
    for size in (64, 75):
        with torch.inference_mode():
            found = converted.model.network(torch.from_numpy(seen[f"inputs_{size}"])).numpy()
        compared("safetensors", f"{fixture.split('_')[0]}, MobileNetV3 and V4", found, seen[f"logits_{size}"])


def test_what_a_published_file_does_not_tell_is_given(compared: Compared) -> None:
    fixture, published = "timm_tf_v3_small_010", choose("mobilenet_v3_small", 1.0, 224, "timm")
    assert published.repository == "timm/tf_mobilenetv3_small_100.in1k"
    network = convert(FILES / f"{fixture}.safetensors", habits=published.habits).model.network
    seen = np.load(FILES / f"{fixture}.npz")
    with torch.inference_mode():
        compared(
            "safetensors",
            "timm, MobileNetV3 and V4",
            network(torch.from_numpy(seen["inputs_75"])).numpy(),
            seen["logits_75"],
        )


def of(fixture: str, change: Callable[[dict[str, Any]], Mapping[str, Any]] = lambda shapes: shapes) -> Foreign:
    shapes = change(json.loads((FILES / f"{fixture}.json").read_bytes()))
    arrays = {
        name: np.broadcast_to(np.float32(1), shape) if shape else np.array(0, np.int64)
        for name, shape in shapes.items()
    }
    return read_state(Path("x"), "F", arrays)


@pytest.mark.parametrize("fixture", FULL)
def test_names_at_full_size(fixture: str) -> None:
    found = recognise(of(fixture))
    assert (found.name, found.width, found.variant) == (*FULL[fixture], "standard")
    assert found.size == CATALOG[found.name].size
    assert recognise(of(fixture), variant="small").variant == "small"


def test_a_body_without_the_heads_own_layer() -> None:
    foreign = of("timm_mobilenetv3_small_050", lambda shapes: {k: v for k, v in shapes.items() if "conv_head" not in k})
    found = recognise(foreign)
    assert (found.name, found.variant, found.table.head.kind) == ("mobilenet_v3_small", "standard", "pooled")


def test_other_networks_of_the_same_names_are_refused() -> None:
    def wider(shapes: dict[str, Any]) -> dict[str, Any]:
        return shapes | {"conv_stem.weight": [24, 3, 3, 3]}

    with pytest.raises(InputError, match="V3 or V4 at any width"):
        recognise(of("timm_mobilenetv3_small_100", wider))


def test_a_checkpoint_says_where_its_weights_came_from() -> None:
    foreign = of("timm_mobilenetv3_small_050")
    assert (foreign.padding, foreign.epsilon) == ("symmetric", 1e-5)
    theirs = from_training(foreign, {"model": "tf_mobilenetv3_small_075"})
    assert (theirs.padding, theirs.epsilon, theirs.preprocessing["mean"]) == ("same", 1e-3, (0.5, 0.5, 0.5))
    for name in ("mobilenetv3_rw", "mobilenetv4_hybrid_medium", "mobilenetv4_conv_aa_large"):
        with pytest.raises(InputError, match="only MobileNetV1 to V4 can be read"):
            from_training(foreign, {"arch": name})
    with pytest.raises(InputError, match="act_layer 'relu6'"):
        from_training(foreign, {"act_layer": "relu6"})


def test_our_own_names(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from mobilenets.verbs.models import create_model

    for name in ("mobilenet_v3_small", "mobilenet_v4_conv_medium"):
        torch.manual_seed(1)
        network = create_model(name, 3, 0.1, size=96).eval()
        save_file(network.state_dict(), tmp_path / "weights.safetensors")
        found = convert(tmp_path / "weights.safetensors").model.network.eval()
        assert isinstance(found.architecture, Architecture)
        x = torch.rand(1, 3, 96, 96)
        with torch.inference_mode():
            assert torch.equal(found(x), network(x))
