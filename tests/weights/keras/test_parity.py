"""Keras itself, on the torch backend, beside what its files become here."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from mobilenets.models.network import Network
from mobilenets.weights.convert import convert

WIDTHS = (0.25, 0.35, 0.5, 0.75, 1.0, 1.4)
ODD = 197
CLASSES = 7
V3 = {
    f"mobilenet_v3_{name.lower()}{'_minimalistic' * minimalistic}": partial(
        getattr(keras.applications, f"MobileNetV3{name}"), minimalistic=minimalistic, include_preprocessing=False
    )
    for name in ("Large", "Small")
    for minimalistic in (False, True)
}
BUILD: dict[str, Callable[..., Any]] = {
    "mobilenet_v1": keras.applications.MobileNet,
    "mobilenet_v2": keras.applications.MobileNetV2,
    **V3,
}
Compared = Callable[[str, str, np.ndarray, np.ndarray], None]

# Of Keras's own code, on a newer NumPy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def build(name: str, width: float, size: int, classes: int = CLASSES) -> Any:
    shape = (size, size, 3)
    return BUILD[name](input_shape=shape, alpha=width, weights=None, classes=classes, classifier_activation=None)


def disturb(model: Any) -> None:
    """Give every weight and statistic a value of its own."""
    random = np.random.default_rng(0)
    for variable in model.weights:
        shape, kind = variable.shape, variable.name
        if kind == "moving_variance":
            value = random.uniform(0.3, 2, shape)
        elif kind == "gamma":
            value = random.uniform(0.5, 1.5, shape)
        elif kind in ("beta", "moving_mean", "bias"):
            value = random.normal(0, 0.3, shape)
        else:
            inputs = np.prod(shape[:2] if "depthwise" in variable.path else shape[:-1])
            value = random.normal(0, (2 / inputs) ** 0.5, shape)
        variable.assign(value.astype(np.float32))


def pictures(size: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)


def theirs(model: Any, size: int) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(model(pictures(size), training=False).cpu()).reshape(1, -1)


def ours(network: Network, size: int) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(pictures(size).transpose(0, 3, 1, 2).copy())).numpy()


def weights_only(model: Any, path: Path) -> None:
    """Write what Keras 2's ``save_weights("x.h5")`` wrote."""
    import h5py

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


def whole(model: Any, path: Path) -> None:
    model.save(path)


def keras3_weights(model: Any, path: Path) -> None:
    model.save_weights(path)


FORMATS: dict[str, tuple[str, Callable[[Any, Path], None]]] = {
    "Keras .h5, whole model": ("whole.h5", whole),
    "Keras .h5, weights only": ("only.h5", weights_only),
    "Keras .weights.h5": ("model.weights.h5", keras3_weights),
    "Keras .keras": ("model.keras", whole),
}


@pytest.mark.parametrize(
    ("name", "width"),
    [
        *((name, width) for name in ("mobilenet_v1", "mobilenet_v2") for width in WIDTHS),
        *((name, 1.0) for name in V3),
        ("mobilenet_v3_small", 0.75),
    ],
)
def test_every_format_and_width(name: str, width: float, tmp_path: Path, compared: Compared) -> None:
    model = build(name, width, 224)
    disturb(model)
    odd = build(name, width, ODD)
    disturb(odd)
    expected = {224: theirs(model, 224), ODD: theirs(odd, ODD)}
    for kind, (file, save) in FORMATS.items():
        save(model, tmp_path / file)
        network = convert(tmp_path / file).model.network
        assert (network.architecture.name, network.architecture.width) == (name, width)
        widths = "" if name in V3 else f" {len(WIDTHS)} widths,"
        what = f"Keras {keras.__version__}, {name},{widths} at 224 and {ODD}"
        for size, logits in expected.items():
            compared(kind, what, ours(network, size), logits)


@pytest.mark.parametrize("name", BUILD)
def test_without_the_top(name: str, tmp_path: Path, compared: Compared) -> None:
    width = {"mobilenet_v1": 0.25, "mobilenet_v2": 0.35}.get(name, 0.75)
    model = BUILD[name](input_shape=(96, 96, 3), alpha=width, weights=None, include_top=False, pooling="avg")
    disturb(model)
    model.save(tmp_path / "body.keras")
    network = convert(tmp_path / "body.keras").model.network
    what = f"Keras {keras.__version__}, {name} without top: the pooled features"
    compared("Keras .keras", what, ours(network, 96), theirs(model, 96))


def xiaochus(size: int, alpha: float) -> Any:
    """Build the network of github.com/xiaochus/MobileNetV2, mobilenet_v2.py, but for its softmax.

    Every convolution has a bias before BatchNorm, the first block expands by 1, channels are ``int(c * alpha)``, and
    the head is a 1×1 convolution.
    """
    layers = keras.layers

    def divisible(channels: float) -> int:
        rounded = max(8, int(channels + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * channels else rounded

    def unit(x: Any, filters: int, kernel: int, stride: int) -> Any:
        x = layers.Conv2D(filters, kernel, padding="same", strides=stride)(x)
        return layers.ReLU(6.0)(layers.BatchNormalization()(x))

    def bottleneck(inputs: Any, filters: int, t: int, stride: int, shortcut: bool) -> Any:
        x = unit(inputs, inputs.shape[-1] * t, 1, 1)
        x = layers.DepthwiseConv2D(3, strides=stride, padding="same")(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        x = layers.BatchNormalization()(layers.Conv2D(int(filters * alpha), 1, padding="same")(x))
        return layers.Add()([x, inputs]) if shortcut else x

    inputs = keras.Input((size, size, 3))
    x = unit(inputs, divisible(32 * alpha), 3, 2)
    rows = ((16, 1, 1, 1), (24, 6, 2, 2), (32, 6, 2, 3), (64, 6, 2, 4), (96, 6, 1, 3), (160, 6, 2, 3), (320, 6, 1, 1))
    for filters, t, stride, repeats in rows:
        x = bottleneck(x, filters, t, stride, False)
        for _ in range(repeats - 1):
            x = bottleneck(x, filters, t, 1, True)
    x = unit(x, divisible(1280 * alpha) if alpha > 1 else 1280, 1, 1)
    x = layers.Reshape((1, 1, x.shape[-1]))(layers.GlobalAveragePooling2D()(x))
    x = layers.Conv2D(CLASSES, 1, padding="same")(layers.Dropout(0.3)(x))
    return keras.Model(inputs, layers.Reshape((CLASSES,))(x))


@pytest.mark.parametrize("alpha", [0.35, 1.4])
def test_biases_expansion_by_one_cut_widths_and_a_convolution_as_head(
    alpha: float, tmp_path: Path, compared: Compared
) -> None:
    model, odd = xiaochus(96, alpha), xiaochus(75, alpha)
    disturb(model)
    disturb(odd)
    expected = {96: theirs(model, 96), 75: theirs(odd, 75)}
    for kind, (file, save) in FORMATS.items():
        save(model, tmp_path / file)
        converted = convert(tmp_path / file)
        assert converted.assigned.surplus == ()
        what = f"Keras {keras.__version__}, xiaochus/MobileNetV2, at 96 and 75"
        for size, logits in expected.items():
            compared(kind, what, ours(converted.model.network, size), logits)


def test_a_v2_built_without_an_input_size(tmp_path: Path, compared: Compared) -> None:
    model = keras.applications.MobileNetV2(
        input_shape=(None, None, 3), alpha=0.35, weights=None, include_top=False, pooling="avg"
    )
    disturb(model)
    model.save(tmp_path / "open.keras")
    network = convert(tmp_path / "open.keras").model.network
    for size in (97, 150, 200):
        what = f"Keras {keras.__version__}, mobilenet_v2 without an input size, at 97, 150 and 200"
        compared("Keras .keras", what, ours(network, size), theirs(model, size))


@pytest.mark.parametrize("name", V3)
def test_a_v3_built_without_an_input_size(name: str, tmp_path: Path, compared: Compared) -> None:
    """Its own Rescaling is in it, which takes pixels from 0 to 255."""
    model = V3[name](input_shape=(None, None, 3), weights=None, classes=CLASSES, include_preprocessing=True)
    disturb(model)
    model.save(tmp_path / "open.keras")
    converted = convert(tmp_path / "open.keras").model
    contract = converted.bundle.preprocessing
    assert (contract.mean, contract.std) == ((0.5,) * 3, (0.5,) * 3)
    for size in (96, 97, 110):
        with torch.inference_mode():
            pixels = (pictures(size) + 1) * 127.5
            expected = np.asarray(model(pixels, training=False).cpu())
            found = converted.network(torch.from_numpy(pictures(size).transpose(0, 3, 1, 2).copy())).softmax(1).numpy()
        what = f"Keras {keras.__version__}, MobileNetV3 without an input size, probabilities at 96, 97 and 110"
        compared("Keras .keras", what, found, expected)
