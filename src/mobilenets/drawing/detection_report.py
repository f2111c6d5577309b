"""The report of a detector's run: one HTML file, in the form of a classifier's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image

from mobilenets.drawing.boxes import Drawn, draw_boxes, words_of
from mobilenets.drawing.confusion import confusion_matrix, draw_confusion
from mobilenets.drawing.lettering import drawable
from mobilenets.drawing.page import address_of
from mobilenets.drawing.report import RunReport, on_both, opened, write_run_page
from mobilenets.drawing.style import LIGHT, Theme, dress, new_figure, save, side_note
from mobilenets.measure.detection import AP, DetectionEvaluation
from mobilenets.measure.detection_faults import KINDS, FalseAlarm, Faults, Miss
from mobilenets.measure.matching import SIZES

MARKS = (0.9, 0.7, 0.5, 0.3, 0.1)
"""Scores that are named along the curve."""

SHOWN = 18
"""So many misses, and so many false alarms, each of another picture."""

SIDE = 420  # pixels of a picture in the report
THERE, FOUND, WRONG = LIGHT.green, LIGHT.sky, LIGHT.orange
MOST_CONFUSED = 60
"""With more classes the matrix is left out: it says nothing at that size."""

Fault = TypeVar("Fault", FalseAlarm, Miss)


def precision_recall(evaluation: DetectionEvaluation, theme: Theme = LIGHT) -> Figure:
    """Over the boxes of all classes together, at an overlap of 0.5; a dot marks the evaluation's threshold."""
    recall, precision, scores = evaluation.precision_recall
    figure = new_figure(6, 4.6, theme, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(recall, precision, color=theme.blue, linewidth=1.9, marker="o" if len(scores) < 2 else "")
    places = {int(np.searchsorted(-scores, -score, side="right")) - 1: score for score in reversed(MARKS)}
    for place, score in places.items():
        if place >= 0:
            at = (recall[place], precision[place])
            axes.plot(*at, color=theme.muted, marker="o", markersize=4)
            axes.annotate(f"{score:g}", at, (4, 5), textcoords="offset points", fontsize=8, color=theme.muted)
    if evaluation.precision is not None and evaluation.recall is not None:
        dot: dict[str, Any] = {"markersize": 9, "markeredgecolor": theme.paper, "markeredgewidth": 2}
        axes.plot(evaluation.recall, evaluation.precision, color=theme.orange, marker="o", linestyle="none", **dot)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.04)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, 0, " %"))
    under = ("recall: the share of objects that are found", "precision: the share of boxes that are right")
    dress(axes, theme, "Precision against recall", *under)
    side_note(axes, f"threshold {evaluation.shown_from:.2f}", theme.orange)
    return figure


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectionReport(RunReport):
    """Everything the report of a detector shows.

    ``train`` and ``validation`` in ``data`` count the boxes of each class, ``pictures`` the pictures of both halves.
    ``names`` are the classes as people call them.
    """

    evaluation: DetectionEvaluation
    pictures: tuple[int, int]
    names: Sequence[str]


def write_detection_report(path: Path, report: DetectionReport) -> None:
    """Write the report to ``path``: whole or not at all, with everything it shows inside the file."""
    evaluation, faults = report.evaluation, Faults(report.evaluation)
    figures = {"precision_recall": on_both(lambda theme: precision_recall(evaluation, theme))}
    if len(report.names) <= MOST_CONFUSED:
        shown = [*_drawable(evaluation.classes, report.names), "background"]
        figures["confusion"] = on_both(lambda theme: confusion_matrix(faults.confusion, shown, theme))
    counted = evaluation.matches.counts.sum(axis=0).tolist()
    write_run_page(
        path,
        "detection_report.html",
        report,
        AP,
        figures,
        evaluation=evaluation,
        result=evaluation.to_json(),
        by_group=None,
        names=dict(zip(evaluation.classes, report.names, strict=True)),
        sizes=list(zip(SIZES, counted, strict=True))[1:],
        kinds_of_alarms=[
            (kind, KINDS[kind], number) for kind, number in faults.to_json()["false_alarms_by_kind"].items()
        ],
        misses=[_miss(report, one) for one in _one_a_picture(faults.misses)],
        alarms=[_alarm(report, one) for one in _one_a_picture(faults.false_alarms)],
    )


def _drawable(classes: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names as people call them, as far as a font can draw them."""
    return [name if drawable(name) else own for own, name in zip(classes, names, strict=True)]


def _one_a_picture(faults: Iterable[Fault]) -> list[Fault]:
    """The first fault of each picture, and not too many."""
    first: dict[int, Fault] = {}
    for fault in faults:
        first.setdefault(fault.image, fault)
    return list(first.values())[:SHOWN]


def _miss(report: DetectionReport, miss: Miss) -> dict[str, Any]:
    names, truths = report.names, report.evaluation.truths[miss.image]
    corners = truths.corners[miss.place].tolist()
    name = names[miss.label]
    boxes = [Drawn(corners, words_of(name), THERE, dashed=True), *_found(report, miss.image)]
    said = None if miss.found_as is None else names[miss.found_as]
    return _shown(report, miss.image, corners, boxes) | {"label": name, "found_as": said, "below": miss.below}


def _alarm(report: DetectionReport, alarm: FalseAlarm) -> dict[str, Any]:
    evaluation, names = report.evaluation, report.names
    name = names[alarm.label]
    corners = evaluation.found[alarm.image].corners[alarm.place].tolist()
    truths = evaluation.truths[alarm.image]
    there = [
        Drawn(box, words_of(names[label]), THERE, dashed=True)
        for box, label in zip(truths.corners.tolist(), truths.labels.tolist(), strict=True)
    ]
    boxes = [Drawn(corners, words_of(name, alarm.score), WRONG), *there]
    true = None if alarm.true is None else names[alarm.true]
    about = {"label": name, "score": alarm.score, "kind": alarm.kind, "true": true}
    return _shown(report, alarm.image, corners, boxes) | about


def _found(report: DetectionReport, image: int) -> list[Drawn]:
    """What was found in a picture and is shown."""
    found = report.evaluation.found[image].above(report.evaluation.shown_from)
    return [
        Drawn(box, words_of(report.names[label], score), FOUND)
        for box, label, score in zip(found.corners.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    ]


def _shown(report: DetectionReport, image: int, around: list[float], boxes: Sequence[Drawn]) -> dict[str, Any]:
    """The part of a picture around a box, with boxes drawn."""
    path = report.evaluation.images[image]
    picture = opened(report.root / path)
    if picture is None:
        return {"path": path, "picture": None}
    drawn = draw_boxes(*_near(picture, around, boxes), SIDE, emphasis=1.7)
    return {"path": path, "picture": address_of(drawn, SIDE)}


def _near(picture: Image.Image, around: list[float], boxes: Sequence[Drawn]) -> tuple[Image.Image, list[Drawn]]:
    """Cut a picture to the surroundings of a box that would be too small to see; boxes outside are gone."""
    x0, y0, x1, y1 = around
    wide, high = (min(side, max(4 * max(x1 - x0, y1 - y0), SIDE / 2)) for side in (picture.width, picture.height))
    left = min(max((x0 + x1 - wide) / 2, 0), picture.width - wide)
    upper = min(max((y0 + y1 - high) / 2, 0), picture.height - high)
    window = (round(left), round(upper), round(left + wide), round(upper + high))
    cut = picture.crop(window)
    # Lines and letters are of a size for what is shown.
    scale = SIDE / max(cut.size)
    cut = cut.resize((max(1, round(cut.width * scale)), max(1, round(cut.height * scale))), Image.Resampling.LANCZOS)
    kept = []
    for box in boxes:
        ends = [(float(value) - window[place % 2]) * scale for place, value in enumerate(box.corners)]
        if ends[2] > 0 and ends[3] > 0 and ends[0] < cut.width and ends[1] < cut.height:
            kept.append(Drawn(ends, box.words, box.color, box.dashed))
    return cut, kept


def draw_detection(evaluation: DetectionEvaluation, folder: Path, names: Sequence[str]) -> None:
    """Write ``precision_recall.png`` and, where classes are not too many, ``confusion.png``."""
    save(precision_recall(evaluation), folder / "precision_recall.png")
    if len(evaluation.classes) <= MOST_CONFUSED:
        draw_confusion(
            Faults(evaluation).confusion,
            [*_drawable(evaluation.classes, names), "background"],
            folder / "confusion.png",
        )
