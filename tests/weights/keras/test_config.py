"""What a model_config says, of Keras 2 and 3, without Keras."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.weights.keras import translation
from mobilenets.weights.keras.config import Described, describe
from mobilenets.weights.keras.graph import Call, snake_case
from mobilenets.weights.keras.layers import StoredLayer, foreign, known_place, natural
from mobilenets.weights.layers import Foreign
from mobilenets.weights.operations import Add, Affine, Picture
from mobilenets.weights.recognise import recognise
from mobilenets.weights.traced import preprocessing_of


def layer(kind: str, nodes: Any = (), **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": kind.lower(), **config}, "inbound_nodes": list(nodes)}


def pixels(side: int | None, channels_first: bool = False) -> dict[str, Any]:
    return layer("InputLayer", batch_shape=[None, 3, side, side] if channels_first else [None, side, side, 3])


def conv(stride: int = 2, padding: str = "same", kernel: int = 3, **more: Any) -> dict[str, Any]:
    return layer("Conv2D", filters=8, kernel_size=[kernel] * 2, strides=[stride] * 2, padding=padding, **more)


def depthwise(stride: int = 2, padding: str = "same") -> dict[str, Any]:
    return layer("DepthwiseConv2D", kernel_size=[3, 3], strides=[stride] * 2, padding=padding)


def zeros(before: int, after: int) -> dict[str, Any]:
    return layer("ZeroPadding2D", padding=[[before, after]] * 2)


def norm(epsilon: float = 1e-3) -> dict[str, Any]:
    return layer("BatchNormalization", epsilon=epsilon)


def model(*layers: dict[str, Any], kind: str = "Sequential") -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": kind.lower(), "layers": list(layers)}}


def described(*layers: dict[str, Any]) -> Described:
    found = describe(json.dumps(model(*layers)))
    assert found is not None
    return found


def read(*layers: dict[str, Any]) -> Foreign:
    """Read a config with weights of 8 channels everywhere."""
    config, inputs, owned = described(*layers), 3, []
    for named in config.layers:
        call = config.calls[named.place].layer["config"]
        side = np.reshape(call.get("kernel_size", 1), -1)[0]
        arrays = {
            "conv": {"kernel": np.ones((side, side, inputs, 8), np.float32)},
            "depthwise": {"depthwise_kernel": np.ones((side, side, 8, 1), np.float32)},
            "norm": {part: np.ones(8, np.float32) for part in ("gamma", "beta", "moving_mean", "moving_variance")},
            "linear": {"kernel": np.ones((8, 3), np.float32)},
            "scale": {"mean": np.ones(3, np.float32), "variance": np.ones(3, np.float32)},
        }
        inputs = 8 if named.kind == "conv" else inputs
        owned.append(StoredLayer(named.path[-1], named.kind, arrays[named.kind]))
    return foreign("Keras", owned, config, ())


def refused(*layers: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        found = read(*layers)
        assert found.check is not None
        found.check(recognise(found).plan(1))
    assert "\n" not in str(caught.value)
    return str(caught.value)


RELU6 = layer("ReLU", max_value=6.0)
REST = (depthwise(1), RELU6, conv(1, kernel=1), RELU6)
V1 = (conv(), depthwise(1), conv(1, kernel=1))
# Twice as many convolutions as depthwise layers.
V2 = (*V1, *V1[1:], *(conv(1, kernel=1),) * 4)
PADDED = (zeros(0, 1), depthwise(2, "valid"))


@pytest.mark.parametrize(
    ("side", "layers", "padding"),
    [
        (64, (*V1, depthwise()), "same"),
        (65, (*V1, depthwise()), "same"),
        # keras.applications' V1, at even sizes and odd.
        (64, (*V1, *PADDED), "keras"),
        (65, (*V1, *PADDED), "keras"),
        (None, (*V1, *PADDED), "keras"),
        # Keras 2.1 had it before the first convolution, too.
        (64, (zeros(0, 1), conv(2, "valid"), zeros(1, 1), depthwise(1, "valid"), *PADDED), "keras"),
        # Its V2 (correct_pad): 65 gives 33.
        (64, (*V2, zeros(0, 1), depthwise(2, "valid")), "same"),
        (65, (*V2, zeros(1, 1), depthwise(2, "valid")), "same"),
        # As PyTorch has it.
        (64, (zeros(1, 1), conv(2, "valid"), zeros(1, 1), depthwise(2, "valid")), "symmetric"),
        (None, (zeros(1, 1), conv(2, "valid"), zeros(1, 1), depthwise(2, "valid")), "symmetric"),
    ],
)  # fmt: skip
def test_padding(side: int | None, layers: tuple[dict[str, Any], ...], padding: str) -> None:
    found = read(pixels(side), *layers)
    assert found.padding == padding
    assert found.size == side


def test_layers_of_nested_models() -> None:
    body = model(pixels(None), conv(), norm(2e-3), RELU6, depthwise(), RELU6, kind="MyModel")
    whole = (
        pixels(96, channels_first=True),
        model(body, kind="Sequential"),
        conv(1, kernel=1),
        RELU6,
        layer("GlobalAveragePooling2D"),
        layer("Dense"),
    )
    layers = described(*whole).layers
    assert [(named.kind, named.path[-1], named.store) for named in layers] == [
        ("conv", "conv2d", "layers/sequential/layers/my_model/layers/conv2d"),
        ("norm", "batchnormalization", "layers/sequential/layers/my_model/layers/batch_normalization"),
        ("depthwise", "depthwiseconv2d", "layers/sequential/layers/my_model/layers/depthwise_conv2d"),
        ("conv", "conv2d", "layers/conv2d"),
        ("linear", "dense", "layers/dense"),
    ]
    assert layers[0].path == ("sequential", "mymodel", "conv2d")
    found = read(*whole)
    assert (found.size, found.epsilon, found.strides) == (96, 2e-3, (2, 2))
    again = described(conv(), conv(1), model(conv(1)), model(conv(1)))
    assert [named.store for named in again.layers] == [
        "layers/conv2d",
        "layers/conv2d_1",
        "layers/sequential/layers/conv2d",
        "layers/sequential_1/layers/conv2d",
    ]


def keras3(value: Any, first: bool = False) -> list[Any]:
    tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 0]}}
    return [{"args": [value, tensor] if first else [tensor, value], "kwargs": {}}]


def keras2(kind: str, value: Any) -> dict[str, Any]:
    return layer("TFOpLambda", [["x", 0, 0, {"y": value, "name": None}]], function=kind, trainable=True)


@pytest.mark.parametrize(
    ("layers", "mean", "std"),
    [
        ([layer("Rescaling", scale=1 / 127.5, offset=-1)], 0.5, 0.5),
        ([layer("Rescaling", scale=1 / 255, offset=0.0)], 0.0, 1.0),
        ([keras2("math.truediv", 127.5), keras2("math.subtract", 1.0)], 0.5, 0.5),
        ([keras2("cast", None), keras2("math.multiply", 2 / 255), keras2("__operators__.add", -1.0)], 0.5, 0.5),
        ([layer("TrueDivide", keras3(127.5)), layer("Subtract", keras3(1.0))], 0.5, 0.5),
        ([layer("Multiply", keras3(1 / 127.5, first=True)), layer("Add", keras3(-1))], 0.5, 0.5),
        ([layer("Normalization", mean=127.5, variance=127.5**2)], 0.5, 0.5),
        (
            [layer("Normalization", mean=[[[[51, 102, 153]]]], variance=[[[[255**2, 255**2, 51**2]]]])],
            (0.2, 0.4, 0.6),
            (1.0, 1.0, 0.2),
        ),
        (
            [
                layer("Multiply", keras3({"class_name": "__numpy__", "config": {"value": [1, 0.5, 0.25]}})),
                layer("Rescaling", scale=1 / 255, offset=[0, -1, 0]),
            ],
            (0.0, 2.0, 0.0),
            (1.0, 2.0, 4.0),
        ),
    ],
)
def test_scaling_inside(layers: list[dict[str, Any]], mean: Any, std: Any) -> None:
    found = read(pixels(64), *layers, *V1).preprocessing
    expected = [value if isinstance(value, tuple) else (value,) * 3 for value in (mean, std)]
    assert [found["mean"], found["std"]] == expected


def test_scaling_that_turns_pixels_round() -> None:
    turned = Affine("turned", (0,), np.array([-1.0]), np.array([255.0]))
    with pytest.raises(InputError, match="no network is trained with"):
        preprocessing_of([Picture("pictures", ()), turned])


def test_shortcuts_by_operator() -> None:
    """``x + y`` of two tensors is no scaling."""
    tensors = [{"args": [{"class_name": "__keras_tensor__"}] * 2, "kwargs": {}}]
    for sum_of in (layer("Add", tensors), keras2("__operators__.add", ["y", 0, 0])):
        assert type(translation._operator(Call(sum_of, ("x",), "", (0, 1)), (0, 1))) is Add


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ((layer("Lambda", function=["4wEAAAAAAAAA", None, None]),), "Lambda"),
        ((layer("Custom>Mish"),), "Custom>Mish"),
        ((layer("SeparableConv2D"),), "SeparableConv2D"),
        ((layer("Multiply", trainable=True),), "Multiply"),
        ((keras2("nn.silu", None),), "nn.silu"),
        ((keras2("math.truediv", ["y", 0, 0]),), "math.truediv"),
        ((layer("TrueDivide", keras3(1.0, first=True)),), "malformed"),
        (
            (pixels(64), conv(), layer("ReLU", max_value=None), *REST),
            "'conv2d' is a convolution 3×3 of stride 2 with ReLU",
        ),
        ((pixels(64), conv(activation="swish"), *REST), "it has a swish ('conv2d')"),
        (
            (pixels(64), conv(activation="relu6"), layer("Dense", activation="relu"), *REST),
            "does not tell their strides",
        ),
        (
            (pixels(64), conv(activation="relu6"), layer("Rescaling", scale=2.0, offset=0.0), *REST),
            "'rescaling' is a Affine",
        ),
        ((conv(groups=3),), "grouped"),
        ((conv(1, "valid"),), "at stride 1"),
        ((zeros(0, 1), conv(2, "same")), "pads what is padded"),
        ((zeros(2, 2), conv(2, "valid")), "are padded by"),
        ((pixels(64), conv(2, "valid")), "are padded by"),
        ((pixels(64), layer("CenterCrop", height=32, width=32)), "CenterCrop"),
        ((pixels(64), layer("AutoContrast")), "changes each picture by its content even at inference"),
        ((layer("Normalization", mean=[1, 2], variance=[1, 2]), conv()), "in a way that is not known here"),
        ((layer("Normalization", mean=None, variance=None, invert=True),), "inverted"),
        (({"class_name": "Conv2D"},), "malformed"),
        ((conv(), layer("BatchNormalization")), "malformed"),
    ],
)
def test_what_no_mobilenet_has(layers: tuple[dict[str, Any], ...], reason: str) -> None:
    assert reason in refused(*layers)


def test_activations_that_are_ours() -> None:
    relu6 = {"module": "builtins", "class_name": "function", "config": "relu6", "registered_name": "function"}
    whole = (layer("AveragePooling2D", pool_size=[32, 32]), layer("Dense", activation="sigmoid"))
    assert read(pixels(64), conv(activation="relu6"), layer("Activation", activation=relu6), *whole).notes == ()


def test_malformed_text() -> None:
    deep: dict[str, Any] = model(conv())
    for _ in range(30):
        deep = model(deep)
    for text in ("", "{", "[]", "null", '{"class_name": "Functional"}', "[" * 100_000, json.dumps(deep)):
        with pytest.raises(InputError, match=r"^its model_config is malformed"):
            describe(text)
    assert describe('{"class_name": "MyModel", "config": {}}') is None


def test_random_damage() -> None:
    """Bytes and values replaced anywhere: an InputError or a description."""
    scaling = layer("Rescaling", scale=1 / 255, offset=0.0)
    whole = json.dumps(model(pixels(64), scaling, *V1, norm(), *PADDED))
    generator = random.Random(0)
    results = set()
    for _ in range(2000):
        content = list(whole)
        for _ in range(generator.randrange(1, 4)):
            content[generator.randrange(len(content))] = generator.choice('0123456789-"[]{}:,. nulltrue')
        try:
            results.add(type(describe("".join(content))))
        except InputError as error:
            results.add(InputError)
            assert "\n" not in str(error)
    assert results >= {InputError, Described}


def test_names_in_order() -> None:
    names = ["conv2d_10", "conv2d_9", "conv2d", "conv2d_100", "conv2d_1"]
    assert sorted(names, key=natural) == ["conv2d", "conv2d_1", "conv2d_9", "conv2d_10", "conv2d_100"]
    assert [snake_case(name) for name in ("DepthwiseConv2D", "BatchNormalization")] == [
        "depthwise_conv2d",
        "batch_normalization",
    ]
    v2 = ["Conv1", "expanded_conv_depthwise", "expanded_conv_project", "block_1_expand", "block_1_depthwise"]
    v2 += ["block_10_expand", "block_16_project_BN", "Conv_1_bn", "predictions"]
    v1 = ["conv1", "conv_dw_1", "conv_pw_1", "conv_dw_2_bn", "conv_pw_13_bn", "conv_preds"]
    for known in (v1, v2):
        for prefix in ("", "left_", "mobilenet_1.00_224/", "a.2/"):
            places = [known_place(prefix + name) for name in known]
            assert None not in places
            assert places == sorted(place for place in places if place)
    assert known_place("conv2d_3") is None
