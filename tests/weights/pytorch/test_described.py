"""Folders of the Hugging Face hub: transformers' own, against the logits that transformers computed, and timm's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import mobilenets
from mobilenets.errors import InputError
from mobilenets.weights.convert import Converted, convert
from mobilenets.weights.layers import Foreign
from mobilenets.weights.pytorch.described import from_folder
from mobilenets.weights.start import open_weights

Compared = Callable[[str, str, np.ndarray, np.ndarray], None]
FILES = Path(__file__).parents[2] / "fixtures" / "torch"


def right(file: Path, fixture: str) -> Converted:
    converted = convert(file)
    seen = np.load(FILES / f"{fixture}.npz")
    for size in (64, 75):
        with torch.inference_mode():
            found = converted.model.network(torch.from_numpy(seen[f"inputs_{size}"])).numpy()
        expected = seen[f"logits_{size}"]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.ptp(expected))
    return converted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a copy of transformers' V2 that can be changed."""
    return Path(shutil.copytree(FILES / "transformers_v2", tmp_path / "hub"))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("name", "padding", "epsilon"),
    [
        ("transformers_v1", "same", 0.001),
        ("transformers_v2", "same", 0.001),
        ("transformers_v2_torch", "symmetric", 1e-5),
    ],
)
def test_networks_of_transformers(name: str, padding: str, epsilon: float, compared: Compared) -> None:
    file = next(path for path in (FILES / name).iterdir() if path.suffix in (".bin", ".safetensors"))
    for given in (file, FILES / name):
        converted = right(given, name)
        table = converted.model.network.architecture.table
        assert (table.padding, table.norm_epsilon) == (padding, epsilon)
        assert converted.foreign.format.endswith("of transformers")
        seen = np.load(FILES / f"{name}.npz")
        with torch.inference_mode():
            found = converted.model.network(torch.from_numpy(seen["inputs_75"])).numpy()
        compared("Hugging Face folder", "transformers 5.24, V1 and V2", found, seen["logits_75"])
        assert converted.assigned.surplus == ()
        assert converted.model.bundle.origin["files"] == [file.name]


def test_what_the_files_beside_weights_say(folder: Path) -> None:
    model = convert(folder).model
    contract = model.bundle.preprocessing
    assert model.bundle.classes == ("ant", "bee", "cat", "dog", "eel")
    assert (contract.size, contract.crop_fraction, contract.resize, contract.interpolation) == (
        *(64, 0.8, "crop"),
        "bilinear",
    )
    assert (contract.mean, contract.std, contract.scale) == ((0.5,) * 3, (0.5,) * 3, pytest.approx(1 / 255))
    assert "assumed" not in model.bundle.origin


def test_weights_without_their_description(folder: Path) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        (folder / name).unlink()
    converted = right(folder / "model.safetensors", "transformers_v2")
    assert [line.split(":")[0] for line in converted.foreign.assumed] == [
        "no config.json beside it",
        "no preprocessor_config.json beside it",
    ]
    assert converted.model.bundle.origin["assumed"] == list(converted.foreign.assumed)
    assert converted.model.bundle.classes[0] == "class_0"


PROCESSORS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "old": ({"size": 128, "crop_size": 96}, {"size": 96, "crop_fraction": 0.75, "resize": "crop"}, ""),
    "stretched": (
        {"size": {"height": 96, "width": 96}, "do_center_crop": False},
        {"size": 96, "resize": "stretch"},
        "",
    ),
    "stretched and cropped": (
        {"size": {"height": 128, "width": 128}, "crop_size": {"height": 96, "width": 96}},
        {"size": 96, "resize": "stretch"},
        "stretches to 128 and crops 96",
    ),
    "not cropped": ({"size": {"shortest_edge": 96}, "do_center_crop": False}, {"size": 96}, "does not crop"),
    "not normalised": ({"do_normalize": False}, {"mean": (0, 0, 0), "std": (1, 1, 1)}, ""),
    "other numbers": ({"image_mean": [0.1, 0.2, 0.3], "resample": 3}, {"mean": (0.1, 0.2, 0.3)}, ""),
    "not rescaled": ({"do_rescale": False}, {"scale": 1.0}, ""),
    "bicubic": ({"resample": 3}, {"interpolation": "bicubic"}, ""),
    "box": ({"resample": 4}, {"interpolation": "bilinear"}, "uses a resampling filter"),
    "no filter": ({"resample": []}, {"interpolation": "bilinear"}, "uses a resampling filter"),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_processors(folder: Path, name: str) -> None:
    values, expected, said = PROCESSORS[name]
    change(folder / "preprocessor_config.json", **values)
    converted = convert(folder)
    contract = converted.model.bundle.preprocessing
    assert {key: getattr(contract, key) for key in expected} == expected
    assert (said in " ".join(converted.foreign.assumed)) if said else converted.foreign.assumed == ()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"hidden_act": "relu"}, "says hidden_act 'relu', and MobileNetV1 and V2 have ReLU6"),
        ({"output_stride": 16}, "output_stride 16: dilated convolutions"),
        ({"model_type": "vit"}, "describes 'vit', another network"),
        ({"tf_padding": "yes"}, "does not describe a MobileNet"),
    ],
)
def test_what_cannot_be_ours_is_refused_for_its_true_reason(folder: Path, values: dict[str, Any], reason: str) -> None:
    change(folder / "config.json", **values)
    with pytest.raises(InputError) as caught:
        convert(folder)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"{folder / 'model.safetensors'}: ")


def test_segmentation_is_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    extra = {"segmentation_head.conv_pool.convolution.weight": torch.ones(4, 4, 1, 1)}
    save_file(weights | extra, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"a network for segmentation \('segmentation_head"):
        convert(folder)


def test_a_first_block_without_its_shortcut_is_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "mobilenet_v2.conv_stem.reduce_1x1.convolution.weight"
    channels = weights[name].shape[1]
    norm = {key: torch.ones(channels) for key in weights if "conv_stem.reduce_1x1.normalization" in key}
    norm = {key: value for key, value in norm.items() if not key.endswith("tracked")}
    save_file(weights | norm | {name: torch.ones(channels, channels, 1, 1)}, folder / "model.safetensors")
    with pytest.raises(InputError, match="its first block has 4 channels before and after it and no shortcut"):
        convert(folder)


def test_numbered_labels_are_no_names() -> None:
    assert convert(FILES / "transformers_v2_torch").model.bundle.classes == ("class_0", "class_1", "class_2")


def test_a_folder_to_begin_with_and_to_import(folder: Path, tmp_path: Path) -> None:
    opened = open_weights(str(folder), "mobilenet_v2", 1.0, 64)
    assert opened is not None
    assert opened.bundle.classes[0] == "ant"
    result = mobilenets.import_weights(folder, tmp_path / "out")
    assert (result["format"], result["assumed"]) == ("safetensors of transformers", [])


TIMM = {
    "architecture": "mobilenetv1_100",
    "num_classes": 5,
    "label_names": ["v", "w", "x", "y", "z"],
    "pretrained_cfg": {
        "input_size": [3, 96, 96],
        "interpolation": "lanczos",
        "crop_pct": 0.95,
        "crop_mode": "squash",
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
    },
}


@pytest.fixture
def timm(tmp_path: Path) -> Path:
    shutil.copy(FILES / "timm_v1_010.safetensors", tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(TIMM))
    return tmp_path


def test_a_folder_of_timm(timm: Path) -> None:
    bundle = right(timm, "timm_v1_010").model.bundle
    assert bundle.classes == ("v", "w", "x", "y", "z")
    contract = bundle.preprocessing
    assert (contract.size, contract.interpolation, contract.crop_fraction, contract.resize) == (
        *(96, "lanczos", 0.95),
        "stretch",
    )
    assert (contract.mean, contract.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"architecture": "efficientnet_lite0"}, "calls it 'efficientnet_lite0'"),
        ({"model_args": {"act_layer": "relu"}}, "says act_layer 'relu'"),
    ],
)
def test_a_folder_of_another_network_of_timm(timm: Path, values: dict[str, Any], reason: str) -> None:
    change(timm / "config.json", **values)
    with pytest.raises(InputError, match=reason):
        convert(timm)


def test_a_damaged_description_is_named(timm: Path) -> None:
    (timm / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: not JSON.*; give the file from the hub"):
        convert(timm)


@pytest.mark.parametrize("epsilon", ["1e999", "-1.0", "NaN"])
def test_an_epsilon_that_is_none(tmp_path: Path, epsilon: str) -> None:
    (tmp_path / "config.json").write_text(f'{{"model_type": "mobilenet_v2", "layer_norm_eps": {epsilon}}}')
    foreign = Foreign("safetensors of transformers", (), "same", 1e-3)
    with pytest.raises(InputError, match="does not describe a MobileNet"):
        from_folder(tmp_path / "model.safetensors", foreign)
