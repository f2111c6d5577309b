from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mobilenets

for part in ("litert_torch", "ai_edge_quantizer"):
    pytest.importorskip(part, reason="needs the extra litert: docs/install.md has the line")

pytestmark = pytest.mark.filterwarnings("default")  # the converters warn of their own insides


@pytest.fixture(scope="module")
def int8(exported: Callable[..., Path]) -> Path:
    return exported("litert", "int8")


@pytest.fixture(scope="module")
def float16(exported: Callable[..., Path]) -> Path:
    return exported("litert", "float16", batch=4)


def operators(folder: Path) -> list[str]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / "model.tflite"))
    return [operator["op_name"] for operator in interpreter._get_ops_details()]


def test_any_number_of_pictures_is_answered_as_by_the_checkpoint(float16: Path, answers_as_the_run: Any) -> None:
    answers_as_the_run(float16, 0.03)


def test_no_transpose_is_left_and_float16_is_half(trained, float16: Path) -> None:
    weights, distance = ((trained.run / name).stat().st_size for name in ("model.safetensors", "distance.safetensors"))
    assert (float16 / "model.tflite").stat().st_size < 0.6 * weights + distance
    assert "TRANSPOSE" not in operators(float16)


def test_int8_takes_pixels_and_computes_in_int8(int8: Path, noise: Any) -> None:
    described = json.loads((int8 / "model.json").read_bytes())["export"]
    assert (described["input"], described["layout"], described["output"]) == ("uint8", "NHWC", "probabilities")
    assert described["batch"] == 1
    found = operators(int8)
    # One step into int8 and one out of it: nothing between is left in float. Behind them is the distance.
    assert (found.count("QUANTIZE"), found.count("DEQUANTIZE")) == (1, 1)
    predictor = mobilenets.Predictor(int8)
    sums = predictor.probabilities([predictor.prepare(picture) for picture in noise(3)]).sum(axis=1)
    assert np.allclose(sums, 1, atol=1e-3)


def test_the_quantizer_nearest_to_float_was_taken(int8: Path, took_the_nearest: Any) -> None:
    took_the_nearest(int8)


def test_int8_says_none_of_these(int8: Path, says_none_of_these: Any) -> None:
    says_none_of_these(int8)
