from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mobilenets

pytest.importorskip("executorch", reason="needs the extra executorch: docs/install.md has the line")

pytestmark = pytest.mark.filterwarnings("default")  # the converters warn of their own insides


@pytest.fixture(scope="module")
def int8(exported: Callable[..., Path]) -> Path:
    return exported("executorch", "int8")


@pytest.fixture(scope="module")
def float32(exported: Callable[..., Path]) -> Path:
    return exported("executorch", "float32", batch=4)


def test_any_number_of_pictures_is_answered_as_by_the_checkpoint(float32: Path, answers_as_the_run: Any) -> None:
    answers_as_the_run(float32, 1e-4)


def test_int8_takes_pixels_and_is_smaller(trained, int8: Path, noise: Any) -> None:
    described = json.loads((int8 / "model.json").read_bytes())["export"]
    assert (described["input"], described["layout"], described["output"]) == ("uint8", "NHWC", "probabilities")
    assert described["batch"] == 1
    weights = (trained.run / "model.safetensors").stat().st_size
    assert (int8 / "model.pte").stat().st_size < 0.4 * weights
    predictor = mobilenets.Predictor(int8)
    sums = predictor.probabilities([predictor.prepare(picture) for picture in noise(3)]).sum(axis=1)
    assert np.allclose(sums, 1, atol=1e-3)


def test_the_quantizer_nearest_to_float_was_taken(int8: Path, took_the_nearest: Any) -> None:
    took_the_nearest(int8)


def test_int8_says_none_of_these(int8: Path, says_none_of_these: Any) -> None:
    says_none_of_these(int8)
