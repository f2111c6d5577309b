"""Whatever stands behind a Keras body: a classifier with Keras's own answers, or none and the reason."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")

from mobilenets.errors import InputError  # noqa: E402
from mobilenets.weights.convert import Converted, convert  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.usefixtures("in_this_process"),
]
L = keras.layers
Array = npt.NDArray[Any]
Head = Callable[[Any], Any]


def body(x: Any, blocks: int = 2) -> Any:
    for number, stride in enumerate((2, *(1, 2)[:blocks])):
        if number:
            x = L.DepthwiseConv2D(3, stride, "same", use_bias=False)(x)
            x = L.ReLU(6.0)(L.BatchNormalization()(x))
            stride = 1
        x = L.Conv2D(12, 1 if number else 3, stride, "same", use_bias=False)(x)
        x = L.ReLU(6.0)(L.BatchNormalization()(x))
    return x


def build(head: Head, size: int = 16, before: Head = lambda x: x) -> Any:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((size, size, 3))
    model = keras.Model(inputs, head(body(before(L.Rescaling(1 / 127.5, offset=-1)(inputs)))))
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(random.normal(0, 0.3, shape))
            layer.moving_variance.assign(random.uniform(0.3, 1.5, shape))
            for part, mean in ((layer.gamma, 1.5), (layer.beta, 0.5)):
                if part is not None:
                    part.assign(random.normal(mean, 0.3, shape))
    return model


def pictures(size: int = 16) -> Array:
    noise = np.random.default_rng(1).integers(0, 256, (5, size, size, 3))
    return np.rint(noise * np.linspace(0.1, 1, 15).reshape(5, 1, 1, 3)).astype(np.float32)


def theirs(model: Any, size: int = 16) -> Array:
    with torch.inference_mode():
        return np.asarray(model(pictures(size), training=False).cpu())


def imported(model: Any, path: Path, **options: Any) -> Converted:
    model.save(path)
    return convert(path, **options)


def ours(converted: Converted, size: int = 16) -> Array:
    contract = converted.model.bundle.preprocessing
    batch = contract.normalise(pictures(size).astype(np.uint8)).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        scores = converted.model.network(torch.from_numpy(batch.copy()))
        return np.asarray(scores.softmax(1) if converted.model.network.classes else scores)


def softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def gap(x: Any, **options: Any) -> Any:
    return L.GlobalAveragePooling2D(**options)(x)


def dense(x: Any, units: int = 3, activation: str | None = "softmax", **options: Any) -> Any:
    spread = keras.initializers.RandomNormal(stddev=0.5, seed=units)
    return L.Dense(units, activation, kernel_initializer=spread, bias_initializer=spread, **options)(x)


def both(x: Any) -> Any:
    y = gap(x)
    return L.Softmax()(L.Add()([dense(y, 3, None), dense(L.BatchNormalization()(y), 3, None, use_bias=False)]))


FOLDED: dict[str, Head] = {
    "plain": lambda x: dense(gap(x)),
    "without a bias": lambda x: dense(gap(x), use_bias=False),
    "softmax apart": lambda x: L.Softmax()(dense(gap(x), 3, None)),
    "an activation apart": lambda x: L.Activation("softmax")(L.Dropout(0.1)(dense(gap(x), 3, None))),
    "BatchNorm before": lambda x: dense(L.BatchNormalization()(gap(x))),
    "BatchNorm before the pooling": lambda x: dense(gap(L.BatchNormalization()(x))),
    "BatchNorm behind": lambda x: L.Softmax()(L.BatchNormalization(epsilon=0.01)(dense(gap(x), 3, None))),
    "BatchNorm without scale": lambda x: dense(L.BatchNormalization(center=False)(gap(x))),
    "two linear layers": lambda x: dense(dense(gap(x), 7, None)),
    "BatchNorm between": lambda x: dense(L.BatchNormalization()(dense(gap(x), 7, None))),
    "a convolution": lambda x: L.Softmax()(L.Reshape((3,))(L.Conv2D(3, 1)(gap(x, keepdims=True)))),
    "a convolution and BatchNorm": lambda x: L.Softmax()(
        L.Flatten()(L.BatchNormalization()(L.Conv2D(3, 1)(gap(x, keepdims=True))))
    ),
    "a convolution before the pooling": lambda x: L.Softmax()(gap(L.Conv2D(3, 1)(x))),
    "a convolution and BatchNorm before": lambda x: L.Softmax()(gap(L.BatchNormalization()(L.Conv2D(3, 1)(x)))),
    "a dense layer on the map": lambda x: L.Softmax()(gap(dense(x, 3, None))),
    "a temperature": lambda x: L.Softmax()(L.Rescaling(0.4)(dense(gap(x), 3, None))),
    "an operator": lambda x: L.Softmax()(dense(gap(x), 3, None) / 2.5 + 1.0),
    "one minus": lambda x: L.Softmax()(1.0 - dense(gap(x), 3, None)),
    "scaled features": lambda x: dense(L.Rescaling(0.5, offset=-0.1)(gap(x))),
    "normalised features": lambda x: dense(L.Normalization(mean=0.5, variance=2.0)(gap(x))),
    "ReLU on what ReLU6 gave": lambda x: dense(L.ReLU()(gap(x))),
    "averages of parts": lambda x: dense(gap(L.AveragePooling2D(2)(x))),
    "the whole average": lambda x: dense(L.Flatten()(L.AveragePooling2D(4)(x))),
    "dropout of every kind": lambda x: dense(
        L.GaussianDropout(0.1)(L.AlphaDropout(0.1)(L.GaussianNoise(0.1)(gap(L.SpatialDropout2D(0.2)(x)))))
    ),
    "nothing": lambda x: L.Identity()(dense(L.ActivityRegularization(0.1)(gap(x)))),
    "joined halves": lambda x: L.Softmax()(L.Concatenate()([dense(gap(x), 1, None), dense(gap(x), 2, None)])),
    "joined features": lambda x: dense(L.Concatenate()([gap(x), L.BatchNormalization()(gap(x))])),
    "a sum": both,
    "a mean": lambda x: L.Softmax()(L.Average()([dense(gap(x), 3, None), dense(gap(x), 3, None, use_bias=False)])),
}

LEFT_OUT: dict[str, tuple[Head, str]] = {
    "a hidden layer": (lambda x: dense(dense(gap(x), 7, "relu")), "with ReLU, where the network that its weights fit"),
    "tanh between": (lambda x: dense(L.Activation("tanh")(gap(x))), "tanh"),
    "GELU between": (lambda x: dense(L.Activation("gelu")(gap(x))), "gelu"),
    "ReLU behind BatchNorm": (lambda x: dense(L.ReLU()(L.BatchNormalization()(gap(x)))), "stands behind the pooling"),
    "PReLU": (lambda x: dense(L.PReLU()(dense(gap(x), 7, None))), "PReLU"),
    "LayerNormalization": (lambda x: dense(L.LayerNormalization()(gap(x))), "LayerNormalization"),
    "unit length": (lambda x: dense(L.UnitNormalization()(gap(x))), "UnitNormalization"),
    "softmax twice": (lambda x: L.Softmax()(dense(gap(x))), "comes after its softmax"),
    "a layer behind softmax": (lambda x: dense(dense(gap(x), 9)), "comes after its softmax"),
    "ReLU at the end": (lambda x: dense(gap(x), 3, "relu"), "with ReLU, where the network that its weights fit"),
    "tanh of one": (lambda x: dense(gap(x), 1, "tanh"), "tanh"),
    "softmax of one": (lambda x: dense(gap(x), 1, "softmax"), "always gives 1"),
    "several at once": (lambda x: dense(gap(x), 3, "sigmoid"), "several may be right at once"),
    "the maximum": (lambda x: dense(L.GlobalMaxPooling2D()(x)), "the maximum of the map"),
    "the maximum of parts": (lambda x: dense(gap(L.MaxPooling2D(2)(x))), "the maximum of the map"),
    "average and maximum": (
        lambda x: dense(L.Concatenate()([gap(x), L.GlobalMaxPooling2D()(x)])),
        "the maximum of the map",
    ),
    "the whole map": (lambda x: dense(L.Flatten()(x)), "all 4 × 4 pixels"),
    "parts of the map": (lambda x: dense(L.Flatten()(L.AveragePooling2D(2)(x))), "all 2 × 2 pixels"),
    "parts that overlap": (lambda x: dense(gap(L.AveragePooling2D(2, 1)(x))), "does not average the whole map"),
    "another convolution": (
        lambda x: dense(gap(L.Conv2D(9, 3, padding="same", activation="relu")(x))),
        "(a convolution 3×3 of stride 1 with ReLU) stands behind the body",
    ),
    "a convolution with ReLU": (
        lambda x: dense(gap(L.Conv2D(9, 1, activation="relu")(x))),
        "(a convolution 1×1 of stride 1 with ReLU) stands behind the body",
    ),
    "attention": (lambda x: dense(gap(L.Multiply()([x, dense(x, 12, "sigmoid")]))), "comes before the pooling"),
    "two outputs": (lambda x: [dense(gap(x), name="kind"), dense(gap(x), 2, name="colour")], "'kind', 'colour'"),
    "features alone changed": (lambda x: L.BatchNormalization()(gap(x)), "no linear layer follows"),
}


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize("kind", FOLDED)
def test_what_is_linear_answers_as_keras_does(kind: str, ending: str, tmp_path: Path) -> None:
    model = build(FOLDED[kind])
    converted = imported(model, tmp_path / f"m.{ending}")
    expected = theirs(model)
    assert np.ptp(expected, axis=0).max() > 1e-3  # answers that hardly differ would agree with anything
    assert np.abs(ours(converted) - expected).max() < 3e-6
    assert len(converted.model.bundle.classes) == 3


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize("kind", LEFT_OUT)
def test_what_is_not_linear_is_no_classifier(kind: str, ending: str, tmp_path: Path) -> None:
    head, reason = LEFT_OUT[kind]
    model = build(head)
    converted = imported(model, tmp_path / f"m.{ending}")
    (note,) = [note for note in converted.notes if note.startswith("no classifier")]
    assert reason in note
    assert note in converted.model.bundle.origin["notes"]
    assert (converted.model.network.classes, converted.model.bundle.classes) == (0, ())
    # The body is whole.
    assert np.abs(ours(converted) - theirs(build(gap))).max() < 1e-4


@pytest.mark.parametrize("activation", [None, "sigmoid"])
@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_one_score_is_two_classes(activation: str | None, name: str, tmp_path: Path) -> None:
    model = build(lambda x: dense(gap(x), 1, activation))
    converted = imported(model, tmp_path / name)
    expected = theirs(model)[:, 0]
    expected = expected if activation else 1 / (1 + np.exp(-expected))
    assert np.abs(ours(converted) - np.stack([1 - expected, expected], 1)).max() < 1e-5
    assert converted.model.bundle.classes == ("class_0", "class_1")
    assert any("two classes" in note for note in converted.notes)
    assert convert(tmp_path / name, classes=("cat", "dog")).model.bundle.classes == ("cat", "dog")


def test_code_in_the_head_is_not_run(tmp_path: Path) -> None:
    model = build(lambda x: dense(L.Lambda(lambda y: y * 2)(gap(x))))
    converted = imported(model, tmp_path / "m.keras")
    assert converted.model.network.classes == 0
    assert any("Lambda" in note for note in converted.notes)
    with pytest.raises(InputError, match=r"Lambda layer, .* is code"):
        imported(build(lambda x: dense(gap(x)), before=L.Lambda(lambda y: y + 1)), tmp_path / "before.keras")


def test_other_inputs_are_no_pictures(tmp_path: Path) -> None:
    pixels, more = keras.Input((16, 16, 3)), keras.Input((4,))
    model = keras.Model([pixels, more], dense(L.Concatenate()([gap(body(pixels)), more])))
    assert any("more than pictures" in note for note in imported(model, tmp_path / "m.keras").notes)


@pytest.mark.parametrize(("classes", "resize"), [(3, "stretch"), (1000, "crop")])
def test_a_classifier_of_ones_own_was_stretched(classes: int, resize: str, tmp_path: Path) -> None:
    model = build(lambda x: dense(gap(x), classes))
    converted = imported(model, tmp_path / "m.keras")
    assert converted.model.bundle.preprocessing.resize == resize
    assert any("stretched" in note for note in converted.notes) == (resize == "stretch")
    told = convert(tmp_path / "m.keras", preprocessing={"resize": "pad"})
    assert told.model.bundle.preprocessing.resize == "pad"
    assert not any("stretched" in note for note in told.notes)
