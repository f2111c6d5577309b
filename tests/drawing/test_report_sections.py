"""The report's sections: folds, seeds, suspects, mistakes, groups, classes, reliability."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.drawing import report as report_module
from mobilenets.drawing.report import percent, write_report
from mobilenets.measure.calibration import calibrate, tempered
from mobilenets.measure.groups import groups_to_json
from mobilenets.measure.metrics import Evaluation
from mobilenets.runtime.labels import Group, Label, Labels


@pytest.mark.usefixtures("undrawn")
def test_folds_seeds_and_labels_that_look_wrong_are_shown(tmp_path: Path, reports: Any) -> None:
    fold = {"images": 20, "epoch": 7, "top1": 0.75}
    crossed = {"top1": 0.7, "top1_interval": [0.6, 0.8], "images": 40, "epoch": 9, "folds": [fold, fold]}
    run = {"seed": 4, "value": 0.91, "validation": 0.93, "epoch": 2}
    report = reports.a_report(
        tmp_path,
        cross_validation=crossed,
        crossed=True,
        seeds={"mean": 0.9, "deviation": 0.01, "kept": 4, "runs": [run]},
        suspects=[{"path": "val/3.png", "given": "daisy", "suggested": reports.EVIL, "score": 8.0}],
    )
    write_report(tmp_path / "report.html", report)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "by a model that did not learn from them: cross-validated in 2 folds" in page
    assert "never trained on" not in page and "all for training" in page
    assert all(f'<section id="{name}">' in page for name in ("folds", "seeds", "suspects"))
    assert "val/3.png" in page and reports.EVIL not in page


@pytest.mark.usefixtures("undrawn")
def test_what_the_network_looked_at_stands_beside_each_mistake(tmp_path: Path, reports: Any) -> None:
    asked: list[tuple[tuple[int, int], int]] = []

    def explain(image: Image.Image, index: int) -> Image.Image:
        asked.append((image.size, index))
        return Image.new("RGB", (320, 320), (0, 0, 255))

    report = reports.a_report(tmp_path, explain=explain)
    write_report(tmp_path / "report.html", report)
    page = reports.Page((tmp_path / "report.html").read_text("utf-8"))
    mistakes = report.evaluation.mistakes(24)
    opened = [one for one in mistakes if one.index < 38]
    assert asked == [((30 + 10 * one.index, 40), one.predicted) for one in opened]
    looked = [attrs["src"] for tag, attrs in page.tags if attrs.get("alt") == "what the network looked at"]
    assert len(looked) == len(opened) == 22
    image = Image.open(io.BytesIO(base64.b64decode(str(looked[0]).partition(",")[2])))
    assert image.size == (192, 192) and image.format == "JPEG"
    assert "the lighter a region, the more it supported the wrong class" in page.text


def test_without_explanations_nothing_is_said_of_them(page: Any) -> None:
    assert "supported" not in page.text
    assert not any("twins" in str(attrs.get("class")) for _, attrs in page.tags)


@pytest.mark.usefixtures("undrawn")
def test_classes_by_name_and_a_section_by_group(tmp_path: Path, reports: Any) -> None:
    kinds = {
        "daisy": Label({"zh": "雏菊", "en": "daisy flower"}, "white"),
        reports.EVIL: Label({"en": f"evil {reports.EVIL}"}, "other"),
        "郁金香": Label({"en": "tulip"}, "other"),
        'a" onmouseover="x': Label({}, "white"),
        "e": Label({}, "white"),
        "never seen": Label({}, "other"),
    }
    labels = Labels(kinds, {"white": Group({"zh": "白", "en": "white"}, "#fefefe"), "other": Group()})
    report = reports.a_report(tmp_path, labels=labels)
    write_report(tmp_path / "report.html", report)
    source = (tmp_path / "report.html").read_text("utf-8")
    page = reports.Page(source)
    ids = page.sections
    assert ids == [*reports.SECTIONS[:4], "groups", *reports.SECTIONS[4:]]
    assert reports.EVIL not in source
    figures = groups_to_json(report.evaluation, labels)
    assert figures is not None
    low, high = (f"{100 * end:.1f}" for end in figures["top1_interval"])
    for words in (
        "6 classes in 2 groups",
        f"{100 * figures['top1']:.1f} % the most probable group is correct 95 % interval {low}\N{EN DASH}{high}",
        f"{figures['right_class']} of 40 pictures: correct class",
        f"{figures['wrong_class_right_group']} wrong class, right group",
        f"{figures['wrong_group']} wrong group",
        "雏菊 daisy flower daisy",  # the folder stands after the name
        f"labelled evil {reports.EVIL}",
    ):
        assert words in page.text, words
    table = page.text.partition("By group")[2].partition("Most confident")[0]
    score = figures["groups"]["white"]
    row = (
        f"白 white {percent(score['precision'])} {percent(score['recall'])} {percent(score['f1'])} 3 {score['images']}"
    )
    assert row.replace("\N{NO-BREAK SPACE}", " ") in table
    # The colour of the only group that has one: in its row, and before each mention of its three classes.
    swatches = [attrs["style"] for tag, attrs in page.tags if attrs.get("class") == "swatch"]
    mistakes = report.evaluation.mistakes(24)
    mentions = sum(index in (0, 3, 4) for one in mistakes for index in (one.true, one.predicted))
    confused = report_module._confused(report.evaluation)
    white = {report.evaluation.classes[index] for index in (0, 3, 4)}
    mentions += sum(name in white for _, *names in confused for name in names)
    assert swatches == ["background: #fefefe"] * (1 + 3 + mentions)
    assert sum(str(attrs.get("alt")).startswith("Confusion matrix") for tag, attrs in page.tags if tag == "img") == 2


@pytest.mark.usefixtures("undrawn")
def test_the_classes_confused_most_often_come_first(tmp_path: Path, reports: Any) -> None:
    labels = np.array([0] * 5 + [1] * 5 + [2] * 2)
    answers = np.array([0, 1, 1, 1, 1, 0, 0, 1, 1, 2, 2, 0])
    names = tuple(f"{place}.png" for place in range(12))
    one = Evaluation(("cat", "dog", "owl"), names, labels, 3 * np.eye(3, dtype=np.float32)[answers])
    write_report(tmp_path / "report.html", reports.a_report(tmp_path, evaluation=one))
    # What happened once is no pattern.
    assert (
        "Most often: cat as dog (4); dog as cat (2)."
        in reports.Page((tmp_path / "report.html").read_text("utf-8")).text
    )


@pytest.mark.usefixtures("undrawn")
def test_names_without_groups(tmp_path: Path, reports: Any) -> None:
    labels = Labels({"daisy": Label({"zh": "雏菊"}, "white")}, {"white": Group({}, "#fefefe")})
    write_report(tmp_path / "report.html", reports.a_report(tmp_path, labels=labels))
    page = reports.Page((tmp_path / "report.html").read_text("utf-8"))
    assert page.sections == reports.SECTIONS
    assert "雏菊" in page.text and "By group" not in page.text and "groups" not in page.text


@pytest.mark.usefixtures("undrawn")
def test_reliability_without_and_with_the_temperature(tmp_path: Path, reports: Any) -> None:
    one = Evaluation(("a", "b"), ("1.png", "2.png"), np.array([0, 1]), np.array([[2, 0], [1, 0]], np.float32))
    data = reports.a_report(tmp_path).data | {"left_out": []}
    found = calibrate(one).to_json() | {"temperature": 0.5, "ece_before": 0.123, "ece_after": 0.0456, "pictures": 99}
    reliability = (one, tempered(one, 0.5))
    for calibration, diagrams in ((found, 2), (found | {"temperature": 1.0, "why": "too few"}, 1)):
        settings = {"calibration": calibration, "reliability": reliability}
        small = reports.a_report(tmp_path, evaluation=one, history=[], batch=[], data=data, notes=(), **settings)
        write_report(tmp_path / "small.html", small)
        page = reports.Page((tmp_path / "small.html").read_text("utf-8"))
        alts = [attrs.get("alt") or "" for tag, attrs in page.tags if tag == "img"]
        assert sum("eliability diagram" in alt for alt in alts) == diagrams
        assert "4.6 % expected calibration error" in page.text
        assert ("divided by a temperature of 0.5, which was fitted on 99 held-out pictures" in page.text) == (
            diagrams == 2
        )
        assert ("went from 12.30 % to 4.56 %" in page.text) == (diagrams == 2)
        assert ("Its probabilities are as it was trained: too few." in page.text) == (diagrams == 1)


def test_the_table_of_classes_sorts_by_numbers(page: Any) -> None:
    values = [attrs["data-value"] for tag, attrs in page.tags if tag == "td" and "data-value" in attrs]
    assert len(values) == 6 * 5
    assert min(float(str(value)) for value in values) == -1
    # The class without pictures has no recall.
    assert values[5 * 5 + 1] == "-1"
