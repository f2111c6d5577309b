"""``compare RUN RUN DATA`` of two detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.base.files import write_json
from mobilenets.errors import InputError
from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.measure.detection_pair import DetectionPair
from mobilenets.runs.detection.measured import boxes_to_compare
from mobilenets.runs.predictor import Predictor
from mobilenets.runs.test_set import opened_by_compare
from mobilenets.runtime.detections import Detections
from mobilenets.runtime.found import shown_from
from mobilenets.tasks.evaluate import evaluate_predictors


def compare_boxes(
    models: Sequence[Path],
    predictors: Sequence[Predictor],
    data: Path,
    order: npt.NDArray[np.int64],
    folder: Path | None,
) -> dict[str, Any]:
    """Compare two detectors, as ``compare_models`` does; ``order`` is the place of each class among the second's.

    ``change`` is the AP of the second minus that of the first, with a 95 % bootstrap interval by picture, both in the
    same resamples; ``better`` is ``second`` or ``first`` where that interval is on one side of 0. ``ap50_change`` is
    the same of AP50.
    """
    if not all(predictor.places for predictor in predictors):
        raise InputError("one of the two finds boxes, the other tells whole pictures apart: compare models of one task")
    measured = boxes_to_compare(models, data, predictors[0].classes)
    ours, theirs = evaluate_predictors(predictors, measured.samples, measured.root, "comparing")
    assert isinstance(ours, DetectionEvaluation) and isinstance(theirs, DetectionEvaluation)
    places = np.argsort(order)
    found = [Detections(one.corners, one.scores, places[one.labels]) for one in theirs.found]
    theirs = replace(theirs, classes=ours.classes, found=found)
    evaluations = [
        replace(one, threshold=shown_from(predictor.bundle))
        for one, predictor in zip((ours, theirs), predictors, strict=True)
    ]
    pair = DetectionPair(*evaluations)
    contents = [measured.contents[sample.path] for sample in measured.samples]
    result = {
        "models": [
            {"model": str(model), **{key: found[key] for key in ("ap", "ap_interval", "ap50", "ap50_interval")}}
            for model, found in zip(models, (one.to_json() for one in evaluations), strict=True)
        ],
        "images": len(measured.samples),
        "boxes": int(ours.counted.sum()),
        "evaluated_on": measured.which,
        **_figures(pair),
        "notes": [*measured.notes, *opened_by_compare(models, measured.which, contents)],
        "problems": [asdict(one) for one in measured.problems],
    }
    if folder is not None:
        write_json(folder / "compare.json", result)
    return result


def _figures(pair: DetectionPair) -> dict[str, Any]:
    interval, better = pair.ap_change_interval, None
    if interval is not None and not interval[0] <= 0 <= interval[1]:
        better = "second" if interval[0] > 0 else "first"
    known = not np.isnan(pair.ap_change)
    return {
        "change": pair.ap_change if known else None,
        "change_interval": None if interval is None else list(interval),
        "ap50_change": pair.ap50_change if known else None,
        "ap50_change_interval": None if pair.ap50_change_interval is None else list(pair.ap50_change_interval),
        "better": better,
    }
