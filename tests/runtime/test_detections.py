from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mobilenets.errors import FaultFound
from mobilenets.pictures.preprocess import RESIZES, Preprocessing
from mobilenets.runtime.detection import Detection, anchors
from mobilenets.runtime.detections import decode, finished

SQUARES = (((0.3, 0.3), (0.5, 0.25)), ((0.8, 0.8), (0.6, 0.9), (0.9, 0.4)))
SMALL = Detection(64, (4, 2), SQUARES, most=20)
WIDE, HIGH = 200, 100


def drawn(detection: Detection, classes: int, seed: int, surer: float = 2.0) -> npt.NDArray[np.float32]:
    """Draw outputs of some sure boxes, many of which overlap."""
    rng = np.random.default_rng(seed)
    codes = rng.normal(0, 3, (detection.count, 4))
    logits = rng.normal(0, surer, (detection.count, 1 + classes))
    # Equal scores are common in int8.
    return np.concatenate([codes, np.round(logits * 4) / 4], axis=1).astype(np.float32)


def overlap(one: list[float], other: list[float]) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    common = max(wide, 0.0) * max(high, 0.0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common / (area - common)


def plainly(
    outputs: Any, detection: Detection, width: int, height: int, seen: Any
) -> list[tuple[float, int, list[float]]]:
    """Decode and suppress box by box: score, class and corners, the best first."""
    left, upper, right, lower = seen
    found = []
    for place, (row, (x, y, w, h)) in enumerate(zip(outputs.tolist(), anchors(detection).tolist(), strict=True)):
        dx, dy, dw, dh = (code / scale for code, scale in zip(row[:4], detection.box_scales, strict=True))
        middle, half = (dx * w + x, dy * h + y), (math.exp(dw) * w / 2, math.exp(dh) * h / 2)
        box = [
            left + (middle[0] - half[0]) * (right - left),
            upper + (middle[1] - half[1]) * (lower - upper),
            left + (middle[0] + half[0]) * (right - left),
            upper + (middle[1] + half[1]) * (lower - upper),
        ]
        cut = [min(max(side, 0.0), (width, height)[axis % 2]) for axis, side in enumerate(box)]
        if cut[2] <= cut[0] or cut[3] <= cut[1]:
            continue
        powers = [math.exp(logit) for logit in row[4:]]
        for label in range(len(row) - 5):
            score = powers[label + 1] / sum(powers)
            if detection.scores == "sigmoid":
                score = 1 / (1 + math.exp(-row[5 + label]))
            if score > detection.least_score:
                found.append((-float(np.float32(score)), label, place, box))
    kept: list[tuple[float, int, list[float]]] = []
    for score, label, _, box in sorted(found):
        better = [other for _, of, other in kept if of == label]
        if len(kept) < detection.most and all(overlap(box, other) <= detection.iou for other in better):
            kept.append((-score, label, box))
    return [
        (score, label, [min(max(side, 0.0), (width, height)[axis % 2]) for axis, side in enumerate(box)])
        for score, label, box in kept
    ]


@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
@pytest.mark.parametrize("resize", RESIZES)
def test_as_a_plain_loop_decodes(scores: str, resize: str) -> None:
    how = Preprocessing(64, resize)
    kept = 0
    for seed in range(12):
        classes, least = 1 + seed % 4, (0.01, 0.2, 0.6)[seed % 3]
        detection = replace(SMALL, scores=scores, least_score=least, iou=(0.6, 0.3)[seed % 2])
        width, height = ((WIDE, HIGH), (HIGH, WIDE), (64, 64))[seed % 3]
        outputs = drawn(detection, classes, seed)
        found = decode(outputs, detection, width, height, how)
        expected = plainly(outputs, detection, width, height, how.seen(width, height))
        assert found.labels.tolist() == [label for _, label, _ in expected]
        np.testing.assert_allclose(found.scores, [score for score, _, _ in expected], rtol=1e-6)
        corners = np.array([box for _, _, box in expected]).reshape(-1, 4)
        np.testing.assert_allclose(found.corners, corners, atol=1e-3)
        kept += len(found)
    assert kept > 60


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize(("width", "height"), [(WIDE, HIGH), (HIGH, WIDE), (63, 64), (5, 300)])
def test_what_the_square_shows(resize: str, width: int, height: int) -> None:
    """A stripe drawn in the picture lies in the square where ``seen`` says."""
    from PIL import Image

    how = Preprocessing(96, resize, 0.75, "bilinear")
    left, upper, right, lower = how.seen(width, height)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, width // 2 :] = 255
    fitted = np.asarray(how.fit(Image.fromarray(pixels)))[48, :, 0].astype(float) / 255
    if resize == "pad":  # what is beyond is black as the left half is
        fitted[round(96 * (width - left) / (right - left)) :] = 1
    bright = (1 - fitted.mean()) * (right - left) + left
    assert bright == pytest.approx(width // 2, abs=1.5 * (right - left) / 96)
    assert (lower - upper) / (right - left) == pytest.approx(1 if resize != "stretch" else height / width, abs=0.3)


def test_a_box_goes_back_to_the_picture() -> None:
    """The anchor at the middle of the first place, not moved, at a score of nearly 1."""
    detection = Detection(64, (1,), (((0.5, 0.25),),))
    [box] = decode(np.array([[0, 0, 0, 0, 0, 9]]), detection, 200, 80, Preprocessing(64, "stretch")).corners.tolist()
    assert box == [50, 30, 150, 50]
    moved = decode(np.array([[2, 0, 5 * math.log(2), 0, 0, 9]]), detection, 200, 80, Preprocessing(64, "stretch"))
    assert moved.corners[0].tolist() == pytest.approx([20, 30, 200, 50])  # 220 is cut off


def test_nothing_and_what_is_no_number() -> None:
    outputs = np.zeros((SMALL.count, 6), np.float32)
    outputs[:, 4] = 30
    found = decode(outputs, SMALL, 10, 10, Preprocessing(64, "stretch"))
    assert len(found) == 0 and found.corners.shape == (0, 4) and found.to_json(("a",)) == []
    for value in (np.nan, np.inf):
        outputs[5, 1] = value
        with pytest.raises(FaultFound, match="not finite"):
            decode(outputs, SMALL, 10, 10, Preprocessing(64, "stretch"))


def test_a_box_without_end_is_the_whole_picture() -> None:
    detection = Detection(64, (1,), (((0.5, 0.5),),))
    outputs = np.array([[0, 0, 4000, 4000, 0, 9]])
    assert decode(outputs, detection, 10, 20, Preprocessing(64, "stretch")).corners.tolist() == [[0, 0, 10, 20]]


def test_finished_rows() -> None:
    rows = np.array([[0.1, 0.2, 0.5, 0.6, 0.9, 2], [0, 0, 1, 1, 0.3, 0], [0, 0, 0, 0, 0, -1]])
    found = finished(rows, 200, 100)
    assert found.labels.tolist() == [2, 0]
    assert found.to_json(("a", "b", "c"))[0] == {"label": "c", "score": 0.9, "box": [20.0, 20.0, 100.0, 60.0]}
    assert found.above(0.5).labels.tolist() == [2]


def test_the_same_rows_in_any_memory() -> None:
    """Nothing hangs on how the array lies in memory or on its kind of float."""
    outputs = drawn(SMALL, 3, 5)
    one = decode(outputs, SMALL, WIDE, HIGH, Preprocessing(64, "stretch"))
    other = decode(np.asfortranarray(outputs.astype(np.float64)), SMALL, WIDE, HIGH, Preprocessing(64, "stretch"))
    for name in ("corners", "scores", "labels"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
