"""The report: whole, self-contained, and safe whatever the classes and files are called."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.datasets.listing import Problem
from mobilenets.drawing.report import percent, shown, span, write_report
from mobilenets.measure.metrics import Evaluation
from mobilenets.runtime.labels import Group, Label, Labels


def test_every_section_is_there_in_order(page: Any, reports: Any) -> None:
    assert page.sections == reports.SECTIONS


def test_nothing_is_loaded_from_outside(page: Any, source: str) -> None:
    for tag, attrs in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "a")
        for name in ("src", "srcset", "href", "action", "poster", "data"):
            assert str(attrs.get(name, "data:")).startswith("data:"), (tag, attrs)
        assert not any(name.startswith("on") for name in attrs)
    assert "http://" not in source and "https://" not in source
    assert "url(" not in source and "@import" not in source
    policies = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv")]
    assert len(policies) == 1 and "default-src 'none'" in str(policies[0])


def test_hostile_names_are_text_and_nothing_else(page: Any, source: str, reports: Any) -> None:
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    # The tiles' headline figures are all that is bold.
    tiles = [tag for tag, attrs in page.tags if str(attrs.get("class")).split()[0] == "tile"]
    assert sum(tag == "b" for tag, _ in page.tags) == len(tiles) == 8
    assert reports.EVIL not in source
    assert reports.EVIL in page.text
    assert 'a" onmouseover="x' in page.text
    assert "Trained on <b>few</b> pictures." in page.text
    assert "What would help next Add pictures of <i>daisy</i>." in page.text
    # Bytes that are no text are shown as what they are.
    assert r"train/\udcff<b>.jpg" in page.text
    assert r"val/\udce9.png" in page.text


def test_every_picture_decodes(page: Any) -> None:
    addresses = [attrs.get("src") or attrs.get("srcset") for tag, attrs in page.tags if tag in ("img", "source")]
    # Three figures for light and for dark, the mistakes that open, and the batch of two.
    assert len(addresses) == 3 * 2 + 22 + 2
    for address in addresses:
        head, _, body = str(address).partition(";base64,")
        image = Image.open(io.BytesIO(base64.b64decode(body, validate=True)))
        assert head == f"data:image/{str(image.format).lower()}"
        image.load()


@pytest.mark.usefixtures("undrawn")
def test_the_model_before_training_kept(tmp_path: Path, reports: Any) -> None:
    write_report(tmp_path / "report.html", reports.a_report(tmp_path, best_epoch=0))
    text = reports.Page((tmp_path / "report.html").read_text("utf-8")).text
    assert "kept the model it started from" in text and "dotted line" not in text


def test_no_sideways_scrolling_on_a_phone(chromium: Any, tmp_path: Path, reports: Any) -> None:
    """26 classes with long names and long paths, 300 pictures, a mistake beside every picture."""
    rng = np.random.default_rng(0)
    classes = tuple(f"{number:02} plastic_bottles_and_other_containers" for number in range(26))
    (tmp_path / "val").mkdir()
    paths = tuple(f"val/a_photo_with_a_name_that_has_no_space_anywhere_{number:04}.png" for number in range(312))
    for path in paths:
        Image.new("RGB", (96, 96), tuple(rng.integers(0, 255, 3).tolist())).save(tmp_path / path)
    labels = np.arange(312) % 26
    logits = rng.normal(0, 1, (312, 26)) + 2 * np.eye(26)[labels]
    groups = {name: Group({"en": f"group of {name}"}) for name in "abcd"}
    kinds = {name: Label({"en": name[3:]}, "abcd"[number % 4]) for number, name in enumerate(classes)}
    report = reports.a_report(
        tmp_path,
        evaluation=Evaluation(classes, paths, labels, logits.astype(np.float32)),
        data=reports.a_report(tmp_path).data | {"source": "/home/" + "x" * 90, "fingerprint": "f" * 64},
        labels=Labels(kinds, groups),
        next_steps=["Train longer: mobilenets train /home/" + "y" * 80],
        explain=lambda image, _: image,
    )
    write_report(tmp_path / "report.html", report)
    for width in (360, 390):
        chromium.open((tmp_path / "report.html").as_uri(), width, 740, True)
        check_sides(chromium, width)


def check_sides(chromium: Any, width: int) -> None:
    assert chromium.run("document.documentElement.scrollWidth") == width
    wider = "[...document.querySelectorAll('main *')].filter((one) => one.scrollWidth > one.clientWidth + 1"
    assert chromium.run(f"{wider} && getComputedStyle(one).overflowX !== 'visible').map((one) => one.className)") == []
    beyond = "(one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1"
    assert chromium.run(f"[...document.querySelectorAll('main *')].filter({beyond}).length") == 0
    assert chromium.run("document.documentElement.scrollHeight") < 16_000
    # And with all that is folded away.
    chromium.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert chromium.run("document.documentElement.scrollWidth") == width
    assert chromium.run("document.documentElement.scrollHeight") < 16_000


def test_the_figures_are_said_in_words(page: Any, tmp_path: Path, reports: Any) -> None:
    one = reports.a_report(tmp_path).evaluation
    low, high = one.top1_interval
    said = f"{100 * one.top1:.1f} % of 40 pictures never trained on are classified correctly (top-1); "
    assert said + f"95 % interval {100 * low:.1f}\N{EN DASH}{100 * high:.1f}" in page.text
    for words in (
        "1.23 M parameters",
        "98.8 M multiply-accumulates per picture",
        "1 h 10 min in all, 1 h 02 min of it training",
        f"Always answering the largest class would get {100 * one.baseline_top1:.1f}",
        "epoch 2 of 2",
    ):
        assert words in page.text
    assert "trained from scratch" in page.text
    assert "mobilenets train 'flowers & more' --out run" in page.text
    assert "100 for training and 48 for validation" in page.text
    wrong = len(one.mistakes(40))
    assert f"{wrong} of 40 pictures were misclassified" in page.text
    assert page.text.count("cannot be opened") == 2


@pytest.mark.usefixtures("undrawn")
def test_small_reports(tmp_path: Path, reports: Any) -> None:
    """One picture, no history, no batch, nothing wrong: every section that is left still reads well."""
    one = Evaluation(("a", "b"), ("1.png",), np.array([0]), np.array([[2, 0]], np.float32))
    data = reports.a_report(tmp_path).data | {"left_out": []}
    small = reports.a_report(tmp_path, evaluation=one, history=[], batch=[], data=data, notes=(), title="one")
    write_report(tmp_path / "small.html", small)
    page = reports.Page((tmp_path / "small.html").read_text("utf-8"))
    ids = page.sections
    assert ids == [name for name in reports.SECTIONS if name not in ("curves", "batch")]
    assert "of 1 picture never trained on is classified correctly" in page.text
    assert "None: every picture was classified correctly." in page.text
    assert "Nothing: every file in the folder was used." in page.text
    assert "top-5" not in page.text


@pytest.mark.usefixtures("undrawn")
def test_many_problems_are_cut_short_and_counted(tmp_path: Path, reports: Any) -> None:
    data = reports.a_report(tmp_path).data | {"left_out": [Problem("duplicate", f"{i}.jpg", "") for i in range(250)]}
    write_report(tmp_path / "many.html", reports.a_report(tmp_path, data=data))
    text = reports.Page((tmp_path / "many.html").read_text("utf-8")).text
    assert "250 × duplicate" in text
    assert "… and 50 more." in text
    assert "199.jpg" in text and "200.jpg" not in text


def test_words() -> None:
    assert percent(0.97222) == "97.2\N{NO-BREAK SPACE}%"
    assert percent(None) == span(None) == "\N{EN DASH}"
    assert span((0.95, 0.9851)) == "95.0\N{EN DASH}98.5"
    assert [shown(v) for v in (None, True, 0.1, 4e-5, [1, "ä"], "x")] == [
        "none", "yes", "0.1", "4e-05", '[1, "ä"]', "x",
    ]  # fmt: skip
