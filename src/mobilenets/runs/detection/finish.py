"""What the run of a detector leaves when training has ended: figures, curves, the report, and a file that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mobilenets.base.files import writing
from mobilenets.base.notes import log
from mobilenets.datasets.box_loader import NOTHING, BoxLoader
from mobilenets.datasets.boxes.counts import box_counts
from mobilenets.datasets.loader import shuffled
from mobilenets.drawing.boxes import Drawn, color_of, draw_boxes, words_of
from mobilenets.drawing.curves import draw_curves
from mobilenets.drawing.detection_report import DetectionReport, write_detection_report
from mobilenets.errors import UnreadablePicture
from mobilenets.exports.beside import write_graph
from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.measure.detection_faults import Faults
from mobilenets.models.saved import load_model
from mobilenets.pictures.decode import decode
from mobilenets.runs.begin import Run
from mobilenets.runs.class_report import about_run, data_of, pixels_of
from mobilenets.runs.copies import copies_of_run
from mobilenets.runs.detection.advice import BoxOutcome, next_steps_with_boxes
from mobilenets.runs.results import said, seconds_in_all, write_metrics
from mobilenets.runs.test_set import open_test_set
from mobilenets.training.checkpoint import State
from mobilenets.training.detection.run import BoxValidation

SHOWN = 16
REPORT, FOUND = "report.html", "found.png"
# Pictures on the sheet of what is found, in rows of so many, each so wide in pixels.
TILES, IN_A_ROW, TILE = 6, 3, 480


def write_box_report(
    run: Run,
    train: BoxLoader,
    state: State,
    kept: int,
    evaluation: DetectionEvaluation,
    figures: Mapping[str, Any],
    names: Sequence[str],
) -> None:
    """Write ``report.html``; ``figures`` are those of ``metrics.json``, and ``names`` the classes for people."""
    dataset, about = run.dataset, about_run(run, state, kept, figures)
    measured = dataset.validation if dataset.test is None else dataset.test
    about["model"]["name"] = f"SSDLite, {run.network.architecture.name}"
    report = DetectionReport(
        **about,
        data=data_of(run, *(box_counts(half, dataset.classes) for half in (dataset.train, measured))),
        batch=as_taught(train, names, run.recipe.batch),
        next_steps=figures["next_steps"],
        evaluation=evaluation,
        names=names,
        pictures=(len(dataset.train), len(measured)),
    )
    write_detection_report(run.folder / REPORT, report)


def as_taught(train: BoxLoader, names: Sequence[str], batch: int) -> list[tuple[Image.Image, str]]:
    """Return some pictures of the first batch as the network sees them, with the boxes that it is told."""
    first = shuffled([0] * len(train.samples), batch, train.seed, 0)[0][:SHOWN]
    made, size = train.batch(first, 0, 0), train.preprocessing.size
    shown = []
    for pixels, target in zip(pixels_of(made.images, train.preprocessing), made.targets, strict=True):
        rows = target[(target[:, 4] != NOTHING) & (target[:, 5] == 0)]
        boxes = [Drawn(row[:4] * size, words_of(names[int(row[4])]), color_of(int(row[4]))) for row in rows]
        seen = sorted({names[int(row[4])] for row in rows})
        shown.append((draw_boxes(Image.fromarray(pixels), boxes), ", ".join(seen) or "nothing"))
    return shown


def draw_found(path: Path, evaluation: DetectionEvaluation, root: Path, names: Sequence[str]) -> None:
    """Draw what was found in a few of the pictures measured on, those with the most boxes, as a PNG."""
    order = sorted(range(len(evaluation.images)), key=lambda place: -len(evaluation.truths[place]))
    tiles = []
    for place in order[:TILES]:
        try:
            picture = decode(root / evaluation.images[place])
        except UnreadablePicture as error:  # it was readable when it was measured, and the training is done
            log.warning("%s: left out of %s: %s", root / evaluation.images[place], path.name, error)
            continue
        found = evaluation.found[place].above(evaluation.shown_from)
        boxes = [
            Drawn(corners, words_of(names[label], score), color_of(label))
            for corners, label, score in zip(found.corners, found.labels.tolist(), found.scores.tolist(), strict=True)
        ]
        drawn = draw_boxes(picture, boxes)
        tiles.append(drawn.resize((TILE, max(1, round(drawn.height * TILE / drawn.width)))))
    if not tiles:
        return
    rows = [tiles[start : start + IN_A_ROW] for start in range(0, len(tiles), IN_A_ROW)]
    heights = [max(tile.height for tile in row) for row in rows]
    sheet = Image.new("RGB", (TILE * min(IN_A_ROW, len(tiles)), sum(heights)), "white")
    for row, top in zip(rows, np.cumsum([0, *heights]).tolist(), strict=False):
        for column, tile in enumerate(row):
            sheet.paste(tile, (column * TILE, top))
    with writing(path) as aside:
        sheet.save(aside, format="PNG")


def finish_boxes(run: Run, train: BoxLoader, measuring: BoxValidation, state: State, since: float) -> dict[str, Any]:
    """Measure the detector that was kept, and write it all down; as ``mobilenets.runs.results.finish``."""
    folder, dataset = run.folder, run.dataset
    on = "validation" if dataset.test is None else "test"
    saved = load_model(folder)
    evaluation = measuring.measure(saved.network)
    # People are shown boxes from the score on that does best on the validation pictures.
    saved = replace(saved, bundle=replace(saved.bundle, threshold=evaluation.shown_from))
    opened = None
    if dataset.test is not None:
        measuring = replace(measuring, pictures=replace(measuring.pictures, samples=dataset.test))
        evaluation = replace(measuring.measure(saved.network), threshold=saved.bundle.threshold)
        opened = open_test_set(folder, "train", [dataset.contents[sample.path] for sample in dataset.test])
    kept = state.best_epoch if run.recipe.keep == "best" else state.epoch
    operations = saved.network.plan.operations
    bundle = write_graph(folder, replace(saved, network=saved.network.to(torch.device("cpu"))))
    metrics = evaluation.to_json() | Faults(evaluation).to_json()
    metrics |= {
        "evaluated_on": on,
        "epoch": kept,
        "epochs": state.epoch,
        "seconds": state.seconds,
        **said(run, state, evaluation, on, kept, bundle.origin.get("why_not"), ()),
        "weights": run.recipe.weights,
        "parameters": sum(parameter.numel() for parameter in saved.network.parameters()),
        "macs": sum(part.macs for part in operations),
        "seen_by_source": dataset.seen_by_source,
        "test_set": None if opened is None else asdict(opened),
        "copies": copies_of_run(folder, evaluation),
    }
    boxes = box_counts(dataset.train, dataset.classes)
    data = run.record.data.folder
    metrics["next_steps"] = next_steps_with_boxes(BoxOutcome(evaluation, boxes, on, data, str(folder)))
    draw_curves(state.history, run.task.metric, folder / "curves.png", kept)
    names = dataset.classes if bundle.labels is None else bundle.labels.shown(dataset.classes)
    draw_found(folder / FOUND, evaluation, dataset.layout.root, names)
    metrics["total_seconds"] = seconds_in_all(folder, state, since)
    write_box_report(run, train, state, kept, evaluation, metrics, names)
    write_metrics(run, metrics, evaluation, on, seconds_in_all(folder, state, since))
    return {"run": str(folder), "report": str(folder / REPORT), **metrics}
