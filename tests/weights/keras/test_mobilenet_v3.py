"""MobileNetV3 as Keras writes it: hard-swish and squeeze-and-excitation of several layers, and what is nearly that."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")

from keras.src.applications import mobilenet_v3  # noqa: E402

from mobilenets.errors import InputError  # noqa: E402
from mobilenets.weights.convert import convert  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
L = keras.layers
SIZE = 48


def build(**changes: Any) -> Any:
    """Build Keras's V3 small with some of its functions changed."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setattr(mobilenet_v3, name, value)
        return keras.applications.MobileNetV3Small(
            input_shape=(SIZE, SIZE, 3), alpha=0.25, weights=None, classes=3, classifier_activation=None
        )


def of_keras_2(x: Any) -> Any:
    """Hard-swish as Keras 2 has it."""
    return L.Multiply()([x, mobilenet_v3.hard_sigmoid(x)])


def answers(model: Any, file: Path) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    for variable in model.weights:
        if variable.name == "moving_variance":
            variable.assign(random.uniform(0.3, 2, variable.shape).astype(np.float32))
        elif len(variable.shape) == 1:
            variable.assign(random.normal(1, 0.3, variable.shape).astype(np.float32))
    model.save(file)
    pixels = random.uniform(0, 255, (1, SIZE, SIZE, 3)).astype(np.float32)
    with torch.inference_mode():
        theirs = np.asarray(model(pixels, training=False).cpu())
        inputs = torch.from_numpy((pixels / 127.5 - 1).transpose(0, 3, 1, 2).copy())
        return convert(file).model.network(inputs).numpy(), theirs


SPELLINGS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "hard-swish of Keras 2": {"hard_swish": of_keras_2},
    "hard-sigmoid as a layer": {"hard_sigmoid": lambda x: L.Activation("hard_sigmoid")(x)},
    "divided by six": {"hard_sigmoid": lambda x: L.ReLU(6.0)(x + 3.0) / 6.0},
    # Its other shift goes into the convolution's bias.
    "shifted by two": {"hard_sigmoid": lambda x: L.ReLU(6.0)(x + 2.0) * (1 / 6)},
    "ReLU as an activation": {"relu": lambda x: L.Activation("relu")(x)},
}


@pytest.mark.parametrize(
    ("spelling", "file"),
    [
        *((spelling, "model.keras") for spelling in SPELLINGS),
        # A hard-sigmoid in HDF5 might be Keras 2's, which is another function.
        *((spelling, "model.h5") for spelling in SPELLINGS if "layer" not in spelling),
    ],
)
def test_other_spellings(spelling: str, file: str, tmp_path: Path) -> None:
    changes = SPELLINGS[spelling]
    found, expected = answers(build(**changes), tmp_path / file)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.ptp(expected))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hard_sigmoid": lambda x: L.Activation("sigmoid")(x)}, "sigmoid"),
        ({"hard_sigmoid": lambda x: L.ReLU(6.0)(x + 3.0) * 0.2}, "hard_sigmoid"),
        ({"hard_swish": mobilenet_v3.relu}, "ReLU, where .* hard-swish"),
        ({"relu": lambda x: L.ReLU(6.0)(x)}, "ReLU6, where .* ReLU"),
        ({"hard_swish": lambda x: L.Activation("swish")(x)}, "swish|silu"),
    ],
)
def test_what_is_nearly_that_is_refused(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    build(**changes).save(tmp_path / "model.keras")
    with pytest.raises(InputError, match=reason) as caught:
        convert(tmp_path / "model.keras")
    assert "\n" not in str(caught.value)
