"""Files that Keras writes, read back: every layer's weights, each kind in forward order."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")

from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group  # noqa: E402

from mobilenets.errors import InputError  # noqa: E402
from mobilenets.weights.keras import h5, keras3  # noqa: E402
from mobilenets.weights.layers import Foreign  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras 3.15's own
    pytest.mark.usefixtures("in_this_process"),
]


V1_STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
V2_STRIDES = (2, 1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)


def v1(**options: Any) -> Any:
    return keras.applications.MobileNet((64, 64, 3), 0.25, weights=None, **{"classes": 7, **options})


def v2(**options: Any) -> Any:
    return keras.applications.MobileNetV2((64, 64, 3), 0.35, weights=None, **{"classes": 7, **options})


def xiaochus() -> Any:
    """github.com/xiaochus/MobileNetV2 at width 0.35: names by Keras, biases everywhere, t=1 with an expansion."""

    def block(x: Any, filters: int, kernel: int, stride: int) -> Any:
        x = keras.layers.Conv2D(filters, kernel, padding="same", strides=stride)(x)
        return keras.layers.Activation("relu6")(keras.layers.BatchNormalization(axis=-1)(x))

    x = inputs = keras.Input((64, 64, 3))
    x = block(x, 16, 3, 2)
    for c, t, s, n in ((16, 1, 1, 1), (24, 6, 2, 2), (32, 6, 2, 3), (64, 6, 2, 4), (96, 6, 1, 3), (160, 6, 2, 3)):
        for i in range(n):
            y = block(x, x.shape[-1] * t, 1, 1)
            y = keras.layers.DepthwiseConv2D(3, strides=1 if i else s, padding="same")(y)
            y = keras.layers.Activation("relu6")(keras.layers.BatchNormalization(axis=-1)(y))
            y = keras.layers.BatchNormalization(axis=-1)(keras.layers.Conv2D(int(c * 0.35), 1, padding="same")(y))
            x = keras.layers.Add()([y, x]) if i else y
    x = keras.layers.GlobalAveragePooling2D()(block(x, 1280, 1, 1))
    x = keras.layers.Dropout(0.3, name="Dropout")(keras.layers.Reshape((1, 1, 1280))(x))
    x = keras.layers.Activation("softmax", name="softmax")(keras.layers.Conv2D(7, 1, padding="same")(x))
    return keras.Model(inputs, keras.layers.Reshape((7,))(x))


def nested(base: Any, trained_from: int) -> Any:
    """A body with a new head, frozen but for its last layers, as tutorials fine-tune it."""
    for layer in base.layers[:trained_from]:
        layer.trainable = False
    return keras.Sequential(
        [
            keras.Input((64, 64, 3)),
            keras.Sequential([keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1)]),
            keras.layers.Rescaling(1 / 127.5, offset=-1),
            base,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )


def functional(base: Any) -> Any:
    base.trainable = False
    inputs = keras.Input((64, 64, 3))
    x = base(inputs / 127.5 - 1.0, training=False)
    return keras.Model(inputs, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)))


def headless_xiaochus() -> Any:
    model = xiaochus()
    return keras.Model(model.input, model.layers[-7].output)


# The last ones are partly, not at all and wholly frozen.
MODELS: dict[str, Callable[[], Any]] = {
    "v1": v1,
    "v2": v2,
    "v2_no_top": lambda: v2(include_top=False, pooling="avg"),
    "xiaochus": xiaochus,
    "nested_v1": lambda: nested(v1(include_top=False), 40),
    "nested_v2": lambda: nested(v2(include_top=False), 90),
    "nested_xiaochus": lambda: nested(headless_xiaochus(), 60),
    "nested_v2_trained": lambda: nested(v2(include_top=False), 0),
    "functional_v2": lambda: functional(v2(include_top=False)),
}


def plain(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from plain(layer)
        else:
            yield layer


def save_whole(model: Any, path: Path) -> None:
    model.save(path)


def save_legacy_weights(model: Any, path: Path) -> None:
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


def keras2_config(config: Any) -> Any:
    """Spell a model_config as Keras 2 does."""
    if isinstance(config, list):
        return [keras2_config(value) for value in config]
    if not isinstance(config, dict):
        return config
    config = {"batch_input_shape" if key == "batch_shape" else key: keras2_config(v) for key, v in config.items()}
    if config.get("class_name") == "DTypePolicy":
        return "float32"
    operator = {"TrueDivide": "math.truediv", "Subtract": "math.subtract"}.get(str(config.get("class_name")))
    if "inbound_nodes" in config:
        nodes = [
            [
                [a["config"]["keras_history"][0], 0, 0, {}]
                for args in node["args"]
                for a in (args if isinstance(args, list) else [args])
                if isinstance(a, dict)
            ]
            for node in config["inbound_nodes"]
        ]
        if operator:
            constant = config["inbound_nodes"][0]["args"][1]
            nodes = [[*nodes[0][0][:3], {"y": constant, "name": None}]]
            config["class_name"] = "TFOpLambda"
            config["config"] = {"name": f"tf.{operator}", "trainable": True, "dtype": "float32", "function": operator}
        config["inbound_nodes"] = nodes
    return config


def save_keras2(model: Any, path: Path, whole: bool) -> None:
    """Write the layout of TensorFlow's Keras 2 (tensorflow/python/keras/saving/hdf5_format.py)."""

    def variables(layer: Any) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        if layer.weights:
            for weight in layer.trainable_weights + layer.non_trainable_weights:
                owner, name = weight.path.split("/")[-2:]
                if "depthwise" in owner or "conv_dw" in owner:
                    name = name.replace("kernel", "depthwise_kernel")
                yield f"{owner}/{name}:0", keras.ops.convert_to_numpy(weight)

    with h5py.File(path, "w") as file:
        root = file
        if whole:
            with keras.src.legacy.saving.saving_options.keras_option_scope(use_legacy_config=True):
                metadata = keras.src.legacy.saving.saving_utils.model_metadata(model, False)
            file.attrs["model_config"] = json.dumps(keras2_config(metadata["model_config"])).encode()
            root = file.create_group("model_weights")
        root.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        root.attrs["backend"], root.attrs["keras_version"] = b"tensorflow", b"2.15.0"
        for layer in sorted(model.layers, key=lambda layer: layer.name):
            group = root.create_group(layer.name)
            weights = list(variables(layer))
            group.attrs["weight_names"] = [name.encode() for name, _ in weights]
            for name, values in weights:
                group.create_dataset(name, values.shape, values.dtype)[...] = values


FORMATS: dict[str, tuple[str, Callable[[Any, Path], None]]] = {
    "whole": ("m.h5", save_whole),
    "legacy_weights": ("m.h5", save_legacy_weights),
    "weights": ("m.weights.h5", lambda model, path: model.save_weights(path)),
    "archive": ("m.keras", save_whole),
    "keras2_whole": ("m.h5", lambda model, path: save_keras2(model, path, True)),
    "keras2_weights": ("m.h5", lambda model, path: save_keras2(model, path, False)),
}


def read(path: Path) -> Foreign:
    return keras3.read(path) if path.suffix == ".keras" else h5.read(path)


def check_weights(foreign: Foreign, model: Any) -> None:
    expected: dict[str, list[dict[str, npt.NDArray[Any]]]] = {
        kind: [] for kind in ("conv", "depthwise", "norm", "linear")
    }
    for layer in plain(model):
        held = {weight.name: keras.ops.convert_to_numpy(weight) for weight in layer.weights}
        if isinstance(layer, keras.layers.BatchNormalization):
            names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
            expected["norm"].append({names[name]: values for name, values in held.items()})
        elif isinstance(layer, keras.layers.Dense):
            expected["linear"].append({**held, "weight": held["kernel"].T})
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            expected["depthwise"].append({**held, "weight": held["kernel"].transpose(2, 3, 0, 1)})
        elif isinstance(layer, keras.layers.Conv2D):
            expected["conv"].append({**held, "weight": held["kernel"].transpose(3, 2, 0, 1)})
    if sum(layer.kind == "conv" for layer in foreign.layers) < len(expected["conv"]):  # a classifier
        head = expected["conv"].pop()
        expected["linear"].append({**head, "weight": head["weight"][:, :, 0, 0]})
    for kind, layers in expected.items():
        got = [layer for layer in foreign.layers if layer.kind == kind]
        assert len(got) == len(layers)
        for layer, arrays in zip(got, layers, strict=True):
            arrays.pop("kernel", None)
            assert layer.arrays.keys() == arrays.keys()
            for name, values in arrays.items():
                assert np.array_equal(layer.arrays[name], values), (layer.name, name)


@functools.cache
def made(name: str) -> Any:
    keras.utils.clear_session()
    model = MODELS[name]()
    rng = np.random.default_rng(0)
    for layer in plain(model):
        for variable in layer.weights:
            low = 0.5 if "variance" in variable.name else -0.5
            variable.assign(rng.uniform(low, 1.5, variable.shape).astype("float32"))
    return model


# Every format of a plain model and a nested one; of the rest those in which the order is at stake.
ALL = [(name, form) for name in ("v1", "nested_v2") for form in FORMATS]
SOME = [
    ("v2", "whole"),
    ("v2", "weights"),
    ("v2", "keras2_weights"),
    ("xiaochus", "legacy_weights"),
    ("xiaochus", "archive"),
    ("xiaochus", "keras2_whole"),
    ("v2_no_top", "legacy_weights"),
    ("nested_v1", "keras2_weights"),
    ("nested_xiaochus", "legacy_weights"),
    ("nested_xiaochus", "keras2_weights"),
    ("nested_xiaochus", "keras2_whole"),
    ("nested_v2_trained", "keras2_weights"),
    ("functional_v2", "whole"),
    ("functional_v2", "archive"),
    ("functional_v2", "keras2_whole"),
    ("functional_v2", "legacy_weights"),
]


@pytest.mark.parametrize(("label", "form"), [*ALL, *SOME])
def test_layers_in_forward_order(label: str, form: str, tmp_path: Path) -> None:
    model = made(label)
    name, save = FORMATS[form]
    save(model, tmp_path / name)
    foreign = read(tmp_path / name)
    check_weights(foreign, model)
    is_v1 = "v1" in label
    assert foreign.padding == ("keras" if is_v1 else "same")
    assert foreign.epsilon == 1e-3
    assert foreign.ignored == ()
    if form in ("whole", "archive", "keras2_whole"):
        assert foreign.size == 64
        xiao = V2_STRIDES[:-1]  # here without the last block
        assert foreign.strides == (V1_STRIDES if is_v1 else xiao if "xiaochus" in label else V2_STRIDES)
        assert len(foreign.notes) == ("nested" in label or "functional" in label)
        assert foreign.preprocessing["mean"] == foreign.preprocessing["std"] == (0.5, 0.5, 0.5)
    else:
        assert foreign.size is foreign.strides is None


def test_training_state_is_not_weights(tmp_path: Path) -> None:
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, padding="same")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    for name in ("m.h5", "m.keras", "m.weights.h5"):
        model.save_weights(tmp_path / name) if "weights" in name else model.save(tmp_path / name)
        foreign = read(tmp_path / name)
        check_weights(foreign, model)
        assert foreign.ignored
        assert all("optimizer" in name for name in foreign.ignored)


def test_frozen_weights_of_unknown_names_are_refused(tmp_path: Path) -> None:
    """Without a config, the order of trained and frozen layers cannot be told."""
    x = inputs = keras.Input((32, 32, 3))
    for name in ("stem", "middle", "top"):
        x = keras.layers.BatchNormalization()(keras.layers.Conv2D(3, 3, padding="same", name=name)(x))
    body = keras.Model(inputs, x)
    body.get_layer("stem").trainable = body.get_layer("top").trainable = False
    model = keras.Sequential([keras.Input((32, 32, 3)), body])
    save_legacy_weights(model, tmp_path / "w.h5")
    with pytest.raises(InputError, match="was frozen"):
        read(tmp_path / "w.h5")
    model.save(tmp_path / "m.h5")
    check_weights(read(tmp_path / "m.h5"), model)


def test_half_precision_is_read(tmp_path: Path) -> None:
    """bfloat16, which HDF5 does not have, is kept as two bytes."""
    x = inputs = keras.Input((32, 32, 3))
    for dtype in ("float16", "bfloat16"):
        x = keras.layers.Conv2D(3, 3, padding="same", dtype=dtype)(x)
    model = keras.Model(inputs, x)
    model.save(tmp_path / "m.keras")
    foreign = read(tmp_path / "m.keras")
    for got, layer in zip(foreign.layers, model.layers[1:], strict=True):
        kernel = keras.ops.convert_to_numpy(layer.kernel).astype(np.float32)
        assert np.array_equal(got.arrays["weight"], kernel.transpose(3, 2, 0, 1))


@pytest.mark.parametrize(
    ("layer", "name"),
    [("Lambda", "m.h5"), ("Lambda", "m.keras"), ("SeparableConv2D", "m.h5"), ("PReLU", "m.keras")],
)
def test_foreign_layers_are_refused(layer: str, name: str, tmp_path: Path) -> None:
    options = {"Lambda": (lambda x: x,), "SeparableConv2D": (4, 3)}.get(layer, ())
    inputs = keras.Input((32, 32, 3))
    last = getattr(keras.layers, layer)(*options)
    model = keras.Model(inputs, last(keras.layers.Conv2D(3, 3, padding="same")(inputs)))
    model.save(tmp_path / name)
    with pytest.raises(InputError, match=layer) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_adapted_scaling_becomes_preprocessing(tmp_path: Path) -> None:
    inputs = keras.Input((32, 32, 3))
    scaling = keras.layers.Normalization()
    scaling.adapt(np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype("float32"))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same")(scaling(inputs)))
    pixels = np.linspace(0, 255, 3 * 7, dtype=np.float32).reshape(7, 3)
    for form, (name, save) in FORMATS.items():
        if not form.startswith("keras2"):
            save(model, tmp_path / name)
            found = read(tmp_path / name).preprocessing
            scaled = (pixels * found["scale"] - found["mean"]) / found["std"]
            assert np.allclose(scaled, keras.ops.convert_to_numpy(scaling(pixels[None, None])[0, 0]), atol=1e-5)
