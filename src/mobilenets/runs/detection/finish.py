"""What the run of a detector leaves when training has ended: figures, curves, the report, and a file that answers."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch

from mobilenets.datasets.box_loader import BoxLoader
from mobilenets.datasets.boxes.counts import box_counts
from mobilenets.drawing.curves import draw_curves
from mobilenets.exports.beside import write_graph
from mobilenets.measure.detection_faults import Faults
from mobilenets.models.saved import load_model
from mobilenets.runs.begin import Run
from mobilenets.runs.copies import copies_of_run
from mobilenets.runs.detection.advice import BoxOutcome, next_steps_with_boxes
from mobilenets.runs.detection.report import FOUND, REPORT, draw_found, write_box_report
from mobilenets.runs.results import said, seconds_in_all, write_metrics
from mobilenets.runs.test_set import open_test_set
from mobilenets.training.checkpoint import State
from mobilenets.training.detection.validation import BoxValidation


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
