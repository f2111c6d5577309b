"""Checkpoints as training writes them, against the logits of the networks in them."""

from __future__ import annotations

import argparse
import collections
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mobilenets.errors import InputError
from mobilenets.weights.convert import Converted, convert

FILES = Path(__file__).parents[2] / "fixtures" / "torch"
State = dict[str, torch.Tensor]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch warns where its own classes are saved


def right(file: Path, fixture: str, **settings: Any) -> Converted:
    """Import, and hold the logits against those that the source computed."""
    converted = convert(file, **settings)
    seen = np.load(FILES / f"{fixture}.npz")
    with torch.inference_mode():
        found = converted.model.network(torch.from_numpy(seen["inputs_64"])).numpy()
    np.testing.assert_allclose(found, seen["logits_64"], atol=1e-4 * np.ptp(seen["logits_64"]))
    return converted


def state(fixture: str) -> State:
    loaded: State = torch.load(FILES / f"{fixture}.pth", weights_only=True)
    return loaded


def other(values: State) -> State:
    """Give a state of the same network with other weights."""
    return {name: value * 0.5 if value.is_floating_point() else value for name, value in values.items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.pth.tar"


def test_timms_own_checkpoint(file: Path) -> None:
    whole = state("timm_v2_005")
    arguments = argparse.Namespace(
        model="mobilenetv2_100", img_size=None, mean=None, std=None, crop_pct=None, interpolation=""
    )
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(2))]).state_dict()
    torch.save(
        {"epoch": 3, "arch": "mobilenetv2_100", "state_dict": other(whole), "optimizer": optimizer, "version": 2}
        | {"args": arguments, "amp_scaler": {"scale": 65536.0}, "state_dict_ema": whole, "metric": np.float64(71.2)},
        file,
    )
    converted = right(file, "timm_v2_005")
    first = converted.foreign.assumed[0]
    assert first.startswith(
        "the weights used are those under 'state_dict_ema', a moving average; choose 'state_dict' with"
    )
    assert first in converted.model.bundle.origin["assumed"]
    # The average may be taken away, and either named.
    torch.save({"state_dict": whole, "state_dict_ema": other(whole), "args": arguments}, file)
    right(file, "timm_v2_005", output="state_dict")


def test_what_timms_arguments_say_of_pictures(file: Path) -> None:
    arguments = argparse.Namespace(mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6], crop_pct=0.9, interpolation="lanczos")
    arguments.img_size = 96
    torch.save({"state_dict": state("timm_v2_005"), "args": arguments}, file)
    contract = right(file, "timm_v2_005").model.bundle.preprocessing
    assert (contract.mean, contract.std, contract.size) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 96)
    assert (contract.crop_fraction, contract.interpolation) == (0.9, "lanczos")


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mnasnet_100", "mobilenetv4_conv_small", "mobilenet_v3_large"])
def test_a_checkpoint_that_names_another_network(file: Path, name: str) -> None:
    torch.save({"arch": name, "state_dict": state("timm_v2_005")}, file)
    said = "but its layers are those of" if name.startswith("mobilenet") else "and only MobileNetV1 to V4"
    with pytest.raises(InputError, match=f"its checkpoint calls it '{name}', {said}"):
        convert(file)


def test_torchvisions_own_checkpoint(file: Path) -> None:
    whole = state("torchvision_v2_010")
    average = {"n_averaged": torch.tensor(7)} | {f"module.{name}": value for name, value in whole.items()}
    arguments = argparse.Namespace(lr=0.1, model="mobilenet_v2", val_resize_size=232, val_crop_size=224)
    value = {"model": other(whole), "optimizer": {"state": {}}, "lr_scheduler": {"last_epoch": 3}, "epoch": 3}
    torch.save(value | {"args": arguments, "model_ema": average, "scaler": {}}, file)
    converted = right(file, "torchvision_v2_010")
    assert converted.foreign.assumed[0].endswith("choose 'model' with --output model")
    assert converted.model.bundle.preprocessing.crop_fraction == 224 / 232
    del value["model"]
    torch.save(value | {"model": whole, "args": arguments}, file)
    assert right(file, "torchvision_v2_010").foreign.notes[0] == "the weights used are those under 'model'"


def lightning(**more: torch.Tensor) -> dict[str, Any]:
    """Give a checkpoint as Lightning writes it, with what else the module holds."""
    weights = collections.OrderedDict((f"model.{name}", value) for name, value in state("torchvision_v2_010").items())
    weights.update(more)
    best = {"best_model_score": torch.tensor(0.1), "best_model_path": Path("x"), "dirpath": None}
    return {
        "epoch": 4,
        "pytorch-lightning_version": "2.1.0",
        "state_dict": weights,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": best},
        "optimizer_states": [torch.optim.Adam([nn.Parameter(torch.ones(2))]).state_dict()],
        "hparams_name": "kwargs",
        "hyper_parameters": argparse.Namespace(lr=1e-3, class_names=["a", "b", "c", "d", "e"]),
    }


EXTRAS: dict[str, torch.Tensor] = {
    "criterion.weight": torch.rand(5),
    "loss_fn.pos_weight": torch.rand(5),
    "train_acc.confmat": torch.zeros(5, 5),
    "val_metrics.MulticlassAccuracy.tp": torch.zeros(5),
    "metric.total": torch.ones(1),
    "loss.centers.weight": torch.rand(5, 7),
}


@pytest.mark.parametrize("name", [None, *EXTRAS])
def test_lightnings_checkpoint(file: Path, name: str | None) -> None:
    torch.save(lightning(**({name: EXTRAS[name]} if name else {})), file)
    converted = right(file, "torchvision_v2_010")
    assert converted.model.bundle.classes == ("a", "b", "c", "d", "e")
    left_out = [note for note in converted.foreign.notes if note.startswith("left out")]
    assert left_out == ([f"left out, not part of the network: {name}"] if name else [])
    assert converted.foreign.format == "PyTorch of torchvision"


def test_normalisation_inside_the_network(file: Path) -> None:
    torch.save(lightning(mean=torch.full((1, 3, 1, 1), 0.25), std=torch.full((1, 3, 1, 1), 0.5)), file)
    converted = right(file, "torchvision_v2_010")
    contract = converted.model.bundle.preprocessing
    assert (contract.mean, contract.std) == ((0.25,) * 3, (0.5,) * 3)
    assert "its buffers mean and std are assumed to normalise the pictures" in converted.foreign.assumed
    torch.save(lightning(mean=torch.full((3,), 63.75), std=torch.full((3,), 127.5)), file)
    assert convert(file).model.bundle.preprocessing.mean == (0.25,) * 3


@pytest.mark.parametrize("name", ["norm.weight", "model.features.3.act.weight", "gem.p", "attention.in_proj_weight"])
def test_what_may_be_part_of_the_network_is_refused(file: Path, name: str) -> None:
    torch.save(lightning(**{name: torch.rand(7)}), file)
    with pytest.raises(InputError, match=r"no layer of a MobileNet has|not part of a MobileNet layer"):
        convert(file)


WRAPPERS = ("module.", "_orig_mod.", "module._orig_mod.", "net.", "student.encoder.", "timm_model.")


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_wraps_a_network(file: Path, wrapper: str) -> None:
    torch.save({f"{wrapper}{name}": value for name, value in state("torchvision_v2_010").items()}, file)
    assert right(file, "torchvision_v2_010").foreign.format == "PyTorch of torchvision"


def test_a_head_that_stands_elsewhere(file: Path) -> None:
    whole = state("torchvision_v2_010")
    moved = {f"feature_extractor.{name}" if "features" in name else name: value for name, value in whole.items()}
    torch.save({"state_dict": moved}, file)
    assert right(file, "torchvision_v2_010").foreign.format == "PyTorch of torchvision"


PLACES: dict[str, Callable[[State], Any]] = {
    "a list": lambda weights: [weights, {"lr": 1}],
    "deep": lambda weights: {"ema": {"decay": 0.99, "updates": 3}, "state": {"model": weights}},
    "kuangliu": lambda weights: {"net": weights, "acc": 91.3, "epoch": 3},
    "a name of one's own": lambda weights: {"best_weights_so_far": weights, "loss": torch.tensor(0.3)},
    "beside weights of a loss": lambda weights: {"weight": torch.rand(5), "model": weights},
    "beside a head for something else": lambda weights: {"model": weights, "arcface": {"weight": torch.rand(5, 7)}},
}


@pytest.mark.parametrize("name", PLACES)
def test_where_people_put_them(file: Path, name: str) -> None:
    torch.save(PLACES[name](state("torchvision_v2_010")), file)
    right(file, "torchvision_v2_010")


def test_several_networks_in_one_checkpoint(file: Path) -> None:
    whole = state("torchvision_v2_010")
    torch.save({"teacher": other(whole), "student": whole}, file)
    with pytest.raises(InputError, match=r"several networks \(teacher, student\); choose one with --output NAME"):
        convert(file)
    right(file, "torchvision_v2_010", output="student")


@pytest.mark.parametrize("form", ["pth", "safetensors"])
@pytest.mark.parametrize("average", ["ema.", "ema_model.module.", "swa_model."])
def test_several_networks_in_one_state(tmp_path: Path, average: str, form: str) -> None:
    whole = state("torchvision_v2_010")
    both = {f"model.{name}": value for name, value in other(whole).items()}
    both |= {f"{average}{name}": value.clone() for name, value in whole.items()}
    path = tmp_path / f"both.{form}"
    (torch.save if form == "pth" else save_file)(both, path)
    assert "a moving average; choose 'model' with --output" in right(path, "torchvision_v2_010").foreign.assumed[0]
    renamed = {name.replace(average, "teacher."): value for name, value in both.items()}
    (torch.save if form == "pth" else save_file)(renamed, path)
    with pytest.raises(InputError, match="several networks"):
        convert(path)
    right(path, "torchvision_v2_010", output="teacher")


def test_several_classifiers(file: Path) -> None:
    whole = state("torchvision_v2_010")
    extra = {"fc.weight": torch.rand(3, whole["classifier.1.weight"].shape[1]), "fc.bias": torch.rand(3)}
    torch.save(whole | extra, file)
    assert (
        "the classifier used is classifier.1; choose fc with --output"
        in right(file, "torchvision_v2_010").foreign.assumed
    )
    assert convert(file, output="fc").model.network.classes == 3
    # Behind a wrapper, either may be the one in use.
    torch.save({f"model.{name}": value for name, value in whole.items()} | extra, file)
    with pytest.raises(InputError, match=r"several classifiers \(.*fc \(3\).*; choose one with --output NAME"):
        convert(file)
    right(file, "torchvision_v2_010", output="model.classifier.1")


@pytest.mark.parametrize("args", [{"model_kwargs": {"act_layer": "relu"}}, {"act_layer": "silu"}])
def test_an_activation_that_the_arguments_name(file: Path, args: dict[str, Any]) -> None:
    torch.save({"state_dict": state("timm_v2_005"), "args": argparse.Namespace(**args)}, file)
    with pytest.raises(InputError, match="its checkpoint says act_layer"):
        convert(file)


def test_a_pooling_that_the_arguments_name(file: Path) -> None:
    torch.save({"state_dict": state("timm_v2_005"), "args": argparse.Namespace(gp="max")}, file)
    assert convert(file).model.bundle.classes == ()


def test_a_network_under_quantisation(file: Path) -> None:
    torch.save(state("torchvision_v2_010") | {"features.0.0.weight_fake_quant.scale": torch.ones(1)}, file)
    with pytest.raises(InputError, match="of a quantised network, or of one trained to be"):
        convert(file)


def test_networks_for_32_pixels_with_relu(file: Path) -> None:
    block: dict[str, tuple[int, ...]] = {"conv1": (8, 1, 3, 3), "conv2": (16, 8, 1, 1)}
    net = {f"module.layers.0.{name}.weight": torch.ones(shape) for name, shape in block.items()}
    torch.save({"net": {"module.conv1.weight": torch.ones(8, 3, 3, 3)} | net, "acc": 92.0}, file)
    with pytest.raises(InputError, match="kuangliu/pytorch-cifar, whose MobileNets have ReLU"):
        convert(file)
