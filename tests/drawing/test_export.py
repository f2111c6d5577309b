from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from mobilenets.drawing import export as export_plot
from mobilenets.drawing.export import draw_export, export_figure
from mobilenets.drawing.style import LIGHT
from mobilenets.measure.metrics import Evaluation
from mobilenets.measure.paired import Pair
from mobilenets.runtime.labels import Label, Labels


def pair(classes: Sequence[str], images: int, noise: float) -> Pair:
    """A model that is mostly right, and a file that differs from it by so much noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(images) % len(classes)
    logits = 1.5 * rng.normal(size=(images, len(classes))) + 6 * np.eye(len(classes))[labels] * rng.random((images, 1))
    names = tuple(map(str, range(images)))
    ours, theirs = (
        Evaluation(tuple(classes), names, labels, (logits + more).astype(np.float32))
        for more in (0, rng.normal(0, noise, logits.shape) if noise else 0)
    )
    return Pair(ours, theirs)


def numbered(count: int) -> list[str]:
    return [f"class {number}" for number in range(count)]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def drawn(figure: Figure) -> Iterator[Text]:
    """Give the texts that are seen; labels of ticks beyond the ends of an axis are not."""
    for axes in figure.axes:
        yield axes._left_title  # type: ignore[attr-defined]
        yield from axes.texts
        legend = axes.get_legend()
        if legend is not None:
            yield from legend.get_texts()
        for axis in (axes.xaxis, axes.yaxis):
            yield axis.label
            low, high = sorted(axis.get_view_interval())
            for place, tick in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True):
                if low <= place <= high:
                    yield tick


LONG = [f"{number:02} 塑料瓶 plastic bottle of some kind" for number in range(26)]
CASES = {
    "few pictures": (numbered(2), 8, 1.0, 50.0),
    "10 classes": (numbered(10), 359, 0.3, 0.5),
    "26 long names": (LONG, 312, 0.8, 0.5),
    "many pictures": (numbered(200), 20_000, 2.0, 0.5),
    "equal": (numbered(10), 100, 0.0, 0.05),
}


@pytest.mark.parametrize("case", CASES)
def test_no_words_overlap(case: str) -> None:
    classes, images, noise, tolerance = CASES[case]
    figure = export_figure(pair(classes, images, noise), tolerance, classes)
    figure.draw_without_rendering()
    shown = [(text.get_text(), text.get_window_extent()) for text in drawn(figure) if text.get_text().strip()]
    assert len(shown) > 10
    for (word, box), (other, place) in itertools.combinations(shown, 2):
        assert not box.overlaps(place), (word, other)


def test_what_is_drawn() -> None:
    found = pair(numbered(10), 359, 0.3)
    figure = export_figure(found, 0.5, numbered(10))
    left, middle, right = figure.axes
    both, lost, gained, neither = found.table
    assert {f"{both + neither} same", f"{lost} lost", f"{gained} gained", "allowed: −0.50"} <= set(words(figure))
    dots = {dot.get_label(): np.asarray(dot.get_offsets()) for dot in middle.collections}
    assert len(dots[f"{lost} lost"]) == lost > 0
    gone = (found.reference.ranks == 0) & (found.candidate.ranks > 0)
    labels = found.reference.labels[gone]
    ours, theirs = (one.probabilities[gone, labels] for one in (found.reference, found.candidate))
    np.testing.assert_allclose(dots[f"{lost} lost"], np.stack([ours, theirs], 1))
    assert any(f"{100 * found.top1_change:+.2f}".replace("-", "−") in word for word in words(figure))
    assert [list(np.asarray(line.get_ydata())) for line in left.lines[:2]] == [[0, 0], [-0.5, -0.5]]
    widths = [bar.get_width() for bar in right.patches]
    assert widths == sorted(widths)
    worst = found.worst_class()
    assert worst is not None
    assert right.get_yticklabels()[0].get_text() == worst["class"]
    assert widths[0] == pytest.approx(100 * worst["change"])
    assert right.patches[0].get_facecolor()[:3] == pytest.approx(
        [int(LIGHT.orange[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    )


def test_at_most_twelve_classes_the_worst_above() -> None:
    found = pair(LONG, 312, 0.8)
    right = export_figure(found, 0.5, LONG).axes[2]
    assert len(right.patches) == 12
    changes = sorted(
        found.candidate.per_class[name].recall - found.reference.per_class[name].recall  # type: ignore[operator]
        for name in LONG
    )
    assert [bar.get_width() for bar in right.patches] == pytest.approx([100 * change for change in changes[:12]])
    assert right.get_xlabel().startswith("worst 12 of ")


def test_nothing_changed() -> None:
    figure = export_figure(pair(numbered(3), 30, 0.0), 0.05, numbered(3))
    assert {"no class changed", "30 same", "0 lost", "0 gained"} <= set(words(figure))
    assert not figure.axes[2].patches


def test_draw_by_readable_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = Labels({"0": Label({"en": "Bottle"})})
    figures = []
    keep = export_plot.save
    monkeypatch.setattr(export_plot, "save", lambda figure, path: (figures.append(figure), keep(figure, path)))
    draw_export(pair(["0", "1", "2"], 60, 2.0), 0.5, labels, tmp_path / "export.png")
    assert {"Bottle", "1", "2"} <= {label.get_text() for label in figures[0].axes[2].get_yticklabels()}
    with Image.open(tmp_path / "export.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 2 * picture.height > 800


def test_no_interval_where_nothing_changed() -> None:
    shown = words(export_figure(pair(numbered(3), 17, 0.0), 0.05, numbered(3)))
    assert "the same answer\non all 17" in shown
    assert not any(" to " in word for word in shown)
    one = pair(numbered(3), 60, 0.0)
    wrong = int(np.flatnonzero(one.reference.ranks > 0)[0])
    logits = one.candidate.logits.copy()
    other = next(c for c in range(3) if c not in (one.candidate.predicted[wrong], one.candidate.labels[wrong]))
    logits[wrong, other] = 50
    changed = Pair(one.reference, Evaluation(one.candidate.classes, one.candidate.images, one.candidate.labels, logits))
    assert "the same ones\nright" in words(export_figure(changed, 0.05, numbered(3)))
