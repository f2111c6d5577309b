from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mobilenets
from mobilenets.api.export import export

pytest.importorskip("executorch")

pytestmark = pytest.mark.filterwarnings("default")  # the converters warn of their own insides


@pytest.fixture(scope="module")
def int8(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An int8 file that takes pixels and gives probabilities."""
    folder = tmp_path_factory.mktemp("executorch") / "int8"
    result = export(
        trained.run, folder, "executorch", precision="int8", data=trained.data, pixels=True, probabilities=True
    )
    assert result["passed"], result["faults"]
    return folder


@pytest.fixture(scope="module")
def float32(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float32 file of batch 4."""
    folder = tmp_path_factory.mktemp("executorch") / "float32"
    assert export(trained.run, folder, "executorch", precision="float32", batch=4)["passed"]
    return folder


def pictures(count: int) -> list[Image.Image]:
    return [
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 30, 3), np.uint8))
        for number in range(count)
    ]


def test_any_number_of_pictures_is_answered_as_by_the_checkpoint(trained, float32: Path) -> None:
    ours, theirs = mobilenets.Predictor(trained.run, "cpu"), mobilenets.Predictor(float32)
    for count in (1, 4, 6):
        prepared = [ours.prepare(picture) for picture in pictures(count)]
        found = theirs.probabilities(prepared)
        assert found.shape == (count, 3)
        assert np.abs(ours.probabilities(prepared) - found).max() < 1e-4


def test_int8_takes_pixels_and_is_smaller(trained, int8: Path) -> None:
    described = json.loads((int8 / "model.json").read_bytes())["export"]
    assert (described["input"], described["layout"], described["output"]) == ("uint8", "NHWC", "probabilities")
    assert described["batch"] == 1
    weights = (trained.run / "model.safetensors").stat().st_size
    assert (int8 / "model.pte").stat().st_size < 0.4 * weights
    predictor = mobilenets.Predictor(int8)
    sums = predictor.probabilities([predictor.prepare(picture) for picture in pictures(3)]).sum(axis=1)
    assert np.allclose(sums, 1, atol=1e-3)


def test_the_quantizer_nearest_to_float_was_taken(int8: Path) -> None:
    tried = json.loads((int8 / "model.json").read_bytes())["export"]["about"]["quantization"]
    assert tried["chosen"] == min(tried["candidates"], key=lambda one: one["divergence"])
    assert len(tried["candidates"]) > 1 and 0 < tried["pictures_held_back"] < tried["pictures"]
