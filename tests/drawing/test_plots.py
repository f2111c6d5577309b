"""The figures are valid pictures, say what they should, and take any class name without a warning."""

from __future__ import annotations

import itertools
import json
import struct
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from mobilenets.drawing import confusion, style
from mobilenets.drawing.confusion import confusion_matrix, draw_confusion, draw_confusions
from mobilenets.drawing.curves import curves, draw_curves, draw_schedule
from mobilenets.drawing.lettering import drawable
from mobilenets.drawing.reliability import reliability_diagram
from mobilenets.measure.metric import TOP1
from mobilenets.measure.metrics import Evaluation
from mobilenets.runtime.labels import Group, Label, Labels

HOSTILE = ["雏菊", "$\\frac{", "a\nb", "\ud800\x1b", "😀", "\U0010ffff", "<script>", "x" * 300]


def size(content: bytes) -> tuple[int, int]:
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def history(epochs: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": float(e),
            "lr": 0.1 / e,
            "train_loss": 2 / e,
            "train_top1": 1 - 1 / (e + 1),
            "validation_loss": 2.2 / e,
            "validation_top1": 0.9 - abs(e - 3) / 10,
            "validation_top5": 1.0,
            "images_per_second": 50.0,
        }
        for e in range(1, epochs + 1)
    ]


def matrix(classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 9, (classes, classes))


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_curves(epochs: int, tmp_path: Path) -> None:
    draw_curves(history(epochs), TOP1, tmp_path / "curves.png")
    width, height = size((tmp_path / "curves.png").read_bytes())
    assert width > 1200 and height > 500


def test_curves_of_a_run_that_kept_the_model_it_started_from() -> None:
    figure = curves(history(5), TOP1, 0)
    assert "kept: the model before training" in words(figure)
    assert len(figure.axes[0].lines) == len(curves(history(5), TOP1, 3).axes[0].lines) - 1


def test_curves_mark_the_best_epoch() -> None:
    assert "best: 90.0 %, epoch 3" in words(curves(history(5), TOP1))
    assert "kept: 80.0 %, epoch 4" in words(curves(history(5), TOP1, 4))
    with pytest.raises(ValueError, match="empty"):
        curves([], TOP1)


@pytest.mark.parametrize("classes", [2, 10, 40, 100])
def test_confusion_grows_and_no_labels_overlap(classes: int, tmp_path: Path) -> None:
    names = [f"class number {k}" for k in range(classes)]
    figure = confusion_matrix(matrix(classes), names)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    cell = figure.get_figwidth() * figure.dpi / classes
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == names
        for one, other in itertools.pairwise(labels):
            if one.get_rotation() % 90:
                # Slanted lines of text lie apart by the cell times the sine.
                assert cell * 0.7 > 1.2 * one.get_fontsize() * figure.dpi / 72
            else:
                assert not one.get_window_extent().overlaps(other.get_window_extent())


def test_confusion_of_a_thousand_classes_stays_within_reason() -> None:
    names = [f"k{k}" for k in range(1000)]
    figure = confusion_matrix(np.eye(1000, dtype=np.int64), names)
    assert figure.get_figwidth() <= 28
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert 100 < len(shown) < 1000
    assert set(shown) <= set(names)


def test_confusion_writes_counts_while_they_fit_and_leaves_zeros_out() -> None:
    counts = np.array([[41, 0], [7, 35]])
    shown = [text.get_text() for text in confusion_matrix(counts, ["a", "b"]).axes[0].texts]
    assert shown == ["41", "7", "35"]
    assert not confusion_matrix(matrix(120), [f"{k}" for k in range(120)]).axes[0].texts


def test_confusion_masks_the_row_of_a_class_without_pictures() -> None:
    counts = np.array([[5, 5], [0, 0]])
    shares = confusion_matrix(counts, ["a", "b"]).axes[0].collections[0].get_array()
    assert shares is not None
    np.testing.assert_array_equal(np.ma.getmaskarray(shares), [[False, False], [True, True]])
    np.testing.assert_array_equal(shares[0], [0.5, 0.5])


def test_any_class_name_can_be_drawn(tmp_path: Path) -> None:
    for suffix in (".png", ".svg"):
        draw_confusion(matrix(len(HOSTILE)), HOSTILE, tmp_path / f"confusion{suffix}")
    assert min(size((tmp_path / "confusion.png").read_bytes())) > 500
    assert ElementTree.parse(tmp_path / "confusion.svg").getroot().tag.endswith("svg")


ONE = Label({"zh": "塑料瓶", "en": "plastic bottle"}, "recyclable")
LABELS = Labels(
    {"00_00": ONE, "00_01": Label({"zh": "易拉罐"}, "recyclable"), "01_00": Label({"en": "eggshell"}, "kitchen")},
    {"recyclable": Group({"zh": "可回收物", "en": "recyclable"}), "kitchen": Group({"zh": "湿垃圾"})},
)


@pytest.mark.parametrize("chinese", [True, False])
def test_confusions_bear_names_that_can_be_drawn(
    chinese: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confusion, "drawable", lambda text: chinese or text.isascii())
    # Whatever fonts this machine has: nothing is drawn here.
    monkeypatch.setattr(confusion, "printable", lambda text: text)
    drawn: list[tuple[list[str], str]] = []
    monkeypatch.setattr(confusion, "save", lambda figure, path: drawn.append((words(figure), path.name)))
    logits = np.random.default_rng(0).normal(0, 1, (6, 3)).astype(np.float32)
    one = Evaluation(("00_00", "00_01", "01_00"), tuple("abcdef"), np.arange(6) % 3, logits)
    draw_confusions(one, LABELS, tmp_path)
    (classes, first), (groups, second) = drawn
    assert (first, second) == ("confusion.png", "confusion_groups.png")
    names = ["塑料瓶 plastic bottle", "易拉罐", "eggshell"] if chinese else ["plastic bottle", "00_01", "eggshell"]
    assert {*names, "true class", "predicted class"} <= set(classes)
    bins = ["可回收物 recyclable", "湿垃圾"] if chinese else ["recyclable", "kitchen"]
    assert {*bins, "true group", "predicted group", "of the true group"} <= set(groups)
    drawn.clear()
    draw_confusions(one, None, tmp_path)
    draw_confusions(one, Labels({"00_00": ONE}, LABELS.groups), tmp_path)
    assert [name for _, name in drawn] == ["confusion.png"] * 2
    assert "00_00" in drawn[0][0]


def test_the_names_of_26_classes_do_not_overlap() -> None:
    example = Path(__file__).resolve().parents[2] / "examples/garbage/classes.json"
    labels = Labels.from_json(json.loads(example.read_text("utf-8")))
    figure = confusion_matrix(matrix(26), labels.shown(tuple(labels.classes), drawable))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert all(not one.get_text().endswith("…") for one in axes.get_yticklabels())
    for one, other in itertools.pairwise(axes.get_yticklabels()):
        assert not one.get_window_extent().overlaps(other.get_window_extent())
    slanted = axes.get_xticklabels()[0]
    assert slanted.get_rotation() == 45
    assert figure.get_figwidth() * figure.dpi / 26 * 0.7 > 1.2 * slanted.get_fontsize() * figure.dpi / 72


def test_reliability(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (50, 4)).astype(np.float32)
    one = Evaluation(("a", "b", "c", "d"), tuple(map(str, range(50))), rng.integers(0, 4, 50), logits)
    style.save(reliability_diagram(one), tmp_path / "reliability.png")
    assert min(size((tmp_path / "reliability.png").read_bytes())) > 500
    figure = reliability_diagram(one)
    assert f"expected calibration error {100 * one.ece:.1f} %" in words(figure)
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == 50  # type: ignore[attr-defined]


def test_the_same_figure_is_the_same_file_and_dark_differs() -> None:
    light = [style.png(curves(history(3), TOP1)) for _ in range(2)]
    assert light[0] == light[1]
    assert light[0] != style.png(curves(history(3), TOP1, theme=style.DARK))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (864, "864"),
        (999.7, "1.0 k"),
        (11_200, "11.2 k"),
        (999_960, "1.00 M"),
        (3_504_872, "3.50 M"),
    ],
)
def test_count(value: float, text: str) -> None:
    assert style.count(value) == text


def test_count_of_millions_and_more() -> None:
    assert style.count(300_774_272) == "300.8 M"
    assert style.count(1_137_000_000) == "1.14 G"


@pytest.mark.parametrize("steps", [1, 2, 300])
def test_the_schedule_is_drawn(steps: int, tmp_path: Path) -> None:
    epochs = [step / 10 for step in range(steps)]
    draw_schedule(epochs, [1e-3 * (1 + epoch) for epoch in epochs], "Learning rate: step", tmp_path / "lr.png")
    width, height = size((tmp_path / "lr.png").read_bytes())
    assert width > 2 * height > 400
