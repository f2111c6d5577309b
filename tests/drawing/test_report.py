"""The report: whole, self-contained, and safe whatever the classes and files are called."""

from __future__ import annotations

import base64
import dataclasses
import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.datasets.listing import Problem
from mobilenets.drawing import report as report_module
from mobilenets.drawing.report import Report, percent, shown, span, write_report
from mobilenets.measure.calibration import calibrate, tempered
from mobilenets.measure.groups import groups_to_json
from mobilenets.measure.metrics import Evaluation
from mobilenets.runtime.labels import Group, Label, Labels

SECTIONS = ["result", "curves", "confusion", "classes", "mistakes", "reliability", "batch", "data", "recipe"]
VOID = {"meta", "img", "source", "br", "link", "input", "hr"}
EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Reads a page and fails on a tag that is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.stack: list[str] = []
        self.feed(text)
        self.close()
        assert not self.stack, f"never closed: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def a_report(root: Path, **changes: Any) -> Report:
    rng = np.random.default_rng(3)
    classes = ("daisy", EVIL, "郁金香", 'a" onmouseover="x', "e", "never seen")
    names = [f"val/{i}.png" for i in range(38)] + ["val/\udce9.png", "val/\x00.png"]
    (root / "val").mkdir(exist_ok=True)
    for i in range(38):
        Image.new("RGB", (30 + 10 * i, 40), (6 * i, 100, 50)).save(root / names[i])
    labels = rng.integers(0, 5, 40)
    logits = rng.normal(0, 1, (40, 6))
    # The two whose files cannot be opened are the surest mistakes.
    logits[38:, 0] = 9
    labels[38:] = 1
    row = {
        "lr": 0.1,
        "train_loss": 1.0,
        "train_top1": 0.5,
        "validation_loss": 1.2,
        "validation_top1": 0.4,
        "validation_top5": 0.9,
        "images_per_second": 10.0,
    }
    report = Report(
        title=f"flowers {EVIL}",
        model={
            "name": "mobilenet_v2",
            "width": 0.5,
            "size": 96,
            "parameters": 1_234_567,
            "macs": 98_765_432,
            "weights_from": "none",
        },
        evaluation=Evaluation(classes, tuple(names), labels, logits.astype(np.float32)),
        history=[row | {"epoch": 1.0}, row | {"epoch": 2.0}],
        recipe={
            "optimizer": "sgd",
            "lr": 0.1,
            "ema": True,
            "augment": None,
            "betas": [0.9, 0.999],
            EVIL: EVIL,
        },
        data={
            "train": {"daisy": 70, EVIL: 30},
            "validation": dict.fromkeys(classes, 8),
            "source": "/data/flowers & more",
            "fingerprint": "abc123",
            "left_out": [
                Problem("unreadable", "train/\udcff<b>.jpg", "truncated"),
                Problem("leak", "x", "y"),
            ],
        },
        hardware={"device": "cpu"},
        seconds=3725.0,
        total_seconds=4205.0,
        next_steps=["Add pictures of <i>daisy</i>."],
        best_epoch=2,
        batch=[(Image.new("RGB", (96, 96), (255, 0, 0)), "daisy"), (Image.new("RGB", (32, 32)), EVIL)],
        versions={"torch": "2.9"},
        command="mobilenets train 'flowers & more' --out run",
        notes=["Trained on <b>few</b> pictures."],
        root=root,
    )
    return dataclasses.replace(report, **changes)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures empty, which take most of the time, where what stands around them is looked at."""
    dot = io.BytesIO()
    Image.new("RGB", (9, 9)).save(dot, "PNG")
    monkeypatch.setattr(report_module, "png", lambda figure: dot.getvalue())
    for name in ("confusion_matrix", "reliability_diagram", "curves"):
        monkeypatch.setattr(report_module, name, lambda *_, **__: None)


@pytest.mark.usefixtures("undrawn")
def test_folds_seeds_and_labels_that_look_wrong_are_shown(tmp_path: Path) -> None:
    fold = {"images": 20, "epoch": 7, "top1": 0.75}
    crossed = {"top1": 0.7, "top1_interval": [0.6, 0.8], "images": 40, "epoch": 9, "folds": [fold, fold]}
    run = {"seed": 4, "value": 0.91, "validation": 0.93, "epoch": 2}
    report = a_report(
        tmp_path,
        cross_validation=crossed,
        crossed=True,
        seeds={"mean": 0.9, "deviation": 0.01, "kept": 4, "runs": [run]},
        suspects=[{"path": "val/3.png", "given": "daisy", "suggested": EVIL, "score": 8.0}],
    )
    write_report(tmp_path / "report.html", report)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "by a model that did not learn from them: cross-validated in 2 folds" in page
    assert "never trained on" not in page and "all for training" in page
    assert all(f'<section id="{name}">' in page for name in ("folds", "seeds", "suspects"))
    assert "val/3.png" in page and EVIL not in page


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    write_report(folder / "report.html", a_report(folder))
    return (folder / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_every_section_is_there_in_order(page: Page) -> None:
    assert [attrs["id"] for tag, attrs in page.tags if tag == "section"] == SECTIONS


def test_nothing_is_loaded_from_outside(page: Page, source: str) -> None:
    for tag, attrs in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "a")
        for name in ("src", "srcset", "href", "action", "poster", "data"):
            assert str(attrs.get(name, "data:")).startswith("data:"), (tag, attrs)
        assert not any(name.startswith("on") for name in attrs)
    assert "http://" not in source and "https://" not in source
    assert "url(" not in source and "@import" not in source
    policies = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv")]
    assert len(policies) == 1 and "default-src 'none'" in str(policies[0])


def test_hostile_names_are_text_and_nothing_else(page: Page, source: str) -> None:
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    # The tiles' headline figures are all that is bold.
    tiles = [tag for tag, attrs in page.tags if str(attrs.get("class")).split()[0] == "tile"]
    assert sum(tag == "b" for tag, _ in page.tags) == len(tiles) == 8
    assert EVIL not in source
    assert EVIL in page.text
    assert 'a" onmouseover="x' in page.text
    assert "Trained on <b>few</b> pictures." in page.text
    assert "What would help next Add pictures of <i>daisy</i>." in page.text
    # Bytes that are no text are shown as what they are.
    assert r"train/\udcff<b>.jpg" in page.text
    assert r"val/\udce9.png" in page.text


def test_every_picture_decodes(page: Page) -> None:
    addresses = [attrs.get("src") or attrs.get("srcset") for tag, attrs in page.tags if tag in ("img", "source")]
    # Three figures for light and for dark, the mistakes that open, and the batch of two.
    assert len(addresses) == 3 * 2 + 22 + 2
    for address in addresses:
        head, _, body = str(address).partition(";base64,")
        image = Image.open(io.BytesIO(base64.b64decode(body, validate=True)))
        assert head == f"data:image/{str(image.format).lower()}"
        image.load()


@pytest.mark.usefixtures("undrawn")
def test_what_the_network_looked_at_stands_beside_each_mistake(tmp_path: Path) -> None:
    asked: list[tuple[tuple[int, int], int]] = []

    def explain(image: Image.Image, index: int) -> Image.Image:
        asked.append((image.size, index))
        return Image.new("RGB", (320, 320), (0, 0, 255))

    report = a_report(tmp_path, explain=explain)
    write_report(tmp_path / "report.html", report)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    mistakes = report.evaluation.mistakes(24)
    opened = [one for one in mistakes if one.index < 38]
    assert asked == [((30 + 10 * one.index, 40), one.predicted) for one in opened]
    looked = [attrs["src"] for tag, attrs in page.tags if attrs.get("alt") == "what the network looked at"]
    assert len(looked) == len(opened) == 22
    image = Image.open(io.BytesIO(base64.b64decode(str(looked[0]).partition(",")[2])))
    assert image.size == (192, 192) and image.format == "JPEG"
    assert "the lighter a region, the more it supported the wrong class" in page.text


def test_without_explanations_nothing_is_said_of_them(page: Page) -> None:
    assert "supported" not in page.text
    assert not any("twins" in str(attrs.get("class")) for _, attrs in page.tags)


@pytest.mark.usefixtures("undrawn")
def test_classes_by_name_and_a_section_by_group(tmp_path: Path) -> None:
    kinds = {
        "daisy": Label({"zh": "雏菊", "en": "daisy flower"}, "white"),
        EVIL: Label({"en": f"evil {EVIL}"}, "other"),
        "郁金香": Label({"en": "tulip"}, "other"),
        'a" onmouseover="x': Label({}, "white"),
        "e": Label({}, "white"),
        "never seen": Label({}, "other"),
    }
    labels = Labels(kinds, {"white": Group({"zh": "白", "en": "white"}, "#fefefe"), "other": Group()})
    report = a_report(tmp_path, labels=labels)
    write_report(tmp_path / "report.html", report)
    source = (tmp_path / "report.html").read_text("utf-8")
    page = Page(source)
    ids = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert ids == [*SECTIONS[:4], "groups", *SECTIONS[4:]]
    assert EVIL not in source
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
        f"labelled evil {EVIL}",
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
def test_the_classes_confused_most_often_come_first(tmp_path: Path) -> None:
    labels = np.array([0] * 5 + [1] * 5 + [2] * 2)
    answers = np.array([0, 1, 1, 1, 1, 0, 0, 1, 1, 2, 2, 0])
    names = tuple(f"{place}.png" for place in range(12))
    one = Evaluation(("cat", "dog", "owl"), names, labels, 3 * np.eye(3, dtype=np.float32)[answers])
    write_report(tmp_path / "report.html", a_report(tmp_path, evaluation=one))
    # What happened once is no pattern.
    assert "Most often: cat as dog (4); dog as cat (2)." in Page((tmp_path / "report.html").read_text("utf-8")).text


@pytest.mark.usefixtures("undrawn")
def test_the_model_before_training_kept(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", a_report(tmp_path, best_epoch=0))
    text = Page((tmp_path / "report.html").read_text("utf-8")).text
    assert "kept the model it started from" in text and "dotted line" not in text


def test_no_sideways_scrolling_on_a_phone(chromium: Any, tmp_path: Path) -> None:
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
    report = a_report(
        tmp_path,
        evaluation=Evaluation(classes, paths, labels, logits.astype(np.float32)),
        data=a_report(tmp_path).data | {"source": "/home/" + "x" * 90, "fingerprint": "f" * 64},
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


@pytest.mark.usefixtures("undrawn")
def test_names_without_groups(tmp_path: Path) -> None:
    labels = Labels({"daisy": Label({"zh": "雏菊"}, "white")}, {"white": Group({}, "#fefefe")})
    write_report(tmp_path / "report.html", a_report(tmp_path, labels=labels))
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert [attrs["id"] for tag, attrs in page.tags if tag == "section"] == SECTIONS
    assert "雏菊" in page.text and "By group" not in page.text and "groups" not in page.text


def test_the_figures_are_said_in_words(page: Page, tmp_path: Path) -> None:
    one = a_report(tmp_path).evaluation
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
def test_reliability_without_and_with_the_temperature(tmp_path: Path) -> None:
    one = Evaluation(("a", "b"), ("1.png", "2.png"), np.array([0, 1]), np.array([[2, 0], [1, 0]], np.float32))
    data = a_report(tmp_path).data | {"left_out": []}
    found = calibrate(one).to_json() | {"temperature": 0.5, "ece_before": 0.123, "ece_after": 0.0456, "pictures": 99}
    reliability = (one, tempered(one, 0.5))
    for calibration, diagrams in ((found, 2), (found | {"temperature": 1.0, "why": "too few"}, 1)):
        settings = {"calibration": calibration, "reliability": reliability}
        small = a_report(tmp_path, evaluation=one, history=[], batch=[], data=data, notes=(), **settings)
        write_report(tmp_path / "small.html", small)
        page = Page((tmp_path / "small.html").read_text("utf-8"))
        alts = [attrs.get("alt") or "" for tag, attrs in page.tags if tag == "img"]
        assert sum("eliability diagram" in alt for alt in alts) == diagrams
        assert "4.6 % expected calibration error" in page.text
        assert ("divided by a temperature of 0.5, which was fitted on 99 held-out pictures" in page.text) == (
            diagrams == 2
        )
        assert ("went from 12.30 % to 4.56 %" in page.text) == (diagrams == 2)
        assert ("Its probabilities are as it was trained: too few." in page.text) == (diagrams == 1)


def test_the_table_of_classes_sorts_by_numbers(page: Page) -> None:
    values = [attrs["data-value"] for tag, attrs in page.tags if tag == "td" and "data-value" in attrs]
    assert len(values) == 6 * 5
    assert min(float(str(value)) for value in values) == -1
    # The class without pictures has no recall.
    assert values[5 * 5 + 1] == "-1"


@pytest.mark.usefixtures("undrawn")
def test_small_reports(tmp_path: Path) -> None:
    """One picture, no history, no batch, nothing wrong: every section that is left still reads well."""
    one = Evaluation(("a", "b"), ("1.png",), np.array([0]), np.array([[2, 0]], np.float32))
    data = a_report(tmp_path).data | {"left_out": []}
    small = a_report(tmp_path, evaluation=one, history=[], batch=[], data=data, notes=(), title="one")
    write_report(tmp_path / "small.html", small)
    page = Page((tmp_path / "small.html").read_text("utf-8"))
    ids = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert ids == [name for name in SECTIONS if name not in ("curves", "batch")]
    assert "of 1 picture never trained on is classified correctly" in page.text
    assert "None: every picture was classified correctly." in page.text
    assert "Nothing: every file in the folder was used." in page.text
    assert "top-5" not in page.text


@pytest.mark.usefixtures("undrawn")
def test_many_problems_are_cut_short_and_counted(tmp_path: Path) -> None:
    data = a_report(tmp_path).data | {"left_out": [Problem("duplicate", f"{i}.jpg", "") for i in range(250)]}
    write_report(tmp_path / "many.html", a_report(tmp_path, data=data))
    text = Page((tmp_path / "many.html").read_text("utf-8")).text
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
