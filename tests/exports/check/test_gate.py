from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.datasets.folder import Sample
from mobilenets.exports.check.gate import generated, judge, probes
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.exported import Exported
from mobilenets.runtime.predictor import EnginePredictor
from mobilenets.tasks.classification.task import Classification

CLASSES = ("blue", "green", "red")
PLAIN = Bundle({}, CLASSES, Preprocessing(16))


def file(precision: str = "int8", **about: Any) -> Bundle:
    exported = Exported("model.onnx", "onnx", precision, {"model.onnx": "0" * 64}, **about)
    return Bundle({}, CLASSES, Preprocessing(16), export=exported)


def colours(images: Any) -> Any:
    """Answer with the colour that there is most of."""
    return 8 * images.mean(axis=(1, 2))[:, ::-1].astype(np.float32)


MODEL = EnginePredictor(PLAIN, colours)


@pytest.fixture
def grey(tmp_path: Path) -> list[Sample]:
    """Give twelve pictures without a colour, all of one class."""
    samples = []
    for number in range(12):
        Image.new("L", (20, 20), 20 * number).save(tmp_path / f"{number}.png")
        samples.append(Sample(tmp_path / f"{number}.png", 2))
    return samples


def verdict(engine: Any, samples: list[Sample], precision: str = "int8") -> Any:
    candidate = EnginePredictor(file(precision), engine)
    return judge(Classification(), MODEL, candidate, samples, samples[0].path.parent, 0.5)


def test_probes_are_colourful_and_the_same() -> None:
    one, other = probes(40), probes(40)
    assert [picture.tobytes() for picture in one] == [picture.tobytes() for picture in other]
    for picture in one:
        pixels = np.asarray(picture).astype(int)
        assert pixels.shape == (40, 40, 3)
        assert np.abs(pixels[..., 0] - pixels[..., 2]).mean() > 10


def test_a_file_that_resizes_is_asked_about_many_sizes() -> None:
    assert {picture.size for picture in generated(EnginePredictor(file(), colours))} == {(16, 16)}
    sizes = {picture.size for picture in generated(EnginePredictor(file(geometry="inside"), colours))}
    assert len(sizes) == 16


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_red_and_blue_exchanged_on_grey_pictures(grey: list[Sample], precision: str) -> None:
    """Every picture of the user gets the model's very answer."""
    found = verdict(lambda images: colours(images[..., ::-1]), grey, precision)
    assert found.pair.same == 12 and found.pair.max_difference < 1e-6
    assert not found.passed
    if precision == "int8":
        assert found.faults == ("it answers generated pictures as the model does with red and blue exchanged",)


def test_a_constant_file_where_all_pictures_are_of_one_class(grey: list[Sample]) -> None:
    """The half that is measured has nothing but this class, and the file says nothing else."""
    model = EnginePredictor(PLAIN, lambda images: colours(images) + np.float32([0, 0, 1]))
    constant = EnginePredictor(file(), lambda images: np.tile(np.float32([0, 0, 1]), (len(images), 1)))
    found = judge(Classification(), model, constant, grey, grey[0].path.parent, 0.5)
    assert (found.pair.reference.top1, found.pair.candidate.top1) == (1, 1) and found.pair.max_difference < 1e-6
    assert "it gives nearly the same answer to every picture, and the model does not" in found.faults


def test_a_file_with_the_noise_of_int8_passes(grey: list[Sample]) -> None:
    def rounded(images: Any) -> Any:
        return np.round(colours(images) * 4) / 4

    found = verdict(rounded, grey)
    assert 0.01 < found.probe_difference < 0.2
    assert found.passed


def test_numbers_that_are_none_on_generated_pictures_only(grey: list[Sample]) -> None:
    def broken(images: Any) -> Any:
        coloured = np.abs(images[..., 0] - images[..., 2]).max(axis=(1, 2), keepdims=False) > 0.1
        return np.where(coloured[:, None], np.float32("nan"), colours(images))

    assert verdict(broken, grey).faults == ("a probability differs by no number (NaN or infinite)",)


def test_both_are_asked_each_for_itself(grey: list[Sample]) -> None:
    """A gate that compares one of the two with itself finds nothing."""
    found = verdict(lambda images: colours(images)[:, [1, 0, 2]] + np.float32([0, 0, 9]), grey, "float32")
    assert found.pair.reference.logits.argmax(1).tolist() != found.pair.candidate.logits.argmax(1).tolist()
    assert found.pair.max_difference > 0.5 and found.probe_difference > 0.5
