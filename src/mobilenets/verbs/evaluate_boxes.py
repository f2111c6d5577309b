"""``evaluate`` of a detector: how well its boxes fit, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mobilenets.base.files import write_json
from mobilenets.base.text import percent
from mobilenets.datasets.folder import Sample
from mobilenets.doctor.quick import Looking
from mobilenets.errors import InputError
from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.measure.detection_faults import Faults
from mobilenets.runs.copies import copies_in_training
from mobilenets.runs.detection.measured import BoxesToMeasure, boxes_to_measure
from mobilenets.runs.predictor import Predictor
from mobilenets.runs.test_set import opened_by_evaluate
from mobilenets.runtime.bundle import find_bundle, write_bundle
from mobilenets.runtime.found import shown_from
from mobilenets.tasks.evaluate import evaluate_predictors


def evaluate_boxes(
    predictor: Predictor,
    model: Path,
    data: Path,
    out: str | Path | None,
    accuracy: float | None,
    calibrate: bool,
    false_alarms: float | None,
) -> dict[str, Any]:
    """Measure a detector, as ``evaluate`` does.

    ``accuracy`` asks for the lowest score from which on that share of the boxes is right: it goes into ``model.json``
    as the ``threshold``. It is chosen on DATA's validation pictures where its test pictures are measured, else on the
    measured ones; ``threshold_chosen_on`` says which.
    """
    if calibrate or false_alarms is not None:
        raise InputError(
            "calibrate and false alarms are for models that tell whole pictures apart: for a detector choose the score "
            "from which boxes are shown, with accuracy"
        )
    looking = Looking()
    measured = boxes_to_measure(model, data, predictor.classes, looking)
    evaluation = _evaluated(predictor, measured, measured.samples)
    faults: list[str] = []
    notes = list(measured.notes)
    chosen_on = None
    if accuracy is not None:
        chosen_on = "validation" if measured.to_choose_on else measured.which
        other = _evaluated(predictor, measured, measured.to_choose_on) if measured.to_choose_on else evaluation
        found = other.threshold_for(accuracy)
        if found is None:
            stays = f"the threshold stays {evaluation.shown_from:.3g}"
            faults.append(
                f"even its surest boxes are not right in {percent(accuracy, 1)} of cases: ask for less; {stays}"
            )
        else:
            predictor.bundle = replace(predictor.bundle, threshold=found)
            write_bundle(find_bundle(model), predictor.bundle)
            evaluation = replace(evaluation, threshold=found)
            if not measured.to_choose_on:
                notes.append("the threshold was chosen on these same pictures: its precision is slightly optimistic")
    labels = predictor.bundle.labels
    shown = predictor.classes if labels is None else labels.shown(predictor.classes)
    result = evaluation.to_json() | Faults(evaluation).to_json()
    result["copies"] = copies_in_training(
        model, measured.samples, measured.root, looking, evaluation, measured.contents
    )
    # A refused command shows no figure, and has opened nothing.
    opened, more = opened_by_evaluate(model, measured.which, measured.samples, measured.contents)
    result |= {
        "names": None if labels is None else dict(zip(predictor.classes, shown, strict=True)),
        "evaluated_on": measured.which,
        "threshold_chosen_on": chosen_on,
        "seen_in_training": measured.learned,
        "test_set": opened,
        "notes": [*notes, *more],
        "faults": faults,
        "problems": [asdict(one) for one in measured.problems],
    }
    if out is not None:
        from mobilenets.drawing.detection_report import draw_detection

        draw_detection(evaluation, Path(out), shown)
        write_json(Path(out) / "metrics.json", result)
    return result


def _evaluated(predictor: Predictor, measured: BoxesToMeasure, samples: Sequence[Sample]) -> DetectionEvaluation:
    [evaluation] = evaluate_predictors([predictor], samples, measured.root)
    assert isinstance(evaluation, DetectionEvaluation)
    sizes = [measured.sizes[sample.path] for sample in samples]
    return replace(evaluation, sizes=sizes, threshold=shown_from(predictor.bundle))
