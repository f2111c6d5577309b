from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.verbs.models import create_model
from mobilenets.weights.layers import KINDS, Foreign, of_kind
from mobilenets.weights.pytorch.state import read_state
from mobilenets.weights.recognise import recognise

FIXTURES = Path(__file__).parents[2] / "fixtures" / "torch"
PUBLISHED = sorted({path.stem for path in FIXTURES.glob("*.json")})
Shapes = Mapping[str, tuple[int, ...]]

V2_BLOCKS = [(i, 1 if i == 0 else 6) for i in range(17)]


def arrays_of(shapes: Shapes) -> dict[str, np.ndarray]:
    """Give one array for each name; no memory is taken for the large ones."""
    return {
        name: np.broadcast_to(np.float32(1), shape) if shape else np.array(0, np.int64)
        for name, shape in shapes.items()
    }


def published(name: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(shape) for key, shape in json.loads((FIXTURES / f"{name}.json").read_bytes()).items()}


def model_zoo(*, apart: str = "") -> dict[str, tuple[int, ...]]:
    """Give the names of MindSpore's model zoo for V2, in forward order, with few channels."""
    shapes: dict[str, tuple[int, ...]] = {}

    def unit(name: str, *shape: int, norm: str = "") -> None:
        shapes[f"{name}.weight"] = shape
        for part in ("moving_mean", "moving_variance", "gamma", "beta"):
            shapes[f"{norm or name.removesuffix('.0') + '.1'}.{part}"] = shape[:1]

    unit("features.0.features.0", 8, 3, 3, 3)
    for index, expand in V2_BLOCKS:
        name, at = f"features.{index + 1}.conv", 0
        if expand > 1:
            unit(f"{name}.0.features.0", 8 * expand, 8, 1, 1)
            at = 1
        unit(f"{name}.{at}.features.0", 8 * expand, 1, 3, 3)
        unit(f"{name}.{at + 1}", 8, 8 * expand, 1, 1, norm=f"{name}.{at + 2}")
    unit("features.18.features.0", 40, 8, 1, 1)
    return shapes | {"dense.weight": (5, 40), "dense.bias": (5,)}


def mindcv(version: int) -> dict[str, tuple[int, ...]]:
    shapes = {"features.0.weight": (8, 3, 3, 3), "features.1.gamma": (8,)}
    for index in range(3, 16):
        inner = f"features.{index}.layers" if version == 2 else f"features.{index}"
        shapes |= {f"{inner}.0.weight": (8, 1, 3, 3), f"{inner}.3.weight": (8, 8, 1, 1)}
    return shapes | {"features.1.moving_mean": (8,), "features.1.moving_variance": (8,), "features.1.beta": (8,)}


def modules_of(shapes: Shapes) -> dict[str, list[str]]:
    """Give the names of the modules of each kind as the shapes list them."""
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    names = dict.fromkeys(name.rpartition(".")[0] for name in shapes)
    for name in names:
        weight = shapes.get(f"{name}.weight", ())
        kinds = {2: "linear", 4: "depthwise" if weight[1:2] == (1,) else "conv"}
        found[kinds.get(len(weight), "norm")].append(name)
    return found


def names_of(foreign: Foreign) -> dict[str, list[str]]:
    return {kind: [layer.name for layer in of_kind(foreign.layers, kind)] for kind in KINDS}


ORDERS: dict[str, Callable[[list[str]], list[str]]] = {
    "own": list,
    "sorted": sorted,
    "reversed": lambda names: names[::-1],
    "shuffled": lambda names: random.Random(0).sample(names, len(names)),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "model.backbone."])
@pytest.mark.parametrize("name", [*PUBLISHED, "model zoo"])
def test_known_names_come_in_forward_order(name: str, prefix: str, order: str) -> None:
    """The frameworks' own state dictionaries list their modules as they run."""
    shapes = model_zoo() if name == "model zoo" else published(name)
    expected = {kind: [prefix + module for module in modules] for kind, modules in modules_of(shapes).items()}
    names = ORDERS[order]([prefix + key for key in shapes])
    arrays = arrays_of({key: shapes[key.removeprefix(prefix)] for key in names})
    foreign = read_state(Path("x.pth"), "PyTorch", arrays)
    assert names_of(foreign) == expected
    assert not foreign.notes
    counts = {name: sum("num_batches_tracked" in key for key in shapes)}
    assert len(foreign.ignored) == counts[name]


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_our_own_names(name: str) -> None:
    network = create_model(name, 5, 0.25)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    expected = modules_of(shapes)
    assert len(expected["norm"]) == len(expected["conv"]) + len(expected["depthwise"]) > 25
    foreign = read_state(
        Path("model.safetensors"), "safetensors", arrays_of({key: shapes[key] for key in sorted(shapes)})
    )
    assert names_of(foreign) == expected
    assert (foreign.padding, foreign.epsilon, foreign.format) == ("symmetric", 1e-3, "safetensors of mobilenets")
    assert foreign.preprocessing["mean"] == (0.5, 0.5, 0.5)


ZOO_V1: Shapes = {"network.0.0.weight": (8, 3, 3, 3)} | {
    f"network.0.1.{part}": (8,) for part in ("moving_mean", "moving_variance", "gamma", "beta")
}


@pytest.mark.parametrize(
    ("shapes", "source", "epsilon", "padding", "mean", "interpolation"),
    [
        (published("torchvision_mobilenet_v2"), "torchvision", 1e-5, "symmetric", 0.485, "bilinear"),
        (published("timm_mobilenetv1_100"), "timm", 1e-5, "symmetric", 0.5, "bicubic"),
        (published("timm_mobilenetv1_100h"), "timm", 1e-5, "symmetric", 0.5, "bicubic"),
        (published("timm_mobilenetv2_140"), "timm", 1e-5, "symmetric", 0.485, "bicubic"),
        (published("timm_mobilenetv3_large_100"), "timm", 1e-5, "symmetric", 0.485, "bicubic"),
        (published("timm_tf_mobilenetv3_small_minimal_100"), "timm", 1e-3, "same", 0.5, "bilinear"),
        (published("timm_mobilenetv4_conv_medium"), "timm", 1e-5, "symmetric", 0.485, "bicubic"),
        (published("torchvision_mobilenet_v3_small"), "torchvision", 1e-3, "symmetric", 0.485, "bilinear"),
        (model_zoo(), "the model zoo", 1e-5, "symmetric", 0.485, "bilinear"),
        (ZOO_V1, "the model zoo", 1e-5, "same", 0.485, "bilinear"),
        (mindcv(2), "MindCV", 1e-5, "symmetric", 0.485, "bilinear"),
    ],
)
def test_habits_of_the_sources(
    shapes: Shapes, source: str, epsilon: float, padding: str, mean: float, interpolation: str
) -> None:
    foreign = read_state(Path("x"), "F", arrays_of(shapes))
    assert foreign.format == f"F of {source}"
    assert (foreign.epsilon, foreign.padding) == (epsilon, padding)
    assert foreign.preprocessing["mean"][0] == mean
    assert foreign.preprocessing["interpolation"] == interpolation
    Preprocessing(size=224, **foreign.preprocessing)


@pytest.mark.parametrize("shapes", [ZOO_V1, mindcv(1)])
def test_mindspores_names_in_pytorch_are_of_no_known_source(shapes: Shapes) -> None:
    renamed = {"moving_mean": "running_mean", "moving_variance": "running_var", "gamma": "weight", "beta": "bias"}
    parts = [name.rpartition(".") for name in shapes]
    names = [f"{module}.{renamed.get(leaf, leaf)}" for module, _, leaf in parts]
    foreign = read_state(Path("x"), "F", arrays_of(dict(zip(names, shapes.values(), strict=True))))
    assert (foreign.format, foreign.padding) == ("F", "symmetric")


def test_mindcv_v1_has_another_activation() -> None:
    with pytest.raises(
        InputError, match=r"^x: these are the names of MindCV's V1, which has ReLU where this package has ReLU6; give"
    ):
        read_state(Path("x"), "F", arrays_of(mindcv(1)))
    assert not read_state(Path("x"), "F", arrays_of(mindcv(2))).notes


def unknown(numbers: list[int]) -> dict[str, np.ndarray]:
    shapes: dict[str, tuple[int, ...]] = {}
    for number in numbers:
        shapes |= {f"part{number}.a.weight": (8, 8, 1, 1), f"part{number}.b.weight": (8, 1, 3, 3)}
    return arrays_of(shapes)


def test_unknown_names_keep_their_own_order_unless_it_is_merely_sorted() -> None:
    foreign = read_state(Path("x"), "F", unknown([3, 12, 1]))
    assert names_of(foreign)["conv"] == ["part3.a", "part12.a", "part1.a"]
    arrays = unknown([1, 2, 10, 11])
    foreign = read_state(Path("x"), "F", {name: arrays[name] for name in sorted(arrays)})
    assert names_of(foreign)["conv"] == ["part1.a", "part2.a", "part10.a", "part11.a"]
    assert foreign.format == "F"
    (note,) = foreign.assumed
    assert "no known source" in note
    assert "in the order of the numbers" in note


def test_what_training_leaves_is_ignored() -> None:
    left = (
        *("moments.dense.weight", "moment1.dense.bias", "accum.dense.weight", "exp_avg.dense.bias", "ema.dense.weight"),
        *("learning_rate", "global_step", "momentum", "beta1_power", "epoch_num", "module.n_averaged", "some_scalar"),
    )
    arrays: dict[str, np.ndarray] = dict.fromkeys(left, np.zeros(7, np.float32))
    arrays |= {"some_scalar": np.array(1.0), "dense.weight": np.ones((2, 7), np.float32)}
    foreign = read_state(Path("x"), "F", arrays)
    assert [layer.name for layer in foreign.layers] == ["dense"]
    assert foreign.ignored == left
    assert not foreign.notes


def test_a_norm_without_scale_and_shift() -> None:
    (layer,) = read_state(
        Path("x"), "F", {"n.running_mean": np.ones(3, np.float32), "n.running_var": np.ones(3, np.float32)}
    ).layers
    assert layer.kind == "norm"
    assert layer.arrays["weight"].tolist() == [1, 1, 1]
    assert layer.arrays["bias"].tolist() == [0, 0, 0]


def test_a_folded_convolution_and_a_convolution_as_head() -> None:
    shapes = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "dw.weight": (4, 1, 3, 3), "head.weight": (5, 4, 1, 1)}
    foreign = read_state(Path("x"), "F", arrays_of(shapes))
    convs = of_kind(foreign.layers, "conv")
    assert [(layer.name, sorted(layer.arrays)) for layer in convs] == [
        ("conv", ["bias", "weight"]),
        ("head", ["weight"]),
    ]


ONE = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({}, "no layer weights"),
        ({"learning_rate": ONE}, "no layer weights"),
        ({"n.running_mean": ONE}, "'n' has only running_mean"),
        ({"n.running_mean": ONE, "n.weight": ONE}, "'n' has only running_mean and weight"),
        ({"n.moving_variance": ONE, "n.gamma": ONE}, "'n' has only running_var and weight"),
        ({"n.bias": ONE}, "'n' has only bias"),
        ({"n.weight": ONE}, "shape (3,)"),
        ({"n.weight": np.ones((2, 3, 4), np.float32)}, "shape (2, 3, 4)"),
        ({"n.weight": np.ones((2, 3, 1, 2), np.float32)}, "not a square convolution"),
        ({"n.weight": np.ones((2, 0), np.float32)}, "shape (2, 0)"),
        ({"n.weight": np.ones((2, 3), np.int64)}, "int64"),
        ({"n.weight": np.full((2, 3), np.nan, np.float32)}, "not finite"),
        ({"n.weight": np.full((2, 3), np.inf, np.float16)}, "not finite"),
        ({"n.weight": np.full((2, 3), 1e300)}, "not finite"),
        ({"n.gamma": ONE, "n.weight": ONE}, "two arrays for its weight"),
        ({"n.position": ONE}, "'n.position' is not part"),
        ({"n.in_proj\nweight": ONE}, r"'n.in_proj\nweight' is not part"),
        ({"n" * 9999 + ".position": ONE}, "is not part"),
        ({"n.weight": np.ones((2, 3), np.float32), "n.bias": ONE}, "a bias of shape (3,)"),
        ({"n.running_mean": ONE, "n.running_var": -ONE}, "variance below 0"),
        ({"n.running_mean": ONE, "n.running_var": ONE[:2]}, "running_var is (2,)"),
    ],
)
def test_what_is_no_mobilenet_is_refused(arrays: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        read_state(Path("some.pth"), "F", arrays)
    message = str(caught.value)
    assert message.startswith("some.pth: ")
    assert reason in message
    assert "\n" not in message
    assert len(message) < 300


def test_names_with_endless_numbers() -> None:
    digits = "9" * 10_000
    names = [f"a.{digits}", f"a.{digits}0", "a.007", "a.8", "../../b", "", "²"]
    arrays: dict[str, Any] = {f"{name}.weight": np.ones((1, 1), np.float32) for name in sorted(names)}
    order = [layer.name for layer in read_state(Path("x"), "F", arrays).layers if layer.name.startswith("a.")]
    assert order == ["a.007", "a.8", f"a.{digits}", f"a.{digits}0"]


def test_more_blocks_in_each_stage_are_told_by_timms_names() -> None:
    foreign = read_state(Path("x"), "F", arrays_of(published("timm_mobilenetv2_110d")))
    # Of 2, 3, 4, 5, 4, 4 and 1 blocks: timm's decode_arch_def at depth 1.2, rounded up but for the first and last.
    stages = [(1, 1), (3, 2), (4, 2), (5, 2), (4, 1), (4, 2), (1, 1)]
    assert foreign.strides == (2, *(stride if not block else 1 for count, stride in stages for block in range(count)))
    assert recognise(foreign).variant == "custom"
    assert read_state(Path("x"), "F", arrays_of(published("timm_mobilenetv2_100"))).strides is None


def test_other_networks_of_timms_names_are_refused_for_their_true_reason() -> None:
    # As of timm's MnasNet-A1 or EfficientNet: V3 has a convolution as its last stage, too.
    v3 = published("timm_mobilenetv3_small_050")
    excited = {name: shape for name, shape in v3.items() if not re.match(r"blocks\.5\.", name)}
    with pytest.raises(InputError, match="squeeze-and-excitation layers"):
        read_state(Path("x"), "F", arrays_of(excited))
    shapes = published("timm_mnasnet_100")
    with pytest.raises(InputError, match="kernels of 5×5 but MobileNetV1 and V2 have 3×3"):
        recognise(read_state(Path("x"), "F", arrays_of(shapes)))
    # As many blocks as V2, in other stages: with 3×3 throughout, the names still tell the strides.
    small = {name: (*shape[:2], 3, 3) if len(shape) == 4 and shape[2] == 5 else shape for name, shape in shapes.items()}
    strides = read_state(Path("x"), "F", arrays_of(small)).strides
    assert strides == (2, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1, 1, 1, 2, 1, 1, 1, 1)
    renamed = {name.replace("blocks.", "stages.").replace("conv_pwl", "out"): shape for name, shape in small.items()}
    foreign = read_state(Path("x"), "F", arrays_of(renamed))
    assert "no known source" in foreign.assumed[0]
    with pytest.raises(InputError, match="unlike the paper, and the weights alone do not tell the strides"):
        recognise(foreign)
