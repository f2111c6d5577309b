"""The report of a detector: whole, self-contained, and safe whatever classes and files are called."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.datasets.listing import Problem
from mobilenets.drawing import detection_report
from mobilenets.drawing.boxes import Drawn
from mobilenets.drawing.detection_report import DetectionReport, _near, draw_detection, write_detection_report
from mobilenets.drawing.report import Drawing
from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.pictures.boxes import Boxes
from mobilenets.runtime.detections import Detections

EVIL = "<script>alert(1)</script>"
SECTIONS = [
    "result",
    "curves",
    "classes",
    "threshold",
    "sizes",
    "misses",
    "alarms",
    "confusion",
    "batch",
    "data",
    "recipe",
]


def an_evaluation(root: Path, pictures: int = 24) -> DetectionEvaluation:
    rng = np.random.default_rng(1)
    truths, found, names, sizes = [], [], [], []
    for place in range(pictures):
        size = (300 + 10 * place, 200)
        names.append(f"{place}.png")
        sizes.append(size)
        if place:  # the first cannot be opened
            Image.new("RGB", size, (10 * place, 90, 60)).save(root / names[-1])
        corners = np.array([[10, 10, 60, 70], [100, 40, 190, 150]], np.float32)
        truths.append(Boxes.of(corners, [0, place % 2]))
        moved = corners + rng.normal(0, 4, corners.shape).astype(np.float32)
        extra = np.array([[200, 20, 230, 50]], np.float32)
        boxes = np.concatenate([moved[: 1 + place % 2], extra])
        found.append(Detections(boxes, np.linspace(0.95, 0.6, len(boxes), dtype=np.float32), np.arange(len(boxes)) % 2))
    return DetectionEvaluation(("cat", EVIL, "never seen"), tuple(names), truths, found, sizes)


def a_report(root: Path, **changes: Any) -> DetectionReport:
    row = {"lr": 0.1, "train_loss": 3.0, "validation_loss": 2.5, "validation_ap": 0.2, "validation_ap50": 0.4}
    report = DetectionReport(
        title=f"animals {EVIL}",
        model={
            "name": "SSDLite",
            "width": 1.0,
            "size": 320,
            "parameters": 3_355_833,
            "macs": 695_400_000,
            "weights_from": "none",
        },
        evaluation=an_evaluation(root),
        pictures=(100, 24),
        names=("a cat", EVIL, "never seen"),
        history=[row | {"epoch": 1.0}, row | {"epoch": 2.0}],
        recipe={"lr": 0.1, EVIL: EVIL},
        data={
            "train": {"cat": 70, EVIL: 30},
            "validation": {"cat": 18, EVIL: 6},
            "source": "/data/animals",
            "fingerprint": "abc",
            "left_out": [Problem("bad_box", "a.xml", "line 7: empty")],
        },
        hardware={"device": "cpu"},
        seconds=60.0,
        best_epoch=2,
        batch=[(Image.new("RGB", (96, 96)), "cat")],
        versions={},
        command="mobilenets train animals --out run",
        root=root,
    )
    return dataclasses.replace(report, **changes)


def test_whole_and_safe(tmp_path: Path, reports: Any) -> None:
    report = a_report(tmp_path)
    write_detection_report(tmp_path / "report.html", report)
    text = (tmp_path / "report.html").read_text("utf-8")
    page = reports.Page(text)
    assert page.sections == SECTIONS
    assert EVIL not in text and "http://" not in text and "https://" not in text
    evaluation = report.evaluation
    assert f"{100 * evaluation.ap50:.1f}" in page.text and "95 % interval by picture" in page.text
    low, high = evaluation.ap50_interval or (0, 0)
    assert f"{100 * low:.1f}–{100 * high:.1f}" in page.text
    assert "100 pictures with 100 boxes for training, 24 with 24 for validation" in page.text
    assert "cannot be opened" in page.text and "line 7: empty" in page.text
    pictures = [str(attrs["src"]) for tag, attrs in page.tags if tag == "img"]
    assert len(pictures) > 7 and all(one.startswith("data:image/") for one in pictures)
    assert "a cat" in page.text  # by its name for people


def test_nothing_wrong_and_nothing_found(tmp_path: Path, reports: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Drawing("data:image/png;base64,", "data:image/png;base64,", 10)
    monkeypatch.setattr(detection_report, "on_both", lambda draw: drawn)
    whole = an_evaluation(tmp_path)
    found = [Detections(one.corners, np.full(len(one), 0.9, np.float32), one.labels) for one in whole.truths]
    write_detection_report(tmp_path / "a.html", a_report(tmp_path, evaluation=dataclasses.replace(whole, found=found)))
    text = reports.Page((tmp_path / "a.html").read_text("utf-8")).text
    assert "every object is found" in text and "every box is right" in text and "100.0 %" in text
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    few = dataclasses.replace(whole.taken([1, 2]), found=[nothing, nothing])
    write_detection_report(tmp_path / "b.html", a_report(tmp_path, evaluation=few, history=[], batch=[]))
    text = reports.Page((tmp_path / "b.html").read_text("utf-8")).text
    assert "too few for an interval" in text and "4 of 4 objects are not shown" in text


def test_the_part_of_a_picture_around_a_small_box() -> None:
    picture = Image.new("RGB", (3000, 2000))
    picture.paste("#ff0000", (2800, 1900, 2840, 1940))
    boxes = [Drawn((2800, 1900, 2840, 1940), "x"), Drawn((0, 0, 100, 100), "far away")]
    cut, kept = _near(picture, [2800, 1900, 2840, 1940], boxes)
    assert max(cut.size) <= 420 and [box.words for box in kept] == ["x"]
    x0, y0, x1, y1 = (round(value) for value in kept[0].corners)
    assert cut.getpixel((x0 + 1, y0 + 1)) == cut.getpixel((x1 - 2, y1 - 2)) == (255, 0, 0)
    assert cut.getpixel((x0 - 2, y0)) == (0, 0, 0)
    # A box as large as its picture needs no cutting.
    cut, kept = _near(picture, [0, 0, 3000, 2000], [Drawn((0, 0, 3000, 2000))])
    assert cut.size == (420, 280) and [round(value) for value in kept[0].corners] == [0, 0, 420, 280]


def test_plots_beside_the_figures(tmp_path: Path) -> None:
    draw_detection(an_evaluation(tmp_path), tmp_path, ("cat", "dog", "never seen"))
    assert {"precision_recall.png", "confusion.png"} <= {path.name for path in tmp_path.iterdir()}
