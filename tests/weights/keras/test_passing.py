"""The lists of layers that do nothing at inference, held to what the installed Keras does."""

from __future__ import annotations

import inspect
import os
from typing import Any

import numpy as np
import pytest

os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")

from mobilenets.weights.keras.passing import AUGMENTATION, PASSING, PIXELS, REGULARIZATION  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SETTINGS: dict[str, dict[str, Any]] = {
    "RandomShear": {"x_factor": 0.3, "y_factor": 0.3},
    "RandomColorJitter": {"value_range": (0, 255), "brightness_factor": 0.5},
    "RandomPosterization": {"factor": 3},
    "RandomTranslation": {"height_factor": 0.3, "width_factor": 0.3},
    "RandomZoom": {"height_factor": 0.3},
    "Solarization": {"addition_factor": 0.3},
    "MaxNumBoundingBoxes": {"max_number": 2},
    "GaussianNoise": {"stddev": 0.5},
    "GaussianDropout": {"rate": 0.5},
    "AlphaDropout": {"rate": 0.5},
    "Dropout": {"rate": 0.5},
    "SpatialDropout2D": {"rate": 0.5},
}
# How big pictures are is for the reader to tell.
SIZES = {"CenterCrop", "RandomCrop", "Resizing"}
OF_KERAS_2 = {"RandomHeight", "RandomWidth"}


def image_layers() -> dict[str, Any]:
    """All classes of Keras's image preprocessing, by name."""
    found = {name: getattr(keras.layers, name) for name in dir(keras.layers)}
    return {
        name: kind
        for name, kind in found.items()
        if inspect.isclass(kind) and ".image_preprocessing." in kind.__module__
    }


def make(name: str) -> Any:
    kind = getattr(keras.layers, name)
    if name in SETTINGS:
        return kind(**SETTINGS[name])
    wanted = inspect.signature(kind).parameters
    return kind(factor=0.9) if "factor" in wanted and wanted["factor"].default is inspect.Parameter.empty else kind()


def changes(name: str) -> bool:
    """Whether a layer changes pictures at inference: dull ones, which every correction would change."""
    slope = np.linspace(60, 100, 96).reshape(1, 96, 1, 1)
    pictures = np.rint(slope + np.random.default_rng(0).integers(-9, 9, (2, 96, 96, 3))).astype(np.float32)
    given = make(name)(pictures, training=False)
    return not np.array_equal(np.asarray(given), pictures)


def test_every_image_layer_is_known() -> None:
    names = {kind.__name__ for kind in image_layers().values()} | set(image_layers())
    assert names - SIZES - AUGMENTATION - PIXELS == set()
    assert AUGMENTATION - names == OF_KERAS_2


@pytest.mark.parametrize("name", sorted((AUGMENTATION - OF_KERAS_2) | REGULARIZATION | {"Identity"}))
def test_nothing_is_done(name: str) -> None:
    if name not in {"Identity", "InputLayer"}:
        assert name in PASSING
    assert not changes(name)


@pytest.mark.parametrize("name", sorted(PIXELS & set(image_layers())))
def test_something_is_done(name: str) -> None:
    assert changes(name)
