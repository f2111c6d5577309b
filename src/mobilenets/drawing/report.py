"""The report of a training run: one HTML file that opens anywhere, without a network."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mobilenets.base.files import write_bytes
from mobilenets.base.progress import duration
from mobilenets.drawing.confusion import confusion_matrix
from mobilenets.drawing.curves import curves
from mobilenets.drawing.lettering import drawable
from mobilenets.drawing.page import address_of, data_address, write_page
from mobilenets.drawing.reliability import reliability_diagram
from mobilenets.drawing.style import DARK, DPI, LIGHT, Theme, count, png
from mobilenets.errors import InputError
from mobilenets.measure.groups import grouped, groups_to_json
from mobilenets.measure.metric import TOP1, Metric
from mobilenets.measure.metrics import Evaluation, Interval
from mobilenets.pictures.decode import decode
from mobilenets.runtime.labels import Labels

DASH = "\N{EN DASH}"
MISTAKES = 24
SUSPECTS = 48
BATCH = 32
LEFT_OUT = 200
CONFUSED = 6
THUMBNAIL = 192  # pixels: sharp at twice the size at which the page shows it


@dataclass(frozen=True, eq=False, kw_only=True)
class RunReport:
    """What the report of a run of any task shows beside its figures.

    ``model`` has the network's ``name width size parameters macs`` and ``weights_from``; ``data`` how many pictures of
    each class ``train`` and ``validation`` have, their ``source`` and ``fingerprint``, and the problems ``left_out``.
    ``history`` holds the rows of history.csv, of which ``best_epoch`` is the one whose model was kept;
    epoch 0 is the model that training started from. ``seconds`` is the time of the epochs, ``total_seconds`` that of
    the whole run. ``next_steps`` say what would help. ``batch`` holds some training pictures as the network saw them,
    with their labels. ``command`` repeats the run. ``taught_by`` names the teacher, if there was one. The pictures that
    the evaluation names are opened below ``root``; one that does not open is shown by its name alone.
    """

    title: str
    model: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    recipe: Mapping[str, Any]
    data: Mapping[str, Any]
    hardware: Mapping[str, Any]
    seconds: float
    best_epoch: int
    batch: Sequence[tuple[Image.Image, str]]
    versions: Mapping[str, str]
    command: str
    notes: Sequence[str] = ()
    next_steps: Sequence[str] = ()
    total_seconds: float | None = None
    root: Path = field(default_factory=Path)
    cross_validation: Mapping[str, Any] | None = None
    crossed: bool = False
    seeds: Mapping[str, Any] | None = None
    taught_by: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Report(RunReport):
    """Everything the report of a classifier shows.

    ``explain`` draws what the network looked at when it gave a picture the class of that index; without it the report
    leaves this out. ``labels`` name the classes for people, and add a section by group where all of them have one.
    ``calibration`` is what ``model.json`` says of the temperature, and ``reliability`` has the evaluations to draw
    without and with it, if there are any. ``cross_validation`` and ``seeds`` are those of ``metrics.json``; ``crossed``
    where ``evaluation`` is what the models of the folds answered. ``suspects`` are pictures whose labels look wrong,
    with ``path``, ``given``, ``suggested`` and ``score``. ``figures`` are those of ``draw_figures``, if drawn.
    """

    evaluation: Evaluation
    labels: Labels | None = None
    calibration: Mapping[str, Any] = field(default_factory=dict)
    reliability: tuple[Evaluation | None, Evaluation | None] = (None, None)
    explain: Callable[[Image.Image, int], Image.Image] | None = None
    suspects: Sequence[Mapping[str, Any]] = ()
    figures: Mapping[str, Drawing] | None = None


def write_report(path: Path, report: Report) -> None:
    """Write the report to ``path``: whole or not at all, with everything it shows inside the file."""
    labels = report.labels or Labels({})
    classes = report.evaluation.classes
    by_group = grouped(report.evaluation, labels)
    write_run_page(
        path,
        "report.html",
        report,
        TOP1,
        draw_figures(report) if report.figures is None else report.figures,
        evaluation=report.evaluation,
        # With the temperatures of folds, where the same pictures gave the temperature.
        fair=report.reliability[1] or report.evaluation,
        ece=report.calibration.get("ece_after", report.evaluation.ece),
        names=dict(zip(classes, labels.shown(classes), strict=True)),
        colors={label: None if (group := labels.group(label)) is None else labels.color(group) for label in classes},
        groups=groups_to_json(report.evaluation, labels),
        by_group=None if by_group is None else _groups(by_group, labels, classes),
        mistakes=_mistakes(report),
        suspects=_suspects(report),
        confused=_confused(report.evaluation),
    )


def write_run_page(
    path: Path, template: str, report: RunReport, metric: Metric, figures: Mapping[str, Drawing], **values: Any
) -> None:
    """Write a report by the ``template`` of this folder, which extends ``report.html``, with the values it names."""
    if report.history and "curves" not in figures:
        figures = {**figures, "curves": on_both(lambda theme: curves(report.history, metric, report.best_epoch, theme))}
    write_page(
        path,
        template,
        {"count": count, "percent": percent, "span": span, "shown": shown},
        report=report,
        metric=metric.title,
        figures=figures,
        batch=[(address_of(image, THUMBNAIL), label) for image, label in report.batch[:BATCH]],
        time=duration(report.seconds if report.total_seconds is None else report.total_seconds),
        training_time=duration(report.seconds),
        kinds=Counter(problem.kind for problem in report.data["left_out"]).most_common(),
        left_out=report.data["left_out"][:LEFT_OUT],
        **values,
    )


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction as a percentage, 0.9722 as 97.2 %; a dash for None."""
    return DASH if fraction is None else f"{100 * fraction:.{digits}f}\N{NO-BREAK SPACE}%"


def span(interval: Interval | None, scale: float = 100, digits: int = 1) -> str:
    """An interval as its two ends, (0.950, 0.985) as 95.0 to 98.5 with a dash between; a dash for None."""
    if interval is None:
        return DASH
    low, high = (f"{scale * end:.{digits}f}" for end in interval)
    return f"{low}{DASH}{high}"


def shown(value: object) -> str:
    """The value of a setting as the report writes it."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, ensure_ascii=False, default=str)


@dataclass(frozen=True)
class Drawing:
    """A figure as data addresses, for light and dark paper; ``width`` in CSS pixels keeps its true size."""

    light: str
    dark: str
    width: int


def _groups(by_group: Evaluation, labels: Labels, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of the table of groups."""
    kinds = Counter(labels.group(label) for label in classes)
    return [
        {"name": name, "color": labels.color(group), "score": by_group.per_class[group], "kinds": kinds[group]}
        for group, name in zip(by_group.classes, labels.shown_groups(by_group.classes), strict=True)
    ]


def on_both(draw: Callable[[Theme], Figure], file: Path | None = None) -> Drawing:
    """Draw a figure for light and for dark paper; the former is written to ``file`` too, if there is one."""
    light, dark = (png(draw(theme)) for theme in (LIGHT, DARK))
    if file is not None:
        write_bytes(file, light)
    # A PNG's width stands in its first chunk, after the signature, the chunk's length and its name.
    width = int.from_bytes(light[16:20], "big") * 96 // DPI
    return Drawing(data_address("png", light), data_address("png", dark), width)


def draw_figures(report: Report, folder: Path | None = None) -> dict[str, Drawing]:
    """Draw the figures of a report.

    Those of curves and confusions are written into ``folder`` too, if there is one, as ``draw_curves`` and
    ``draw_confusions`` write them.
    """
    evaluation, (before, after), labels = report.evaluation, report.reliability, report.labels or Labels({})
    names, by_group = labels.shown(evaluation.classes, drawable), grouped(evaluation, labels)

    def both(draw: Callable[[Theme], Figure], name: str) -> Drawing:
        return on_both(draw, None if folder is None else folder / f"{name}.png")

    figures = {
        "confusion": both(lambda theme: confusion_matrix(evaluation.confusion, names, theme), "confusion"),
        "reliability": on_both(lambda theme: reliability_diagram(after or evaluation, theme)),
    }
    if report.history:
        figures["curves"] = both(lambda theme: curves(report.history, TOP1, report.best_epoch, theme), "curves")
    if before is not None and report.calibration.get("temperature", 1) != 1:
        figures["before"] = on_both(lambda theme: reliability_diagram(before, theme, "Reliability before calibration"))
    if by_group is not None:
        found, groups = by_group.confusion, labels.shown_groups(by_group.classes, drawable)
        figures["groups"] = both(lambda theme: confusion_matrix(found, groups, theme, kind="group"), "confusion_groups")
    return figures


def _mistakes(report: Report) -> list[dict[str, Any]]:
    evaluation = report.evaluation
    shown = []
    for one in evaluation.mistakes(MISTAKES):
        image = opened(report.root / evaluation.images[one.index])
        looked = None if image is None or report.explain is None else report.explain(image, one.predicted)
        shown.append(
            {
                "picture": None if image is None else address_of(image, THUMBNAIL),
                "looked": None if looked is None else address_of(looked, THUMBNAIL),
                "path": evaluation.images[one.index],
                "true": evaluation.classes[one.true],
                "predicted": evaluation.classes[one.predicted],
                "probability": one.probability,
            }
        )
    return shown


def _suspects(report: Report) -> list[dict[str, Any]]:
    """The pictures whose labels look wrong, in the form of a mistake."""
    shown = []
    for one in report.suspects[:SUSPECTS]:
        image = opened(report.root / one["path"])
        picture = None if image is None else address_of(image, THUMBNAIL)
        shown.append({"picture": picture, "path": one["path"], "true": one["given"], "predicted": one["suggested"]})
    return shown


def _confused(evaluation: Evaluation) -> list[tuple[int, str, str]]:
    """The pairs of classes that were confused most often: how often, the true and the predicted class."""
    counts = evaluation.confusion.copy()
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:CONFUSED]
    places = [divmod(int(one), len(evaluation.classes)) for one in order]
    return [(int(counts[i, j]), evaluation.classes[i], evaluation.classes[j]) for i, j in places if counts[i, j] > 1]


def opened(path: Path) -> Image.Image | None:
    """Decode a picture, None where that is no longer possible."""
    try:
        return decode(path)
    except (InputError, OSError, ValueError):
        # The file has gone since it was evaluated, or its path cannot be one here; its name still tells.
        return None
