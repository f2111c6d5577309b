from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import mobilenets
from mobilenets.errors import FaultFound, InputError
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.detection import Detection
from mobilenets.runtime.exported import Exported
from mobilenets.runtime.found import Box
from mobilenets.runtime.labels import Label, Labels
from mobilenets.runtime.predictor import EnginePredictor

# One anchor in each quarter of the picture, which fills it.
QUARTERS = Detection(8, (2,), (((0.5, 0.5),),))
BUNDLE = Bundle({}, ("red", "green"), Preprocessing(8, "stretch"), task="detection", detection=QUARTERS)


def quarters(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Stand in for a detector: sees red and green in each quarter, as far as they are there."""
    logits = images.reshape(len(images), 2, 4, 2, 4, 3).mean((2, 4)).reshape(len(images), 4, 3)
    return np.concatenate(
        [np.zeros((len(images), 4, 4)), np.zeros((len(images), 4, 1)), 4 * logits[..., :2]], 2
    ).astype(np.float32)


@pytest.fixture
def predictor() -> EnginePredictor:
    return EnginePredictor(BUNDLE, quarters)


def picture(width: int = 40, height: int = 20) -> Image.Image:
    """A picture that is red in the upper left quarter and green in the lower right."""
    image = Image.new("RGB", (width, height))
    image.paste((255, 0, 0), (0, 0, width // 2, height // 2))
    image.paste((0, 255, 0), (width // 2, height // 2, width, height))
    return image


def test_boxes_are_in_pixels_of_the_picture(predictor: EnginePredictor) -> None:
    found = predictor(picture())
    assert [type(one) for one in found] == [Box, Box]
    assert [(one.label, one.box) for one in found] == [("red", (0, 0, 20, 10)), ("green", (20, 10, 40, 20))]
    assert found[0].score == found[1].score == pytest.approx(np.exp(4) / (1 + np.exp(4) + np.exp(-4)), rel=0.01)
    assert predictor(picture(), top=1) == found[:1]
    with pytest.raises(InputError, match="top 0"):
        predictor(picture(), top=0)


def test_a_large_jpeg_is_decoded_smaller_and_its_boxes_are_not(predictor: EnginePredictor) -> None:
    stream = io.BytesIO()
    turned = picture(1600, 800).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(stream, "JPEG", quality=95, subsampling=0, exif=exif)
    assert predictor.prepare(stream.getvalue()).shape == (8, 8, 3)
    assert sorted(one.box for one in predictor(stream.getvalue())) == [(0, 0, 800, 400), (800, 400, 1600, 800)]


def test_json_names_and_threshold(predictor: EnginePredictor) -> None:
    answers = list(mobilenets.predict(predictor, [picture(), b"", Image.new("RGB", (9, 9))], threshold=0.9))
    score = answers[0]["detections"][0]["score"]
    assert score == round(score, 6) > 0.9
    assert answers[0]["detections"][0] == {"label": "red", "score": score, "box": [0.0, 0.0, 20.0, 10.0]}
    assert answers[1] == {"image": "picture 2", "error": "the file is empty"}
    assert answers[2] == {"image": "picture 3", "detections": []}
    assert list(mobilenets.predict(predictor, picture(), threshold=0.99)) == [{"image": "picture 1", "detections": []}]
    # Everything that the model gives at all: of black quarters both classes have some two hundredths.
    assert len(next(mobilenets.predict(predictor, picture(), threshold=0))["detections"]) == 6
    for wrong in (-0.1, 1.5):
        with pytest.raises(InputError, match="from 0 to 1"):
            mobilenets.predict(predictor, picture(), threshold=wrong)
    labels = Labels({"red": Label({"en": "apple", "zh": "苹果"}), "green": Label({"en": "pear"})})
    named = EnginePredictor(replace(BUNDLE, labels=labels, threshold=0.2), quarters)
    [answer] = mobilenets.predict(named, picture(), language="zh")
    assert [one["name"] for one in answer["detections"]] == ["苹果", "green"]


def test_a_broken_picture_harms_no_other(predictor: EnginePredictor) -> None:
    def sometimes(images: Any) -> Any:
        given = quarters(images)
        given[images[:, 0, 0, 2] > 0.5] = np.nan
        return given

    broken = EnginePredictor(BUNDLE, sometimes)
    blue = Image.new("RGB", (8, 8), "blue")
    answers = list(mobilenets.predict(broken, [picture(), blue, picture()]))
    assert [answer.get("code") for answer in answers] == [None, "fault", None]
    assert answers[0]["detections"] == answers[2]["detections"] != []
    with pytest.raises(FaultFound, match="not finite"):
        broken(blue)
    with pytest.raises(FaultFound, match="not finite"):
        broken.detections([broken.prepare(blue)])


@pytest.mark.parametrize("geometry", ["outside", "inside"])
def test_finished_boxes_of_a_file(geometry: str) -> None:
    """A file may give boxes itself, as shares of the picture, and may resize itself."""
    exported = Exported("m.onnx", "onnx", "float32", {}, "uint8", "NHWC", "boxes", 1, geometry=geometry)
    rows = np.array([[[0, 0, 0.5, 0.5, 0.9, 1], [0, 0, 1, 1, 0.6, 0], [0, 0, 0, 0, 0, -1]]], np.float32)
    predictor = EnginePredictor(replace(BUNDLE, export=exported), lambda images: np.repeat(rows, len(images), 0))
    assert [(one.label, one.box) for one in predictor(picture())] == [
        ("green", (0, 0, 20, 10)),
        ("red", (0, 0, 40, 20)),
    ]
    assert predictor.reading.fault(rows, predictor.bundle, True) is None


def test_what_a_file_gives_is_checked(predictor: EnginePredictor) -> None:
    fault = predictor.reading.fault
    right = quarters(np.zeros((1, 8, 8, 3), np.float32))
    assert fault(right, BUNDLE, False) is None
    assert "speaks of 1×4×7" in str(fault(right[:, :3], BUNDLE, False))
    assert "not rows of box" in str(fault(right, BUNDLE, True))
    assert "not finite" in str(fault(right * np.nan, BUNDLE, False))
    assert "how its boxes are decoded" in str(fault(right, replace(BUNDLE, detection=None), False))


def test_explaining_and_drawing_are_for_others(predictor: EnginePredictor, tmp_path: Any) -> None:
    classifier = EnginePredictor(Bundle({}, ("a", "b"), Preprocessing(8)), lambda images: np.zeros((len(images), 2)))
    with pytest.raises(InputError, match="out is for the boxes"):
        mobilenets.predict(classifier, picture(), out=tmp_path / "out")
