"""Keras models that are nearly MobileNets: refused, or read with a note, never taken for another function."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")

from mobilenets.errors import InputError  # noqa: E402
from mobilenets.weights.convert import convert  # noqa: E402
from mobilenets.weights.keras import h5, keras3  # noqa: E402
from mobilenets.weights.layers import Foreign, of_kind  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.usefixtures("in_this_process"),
]
L = keras.layers


def unit(x: Any, filters: int, name: str, kernel: int = 1, stride: int = 1, end: str = "") -> Any:
    """A convolution, depthwise where it has no filters; ``end``: how what follows it is changed."""
    make = L.Conv2D(filters, kernel, stride, "same", name=name) if filters else None
    x = (make or L.DepthwiseConv2D(kernel, stride, "same", name=name))(x)
    if end == "early":
        return L.BatchNormalization(name=f"{name}_bn")(L.ReLU(6.0)(x))
    x = L.BatchNormalization(name=f"{name}_bn")(x)
    return x if end == "linear" else L.ReLU(6.0, name=f"{name}_relu")(x)


def head(x: Any, kind: str) -> Any:
    if kind == "extra":
        x = L.Conv2D(24, 1, name="extra", activation="relu6")(x)
    if kind == "max":
        return L.Dense(3, name="top")(L.GlobalMaxPooling2D(name="max")(x))
    if kind == "none":
        return x
    x = L.GlobalAveragePooling2D()(x)
    if kind == "sigmoid":
        return L.Dense(1, activation="sigmoid", name="score")(x)
    if kind == "sigmoid_apart":
        return L.Activation("sigmoid")(L.Dense(1, name="score")(L.Dropout(0.1)(x)))
    if kind == "two":
        return L.Dense(3, name="top")(L.Dense(64, activation="relu", name="hidden")(x))
    if kind == "norm":
        return L.Dense(3, name="top")(L.BatchNormalization(name="late")(x))
    if kind == "heads":
        return [L.Dense(3, name="a")(x), L.Dense(4, name="b")(x)]
    if kind == "unknown":
        return L.Dense(3, name="top")(L.LeakyReLU(name="leaky")(L.Dense(8, name="hidden")(x)))
    if kind == "squeeze":
        return L.Dense(3)(L.GlobalAveragePooling2D()(unit(L.Reshape((1, 1, 8))(x), 0, "again", 3)))
    return L.Dense(3, name="top")(x)


def v1(end: str = "", skip: bool = False, stride: int = 1, top: str = "", middle: bool = False) -> Any:
    inputs = keras.Input((32, 32, 3))
    x = unit(inputs, 8, "stem", 3, 2, end)
    for name in "abc":
        if middle and name == "b":
            x = L.LayerNormalization(name="odd")(x)
        y = unit(unit(x, 0, f"{name}_dw", 3), 8, f"{name}_pw", 1, stride if name == "b" else 1)
        x = L.Add(name=f"{name}_add")([x, y]) if skip else y
    return keras.Model(inputs, head(x, top))


def v2(shortcut: str = "add", project: str = "linear", expand: str = "", last: str = "", top: str = "") -> Any:
    inputs = keras.Input((32, 32, 3))
    x = unit(inputs, 8, "stem", 3, 2)
    x = unit(unit(x, 0, "a_dw", 3), 16, "a_project", end="linear")
    for name in "bc":
        wide = unit(x, 48, f"{name}_expand", end=expand)
        y = unit(unit(wide, 0, f"{name}_dw", 3), 16, f"{name}_project", end=project)
        given = {"add": [x, y], "turned": [y, x], "twice": [y, y], "inputs": [y, L.Dropout(0.2)(x)]}
        if shortcut == "operator":
            x = x + y
        else:
            x = L.Add(name=f"{name}_add")(given[shortcut]) if shortcut in given else y
    return keras.Model(inputs, head(unit(x, 32, "last", end=last), top))


def siamese() -> Any:
    body = v1()
    left, right = keras.Input((32, 32, 3)), keras.Input((32, 32, 3))
    return keras.Model([left, right], L.Add()([body(left), body(right)]))


def shared() -> Any:
    inputs = keras.Input((32, 32, 3))
    x = unit(inputs, 8, "stem", 3, 2)
    again = L.DepthwiseConv2D(3, padding="same", name="again", activation="relu6")
    return keras.Model(inputs, L.Conv2D(8, 1, activation="relu6")(again(again(x))))


def read(model: Any, folder: Path, name: str = "m.keras") -> Foreign:
    model.save(folder / name)
    return h5.read(folder / name) if name.endswith("h5") else keras3.read(folder / name)


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
@pytest.mark.parametrize(
    "model",
    [v1, v2, lambda: v2("turned"), lambda: v2("inputs"), lambda: v2("operator"), lambda: v2(top="none")],
)
def test_ours_are_read(model: Any, name: str, tmp_path: Path) -> None:
    foreign = read(model(), tmp_path, name)
    assert foreign.notes == ()
    assert len(foreign.strides or ()) == 4


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            lambda: v2("none"),
            "'c_expand' is a convolution .*, where the network that its weights fit has a sum of two maps",
        ),
        (lambda: v2("twice"), "'b_add' .a sum of two maps. takes other maps than"),
        (lambda: v2(project=""), "'b_project' is a convolution 1×1 of stride 1 with ReLU6, where"),
        (lambda: v2(expand="linear"), "'b_expand' is a convolution 1×1 of stride 1 with no activation, where"),
        (lambda: v2(last="linear"), "'c_add' .Add. takes a map from inside the body"),
        (lambda: v1("early"), "'stem_bn' is a Norm, where"),
        (lambda: v1("linear"), "'stem' is a convolution 3×3 of stride 2 with no activation, where"),
        (lambda: v1(skip=True), "'c_add' .Add. takes a map from inside the body"),
        (lambda: v1(stride=2), "'b_pw' is a convolution 1×1 of stride 2 with ReLU6, where"),
        (lambda: v1(top="squeeze"), "do not follow one another"),
        (lambda: v1(middle=True), "it has a 'LayerNormalization' layer, 'odd'"),
        (siamese, "is used 2 times"),
        (shared, "'again' is used 2 times"),
    ],
)
def test_others_are_refused(model: Any, reason: str, tmp_path: Path) -> None:
    for name in ("m.keras", "m.h5"):
        with pytest.raises(InputError, match=reason) as caught:
            model().save(tmp_path / name)
            convert(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("top", "linear", "ignored"),
    [
        ("two", [], ("hidden", "top")),
        ("norm", ["top"], ()),
        ("heads", [], ("a", "b")),
        ("unknown", [], ("hidden", "top")),
        ("extra", [], ("extra", "top")),
        ("max", [], ("top",)),
    ],
)
def test_what_stands_behind_the_body(top: str, linear: list[str], ignored: tuple[str, ...], tmp_path: Path) -> None:
    for name in ("m.keras", "m.h5"):
        v2(top=top).save(tmp_path / name)
        converted = convert(tmp_path / name)
        assert ("classifier" in converted.assigned.placed) == bool(linear)
        left = (*converted.foreign.ignored, *converted.assigned.surplus)
        assert {label.split("/")[-1] for label in left} == set(ignored)
        assert len(of_kind(converted.foreign.layers, "norm")) == 10
        assert sum(note.startswith(("no classifier", "its head (")) for note in converted.notes) == 1


@pytest.mark.parametrize("top", ["sigmoid", "sigmoid_apart"])
def test_one_sigmoid_is_two_classes(top: str, tmp_path: Path) -> None:
    model = v1(top=top)
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in model.get_layer("score").weights)
    foreign = read(model, tmp_path)
    (layer,) = of_kind(foreign.layers, "linear")
    assert np.array_equal(layer.arrays["weight"], np.concatenate([0 * kernel.T, kernel.T]))
    assert np.array_equal(layer.arrays["bias"], np.concatenate([0 * bias, bias]))
    assert len(foreign.notes) == 1
    assert "two classes" in foreign.notes[0]


@keras.saving.register_keras_serializable("mine")
class Subclass(keras.Model):  # type: ignore[misc]
    pass


@keras.saving.register_keras_serializable("mine")
class Opaque(keras.Model):  # type: ignore[misc]
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.body = L.Conv2D(4, 3)

    def call(self, x: Any) -> Any:
        return self.body(x)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


def test_subclasses(tmp_path: Path) -> None:
    inputs = keras.Input((32, 32, 3))
    x = unit(L.Rescaling(1 / 255)(inputs), 8, "stem", 3, 2)
    x = unit(unit(x, 0, "dw", 3, 2), 16, "pw")
    model = Subclass(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x)))
    foreign = read(model, tmp_path)
    assert (foreign.strides, foreign.size) == ((2, 2), 32)
    assert foreign.preprocessing["mean"] == (0.0, 0.0, 0.0)
    inputs = keras.Input((32, 32, 3))
    Subclass(inputs, v1("linear")(inputs)).save(tmp_path / "other.keras")
    with pytest.raises(InputError, match="with no activation, where"):
        convert(tmp_path / "other.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    (note,) = h5.read(tmp_path / "m.weights.h5").notes
    assert "assumed" in note
    opaque = Opaque()
    opaque(np.zeros((1, 8, 8, 3), np.float32))
    opaque.save(tmp_path / "opaque.keras")
    try:
        foreign = keras3.read(tmp_path / "opaque.keras")
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert "assumed" in foreign.notes[0]


@pytest.mark.parametrize(
    ("options", "resize"),
    [({}, "stretch"), ({"crop_to_aspect_ratio": True}, "crop"), ({"pad_to_aspect_ratio": True}, "pad")],
)
def test_resizing(options: dict[str, bool], resize: str, tmp_path: Path) -> None:
    inputs = keras.Input((None, None, 3))
    foreign = read(keras.Model(inputs, v1()(L.Resizing(32, 32, **options)(inputs))), tmp_path)
    assert foreign.preprocessing["resize"] == resize
    assert foreign.preprocessing["crop_fraction"] == (1.0 if resize == "crop" else 0.875)
    assert foreign.size == 32


def test_the_middle_of_pictures(tmp_path: Path) -> None:
    """Cut from a picture that kept its proportions it is ours; the size that comes in is none."""
    inputs = keras.Input((None, None, 3))
    cropped = L.CenterCrop(32, 32)(L.Resizing(40, 40, crop_to_aspect_ratio=True, interpolation="bicubic")(inputs))
    contract = read(keras.Model(inputs, v1()(cropped)), tmp_path).preprocessing
    assert (contract["resize"], contract["crop_fraction"], contract["interpolation"]) == ("crop", 0.8, "bicubic")
    with pytest.raises(InputError, match=r"CenterCrop.*stretched"):
        read(keras.Model(inputs, v1()(L.CenterCrop(32, 32)(L.Resizing(40, 40)(inputs)))), tmp_path)


@pytest.mark.parametrize("size", [None, 96, 100])
def test_v2_of_any_size(size: int | None, tmp_path: Path) -> None:
    """Built without a size it is padded by (0, 1) everywhere, as MobileNetV1 is."""
    body = keras.applications.MobileNetV2((None, None, 3), 0.35, include_top=False, weights=None)
    inputs = keras.Input((size, size, 3))
    foreign = read(keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(body(inputs)))), tmp_path)
    assert foreign.padding == ("same" if size == 96 else "keras")
    assert foreign.notes == ()


def test_pictures_that_are_not_rgb(tmp_path: Path) -> None:
    grey = keras.Input((32, 32, 1))
    keras.Model(grey, v1()(L.Conv2D(3, 1)(grey))).save(tmp_path / "grey.keras")
    with pytest.raises(InputError, match=r"it takes pictures with 1 channels, and here they have 3 \(RGB\)"):
        keras3.read(tmp_path / "grey.keras")
    keras.Model(grey, v1()(L.Concatenate()([grey, grey, grey]))).save(tmp_path / "three.keras")
    with pytest.raises(InputError, match="with 1 channels"):
        keras3.read(tmp_path / "three.keras")


def test_a_row_of_pictures(tmp_path: Path) -> None:
    row = keras.Input((2, 32, 32, 3))
    wrapped = L.TimeDistributed(v1(), name="each")(row)
    keras.Model(row, L.Dense(3)(L.GlobalAveragePooling1D()(wrapped))).save(tmp_path / "row.keras")
    with pytest.raises(InputError, match=r"its 'each' \(TimeDistributed\) wraps another layer"):
        keras3.read(tmp_path / "row.keras")


def test_weights_alone_that_show_a_maximum(tmp_path: Path) -> None:
    """Keras 3 writes a group for each layer, also where it has no weights."""
    v1(top="max").save_weights(tmp_path / "max.weights.h5")
    assert "takes the maximum of a map" in h5.read(tmp_path / "max.weights.h5").headless
    v1().save_weights(tmp_path / "mean.weights.h5")
    assert h5.read(tmp_path / "mean.weights.h5").headless == ""


def test_scores_without_softmax_are_said(tmp_path: Path) -> None:
    v1().save(tmp_path / "m.keras")
    assert any("3 outputs end in no softmax" in line for line in keras3.read(tmp_path / "m.keras").assumed)
    model = v1()
    keras.Model(model.input, L.Softmax()(model.output)).save(tmp_path / "s.keras")
    assert keras3.read(tmp_path / "s.keras").assumed == ()
