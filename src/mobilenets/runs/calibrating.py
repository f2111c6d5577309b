"""The temperature of a model: fitted on pictures that were held out, and kept in its weights.

The last layer itself is divided, so that whatever is made of the weights answers alike: the ONNX file beside them,
every export, the page, a device. The file of weights says in its header that it is, so that a run which was stopped
here, or is measured again, is not divided twice; checkpoints keep the layer as it is trained.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mobilenets.datasets.folder import Sample
from mobilenets.exports.beside import write_graph
from mobilenets.measure.calibration import calibrate, cross_fitted, tempered
from mobilenets.measure.metrics import Evaluation as Classified
from mobilenets.models.saved import SavedModel, calibrated, calibration_of, load_model, save_weights, temperature_of
from mobilenets.runs.predictor import Predictor
from mobilenets.runtime.bundle import CLASSIFICATION, WEIGHTS, Bundle
from mobilenets.tasks.base import Evaluation
from mobilenets.tasks.evaluate import evaluate_predictors

log = logging.getLogger("mobilenets")


@dataclass(frozen=True)
class Held:
    """Pictures that a model did not learn from: those to ``fit`` a temperature on, and those that are ``measured``.

    ``fit`` is None where there is but one such half, which then serves for both. Pictures are named relative to
    ``root``.
    """

    fit: Sequence[Sample] | None
    measured: Sequence[Sample]
    root: Path
    workers: int | None = None


@dataclass(frozen=True, eq=False)
class Settled:
    """A model as it lies in its folder, with what it answers for the measured pictures, the ``evaluation``.

    ``before`` is that without its temperature, and ``after`` with it, where the same pictures gave the temperature
    cross-fitted; both are None for a task that has no temperature.
    """

    saved: SavedModel
    predictor: Predictor
    evaluation: Evaluation
    before: Classified | None = None
    after: Classified | None = None


def has_temperature(bundle: Bundle) -> bool:
    """Say whether a model tells classes apart by one logit each, so that one temperature serves for all."""
    return bundle.task == CLASSIFICATION and bundle.outputs is None and len(bundle.classes) > 1


def settle(folder: Path, held: Held, device: str, *, again: bool = False) -> Settled:
    """Measure the model in a folder, with a temperature in its weights: fitted now where it has none, or ``again``.

    Writes ``model.safetensors``, where a temperature is fitted, then ``model.onnx`` and ``model.json``.
    """
    saved = load_model(folder)
    # The weights decide: a process that was killed in here may not have come to the description.
    mark = calibration_of(folder / WEIGHTS)
    saved = replace(saved, bundle=replace(saved.bundle, calibration=mark or {}))
    write_graph(folder, saved)
    predictor = Predictor(folder, device)
    if has_temperature(saved.bundle) and (mark is None or again):
        return _fitted(folder, saved, predictor, held, device)
    [evaluation] = evaluate_predictors([predictor], held.measured, held.root, workers=held.workers)
    if mark is None or not isinstance(evaluation, Classified):
        return Settled(saved, predictor, evaluation)
    raw = tempered(evaluation, 1 / temperature_of(saved.bundle))
    crossed = held.fit is None and temperature_of(saved.bundle) != 1
    return Settled(saved, predictor, evaluation, raw, cross_fitted(raw) if crossed else evaluation)


def _fitted(folder: Path, saved: SavedModel, predictor: Predictor, held: Held, device: str) -> Settled:
    """Fit a temperature and divide the last layer by it."""
    parts = [(held.measured, "evaluating")] if held.fit is None else [(held.fit, "calibrating")]
    if held.fit is not None:
        parts.append((held.measured, "evaluating"))
    answers = []
    for samples, doing in parts:
        [answer] = evaluate_predictors([predictor], samples, held.root, doing, held.workers)
        assert isinstance(answer, Classified)
        answers.append(tempered(answer, 1 / temperature_of(saved.bundle)))
    found = calibrate(*answers)
    new = calibrated(saved, found.to_json())
    if saved.bundle.threshold is not None and new.bundle.threshold is None:
        log.warning("the confidence to answer from was found on other probabilities, and is gone: see --accuracy")
    # In this order: of weights that a model.onnx was not made of, that file does not answer.
    save_weights(folder / WEIGHTS, new.network.state_dict(), new.bundle.calibration)
    write_graph(folder, new)
    evaluation = tempered(answers[-1], found.temperature)
    return Settled(new, Predictor(folder, device), evaluation, found.before, found.after)
