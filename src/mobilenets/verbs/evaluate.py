"""``evaluate``: how good a model is on labelled pictures, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilenets.base.files import write_json
from mobilenets.base.notes import log
from mobilenets.base.text import percent
from mobilenets.datasets.folder import Sample
from mobilenets.datasets.listing import say
from mobilenets.datasets.readable import check_readable
from mobilenets.datasets.shards.open import open_data
from mobilenets.doctor.quick import Looking
from mobilenets.errors import InputError
from mobilenets.measure.groups import find_threshold, groups_to_json, sure_to_json
from mobilenets.measure.known import called_crosswise, called_to_json, find_bar
from mobilenets.measure.metrics import Evaluation, wilson_interval
from mobilenets.runs.copies import copies_in_training
from mobilenets.runs.folder import check_folder
from mobilenets.runs.held_out import EvaluationSet, pictures_to_calibrate, pictures_to_measure
from mobilenets.runs.predictor import Predictor
from mobilenets.runs.test_set import opened_by_evaluate
from mobilenets.runtime.bar import check_false_alarms
from mobilenets.runtime.bundle import Bundle, find_bundle, write_bundle
from mobilenets.runtime.labels import doubts
from mobilenets.tasks.classification.task import classified
from mobilenets.tasks.evaluate import evaluate_predictors
from mobilenets.verbs.evaluate_boxes import evaluate_boxes

if TYPE_CHECKING:
    from mobilenets.runs.calibrating import Settled


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    accuracy: float | None = None,
    calibrate: bool = False,
    false_alarms: float | None = None,
    runtime: str | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Measure a model, or an exported file in its own runtime, on labelled pictures.

    DATA's ``test/`` is used where there is one, else its ``validation/``, else all its class folders. Of those,
    pictures that the model learned from are left out, known by content; ``seen_in_training`` counts those that are
    measured on all the same, None where the model does not say what it learned from. Labels are matched by class name.
    ``notes`` say what was assumed of DATA. That a ``test/`` was opened is written down in the model's ``test.json``:
    ``test_set`` says how often it was ``before``, and when ``first``.

    ``copies`` says how many of the measured pictures have a copy among those that the model learned from (the same
    file, or resized, re-encoded, mirrored, rotated, cropped), and the accuracy without them; None where the model does
    not say what it learned from.

    Where the model's classes have groups, ``groups`` says how often the group was right. ``accuracy``, a fraction,
    asks for the lowest confidence at which the answers given are right that often: it goes into ``model.json``, and
    ``predict`` says "not sure" below it.

    ``calibrate`` fits the temperature of a run or a bundle anew, as training does at its end, and writes it into its
    weights: on ``validation/`` where ``test/`` is measured, else on the measured pictures, cross-fitted. The result's
    ``calibration`` says what it did. Exports that were made before keep their probabilities.

    Where the model tells what is none of its classes, ``none_of_these`` says how many of the pictures, which are of its
    classes, it called so. ``false_alarms``, a fraction, asks for another share: it moves the bar in ``model.json``.

    A detector is measured on pictures with boxes: AP as COCO counts it, and precision and recall from the score on from
    which boxes are shown. ``accuracy`` asks for the lowest such score from which on that share of the boxes is right.

    ``device``, ``runtime`` and ``threads`` are those of ``Predictor``.

    Returns the object of ``evaluate --json``; with ``out`` it is also written there as ``metrics.json``, beside
    ``confusion.png``, ``reliability.png`` and, where there are groups, ``confusion_groups.png``. Pictures that cannot
    be read are listed under ``problems``; ``faults`` says it when no confidence gives ``accuracy``, and the command
    then ends with exit status 1. Raises ``InputError`` for a model or a folder that cannot be used.

    >>> result = mobilenets.evaluate("run", "photos")
    >>> result["images"], result["evaluated_on"], sorted(result["classes"])
    (12, 'validation', ['cat', 'dog', 'owl'])
    """
    data = open_data(data)
    _refuse_early(accuracy, false_alarms, out)
    predictor = Predictor(model, device, runtime=runtime, threads=threads)
    if predictor.places:
        return evaluate_boxes(predictor, Path(model), data, out, accuracy, calibrate, false_alarms)
    measured = pictures_to_measure(Path(model), data, predictor.classes)
    folder = measured.folder
    for doubt in doubts(predictor.bundle.labels, predictor.classes, data):
        log.warning("%s", doubt)
    looking = Looking()
    samples, unreadable = check_readable(folder.samples, look=looking)
    problems = [*folder.problems, *unreadable]
    say(problems)
    if not samples:
        raise InputError(f"{data}: no readable picture to measure on")
    _refuse_bar(predictor, measured, len(samples), false_alarms)
    faults: list[str] = []
    if calibrate:
        settled = _calibrated(Path(model), data, predictor, measured, samples)
        predictor, evaluation = Predictor(model, device, runtime=runtime, threads=threads), settled.evaluation
        result = evaluation.to_json() | settled.figures
    else:
        [evaluation] = evaluate_predictors([predictor], samples, folder.root)
        result = evaluation.to_json()
    if isinstance(evaluation, Evaluation):
        predictor.bundle = _with_threshold(evaluation, predictor.bundle, Path(model), accuracy, faults)
        predictor.bundle = _with_bar(evaluation, predictor.bundle, Path(model), false_alarms)
        result |= _of_classes(evaluation, predictor.bundle)
        result["copies"] = copies_in_training(Path(model), samples, folder.root, looking, evaluation, measured.contents)
    elif accuracy is not None or false_alarms is not None:
        raise InputError("accuracy: asks for a confidence, which only a model that tells classes apart gives")
    # A refused command shows no figure, and has opened nothing.
    opened, notes = opened_by_evaluate(Path(model), measured.which, samples, measured.contents)
    result |= {
        "evaluated_on": measured.which,
        "seen_in_training": measured.learned,
        "test_set": opened,
        "notes": [*folder.notes, *notes],
        "faults": faults,
        "problems": [asdict(one) for one in problems],
    }
    if out is not None:
        if isinstance(evaluation, Evaluation):
            _draw(evaluation, predictor.bundle, Path(out))
        write_json(Path(out) / "metrics.json", result)
    return result


def _refuse_early(accuracy: float | None, false_alarms: float | None, out: str | Path | None) -> None:
    """Refuse what cannot be before the pictures are read, which may take minutes."""
    if accuracy is not None and not 0 < accuracy <= 1:
        raise InputError(f"accuracy {accuracy:g}: give a fraction above 0 and up to 1, such as 0.95")
    if false_alarms is not None:
        check_false_alarms(false_alarms)
    if out is not None:
        import mobilenets.drawing.confusion  # noqa: F401  # a bare install has nothing to draw with, and says so here

        check_folder(Path(out))


def _draw(evaluation: Evaluation, bundle: Bundle, out: Path) -> None:
    from mobilenets.drawing.confusion import draw_confusions
    from mobilenets.drawing.reliability import reliability_diagram
    from mobilenets.drawing.style import save

    draw_confusions(evaluation, bundle.labels, out)
    save(reliability_diagram(evaluation), out / "reliability.png")


def _calibrated(
    model: Path, data: Path, predictor: Predictor, measured: EvaluationSet, samples: tuple[Sample, ...]
) -> Settled:
    """Fit a temperature anew; raises ``InputError`` where there is no layer to divide or no picture to fit it on."""
    from mobilenets.models.saved import load_model  # PyTorch, which a bare install lacks
    from mobilenets.runs.calibrating import has_temperature, settle, untempered, write_settled

    if predictor.bundle.export is not None:
        raise InputError(f"{model}: an exported file is finished: calibrate the run that it was made from, then export")
    if not has_temperature(predictor.bundle):
        raise InputError("calibrate: only a model that tells two or more classes apart has a temperature")
    if measured.learned:
        raise InputError(
            f"calibrate: the model learned from {measured.learned} of these pictures, so they say nothing of its "
            "confidence: give pictures that it has not seen"
        )
    fit = pictures_to_calibrate(model, data, predictor.classes)
    if fit is not None:
        fit, unreadable = check_readable(fit)
        say(unreadable)
    if fit == ():
        raise InputError(f"{data}: no readable picture in validation/ to calibrate on")
    folder = find_bundle(model)
    saved = load_model(folder)

    def raw(pictures: Sequence[Sample], root: Path, doing: str) -> Evaluation:
        [answers] = evaluate_predictors([predictor], pictures, root, doing)
        return untempered(classified(answers), saved)

    held = None if fit is None else raw(fit, data, "calibrating")
    settled = settle(saved, raw(samples, measured.folder.root, "evaluating"), held, again=True)
    write_settled(folder, saved, settled.saved)
    return settled


def _with_threshold(
    evaluation: Evaluation, bundle: Bundle, model: Path, accuracy: float | None, faults: list[str]
) -> Bundle:
    """Write the threshold that gives ``accuracy`` into ``model.json``; says among the ``faults`` where none does."""
    if accuracy is None:
        return bundle
    found = find_threshold(evaluation, accuracy)
    if found is not None:
        bundle = replace(bundle, threshold=found)
        write_bundle(find_bundle(model), bundle)
        return bundle
    stays = "" if bundle.threshold is None else "; the model keeps its earlier threshold"
    faults.append(
        f"even its surest answers are not right in {percent(accuracy, 1)} of cases: ask for less, or train "
        f"longer{stays}"
    )
    return bundle


def _refuse_bar(predictor: Predictor, measured: EvaluationSet, pictures: int, false_alarms: float | None) -> None:
    """Raise ``InputError`` where no bar can be set on so many pictures, before anything is measured or written."""
    if false_alarms is None:
        return
    if measured.learned:
        raise InputError(
            f"false alarms: the model learned from {measured.learned} of these pictures, which are nearer than new "
            "ones: give pictures that it has not seen"
        )
    if not predictor.tells_unknown:
        raise InputError(
            'false alarms: this model or file does not say "none of these"; train it with this release, and export it '
            "in onnx, openvino or web"
        )
    needed = math.ceil(1 / false_alarms - 1e-9) - 1
    if pictures < needed:
        raise InputError(
            f"false alarms {false_alarms:g}: {pictures} pictures are too few to set that bar, {needed} are enough"
        )


def _with_bar(evaluation: Evaluation, bundle: Bundle, model: Path, false_alarms: float | None) -> Bundle:
    """Write the bar that gives ``false_alarms``, if any are asked for, into ``model.json``."""
    if false_alarms is None:
        return bundle
    distances = evaluation.distances
    assert bundle.none_of_these is not None and distances is not None
    called = called_crosswise(distances, false_alarms)
    bar = replace(
        bundle.none_of_these,
        bar=find_bar(distances, false_alarms),
        false_alarms=false_alarms,
        rate=called / len(distances),
        interval=wilson_interval(called, len(distances)),
        pictures=len(distances),
        cross_fitted=True,
    )
    bundle = replace(bundle, none_of_these=bar)
    write_bundle(find_bundle(model), bundle)
    return bundle


def _of_classes(evaluation: Evaluation, bundle: Bundle) -> dict[str, Any]:
    """Give what only a model that tells classes apart has."""
    labels, threshold, bar = bundle.labels, bundle.threshold, bundle.none_of_these
    unknown = None if bar is None or evaluation.distances is None else called_to_json(evaluation.distances, bar.bar)
    return {
        "none_of_these": unknown,
        "groups": None if labels is None else groups_to_json(evaluation, labels),
        "sure": None if threshold is None else sure_to_json(evaluation, threshold),
        "names": None if labels is None else dict(zip(bundle.classes, labels.shown(bundle.classes), strict=True)),
    }
