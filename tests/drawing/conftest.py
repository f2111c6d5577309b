"""A report of a classifier whose classes and files have hostile names, and what reads its page."""

from __future__ import annotations

import dataclasses
import io
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.datasets.listing import Problem
from mobilenets.drawing import report as report_module
from mobilenets.drawing.report import Report, write_report
from mobilenets.measure.metrics import Evaluation

SECTIONS = ["result", "curves", "confusion", "classes", "mistakes", "reliability", "batch", "data", "recipe"]
VOID = {"meta", "img", "source", "br", "link", "input", "hr"}
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="session")
def reports() -> Any:
    """Give the helpers of this file."""
    return sys.modules[__name__]


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

    @property
    def sections(self) -> list[str | None]:
        return [attrs["id"] for tag, attrs in self.tags if tag == "section"]


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


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    write_report(folder / "report.html", a_report(folder))
    return (folder / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)
