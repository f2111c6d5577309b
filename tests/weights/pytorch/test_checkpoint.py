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
from torch.nn.utils import prune

from mobilenets.errors import InputError
from mobilenets.weights.convert import Converted, convert
from mobilenets.weights.pytorch.reparametrised import joined

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


# --- whole modules ---------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """torchvision's InvertedResidual, as its names and its state have it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int, act: Any, kernel: int) -> None:
        super().__init__()
        hidden = inputs * expand
        layers = [] if expand == 1 else [unit(inputs, hidden, 1, act=act)]
        last = [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs, eps=0.002)]
        self.conv = nn.Sequential(*layers, unit(hidden, hidden, kernel, stride, hidden, act=act), *last)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(x)
        return x + out if self.shortcut else out


def unit(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, act: Any) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, eps=0.002), act())


class Net(nn.Module):
    def __init__(self, act: type[nn.Module] = nn.ReLU6, kernel: int = 5) -> None:
        super().__init__()
        blocks = [Block(8, 8, 1, 1, act, 3), Block(8, 12, 2, 6, act, kernel), Block(12, 12, 1, 3, act, kernel)]
        self.features = nn.Sequential(unit(3, 8, 3, 2, act=act), *blocks, unit(12, 40, 1, act=act))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(40, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.classifier(self.features(x).mean([2, 3]))
        return out


@pytest.fixture
def net() -> Callable[..., Net]:
    def make(*arguments: Any) -> Net:
        torch.manual_seed(0)
        network = Net(*arguments).eval()
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.normal_(part.running_mean, 0, 0.3)
                nn.init.uniform_(part.running_var, 0.5, 2)
        return network

    return make


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"model": m}, nn.DataParallel, lambda m: [m]])
@pytest.mark.parametrize("new", [True, False])
def test_a_whole_module(file: Path, net: Callable[..., Net], wrap: Callable[[Net], Any], new: bool) -> None:
    """Strides, epsilon, kernels and activation are seen, so that even a network of one's own is exact."""
    network = net()
    torch.save(wrap(network), file, _use_new_zipfile_serialization=new)
    converted = convert(file)
    x = torch.randn(2, 3, 40, 40)
    with torch.inference_mode():
        assert torch.allclose(converted.model.network(x), network(x), atol=1e-5)
    assert converted.foreign.strides == (2, 1, 2, 1)
    assert converted.foreign.epsilon == 0.002
    assert converted.foreign.assumed == ()


@pytest.mark.parametrize("act", [nn.ReLU, nn.SiLU, nn.Hardswish, nn.PReLU])
def test_a_whole_module_of_another_activation(file: Path, net: Callable[..., Net], act: type[nn.Module]) -> None:
    torch.save(net(act), file)
    with pytest.raises(InputError, match=f"activates with {act.__name__}|no layer of a MobileNet has"):
        convert(file)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript(file: Path, net: Callable[..., Net]) -> None:
    torch.jit.script(net(nn.ReLU, 3)).save(file)
    with pytest.raises(InputError, match="activates with ReLU"):
        convert(file)
    # Its strides stand in its program, which is not read.
    torch.jit.script(net()).save(file)
    with pytest.raises(InputError, match="kernels of 5×5"):
        convert(file)


def test_weights_alone_of_a_network_of_ones_own(file: Path, net: Callable[..., Net]) -> None:
    torch.save(net(nn.ReLU6, 3).state_dict(), file)
    with pytest.raises(InputError, match="3 blocks, but mobilenet_v2 has 17"):
        convert(file)


class Holder:
    """What is pickled as a module would be."""

    def __init__(self, **modules: object) -> None:
        self.__dict__.update({"_parameters": {}, "_buffers": {}, "_modules": modules})


def test_modules_that_hold_one_another_end(file: Path) -> None:
    circle = Holder()
    circle.__dict__["_modules"]["again"] = circle
    torch.save(circle, file)
    with pytest.raises(InputError, match="no state dictionary"):
        convert(file)
    # 2 ** 60 ways to the innermost, which is met once.
    inner = Holder()
    inner.__dict__["_parameters"]["weight"] = torch.ones(2, 2)
    for _ in range(60):
        inner = Holder(one=inner, two=inner)
    torch.save({"model": inner, "list": [[inner] * 2] * 2}, file)
    with pytest.raises(InputError, match="it holds 0 convolutions"):
        convert(file)


HEADS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "several may be right": (lambda: nn.Sequential(nn.Linear(40, 4), nn.Sigmoid()), "each class by itself"),
    "behind": (lambda: nn.Sequential(nn.Linear(40, 4), nn.ReLU()), "stands behind the linear layer"),
    "before": (lambda: nn.Sequential(nn.Tanh(), nn.Linear(40, 4)), "stands before the linear layer"),
    "BatchNorm": (lambda: nn.Sequential(nn.BatchNorm1d(40), nn.Linear(40, 4)), "its head has classifier.0 beside"),
    "LayerNorm": (lambda: nn.Sequential(nn.LayerNorm(40), nn.Linear(40, 4)), "its head has classifier.0 beside"),
    "two": (lambda: nn.Sequential(nn.Linear(40, 9), nn.Linear(9, 4)), "its head has 2 linear layers"),
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_that_is_not_one_linear_layer(file: Path, net: Callable[..., Net], kind: str) -> None:
    network = net(nn.ReLU6, 3)
    make, reason = HEADS[kind]
    network.classifier = make().eval()  # type: ignore[assignment]
    torch.save(network, file)
    converted = convert(file)
    assert converted.model.bundle.classes == ()
    assert any(reason in note for note in converted.notes), converted.notes


def test_a_module_that_pools_otherwise(file: Path, net: Callable[..., Net]) -> None:
    network = net()
    network.pool = nn.AdaptiveMaxPool2d(1)
    torch.save(network, file)
    converted = convert(file)
    assert converted.model.bundle.classes == ()
    assert any("pools otherwise than by the average" in note for note in converted.notes)


def test_a_module_without_relu6(file: Path, net: Callable[..., Net]) -> None:
    torch.save(net(nn.Identity), file)
    with pytest.raises(InputError, match="its modules show no ReLU6"):
        convert(file)


@pytest.mark.parametrize("args", [{"model_kwargs": {"act_layer": "relu"}}, {"act_layer": "silu"}])
def test_an_activation_that_the_arguments_name(file: Path, args: dict[str, Any]) -> None:
    torch.save({"state_dict": state("timm_v2_005"), "args": argparse.Namespace(**args)}, file)
    with pytest.raises(InputError, match="its checkpoint says act_layer"):
        convert(file)


def test_a_pooling_that_the_arguments_name(file: Path) -> None:
    torch.save({"state_dict": state("timm_v2_005"), "args": argparse.Namespace(gp="max")}, file)
    assert convert(file).model.bundle.classes == ()


def test_pruned_weights_and_weight_norm(file: Path, net: Callable[..., Net]) -> None:
    network = net()
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            prune.l1_unstructured(part, "weight", 0.3)  # type: ignore[no-untyped-call]
    nn.utils.parametrizations.weight_norm(network.classifier[1])
    torch.save({"model": network.state_dict()}, file)
    with pytest.raises(InputError, match="kernels of 5×5"):  # as of its plain weights
        convert(file)
    network = net(nn.ReLU6, 3)
    prune.l1_unstructured(network.features[0][0], "weight", 0.5)  # type: ignore[no-untyped-call, index]
    nn.utils.parametrizations.weight_norm(network.classifier[1])
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    found = joined(arrays)
    np.testing.assert_allclose(found["features.0.0.weight"], network.features[0][0].weight.detach())  # type: ignore[index, union-attr]
    weight = network.classifier[1].weight.detach()
    np.testing.assert_allclose(found["classifier.1.weight"], weight, atol=1e-6)


def test_weights_in_other_parts_are_refused() -> None:
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
    arrays = {name: value.numpy() for name, value in layer.state_dict().items()}
    with pytest.raises(InputError, match=r"'weight' is computed from parts .*remove_parametrizations"):
        joined(arrays)


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
