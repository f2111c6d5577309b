"""The temperature of a model: fitted on pictures that were held out, and kept in its weights.

The last layer itself is divided, so that whatever is made of the weights answers alike: the ONNX file beside them,
every export, the page, a device. ``model.json`` records it with the hash of the divided layer, so that a run which was
stopped here, or is measured again, is not divided twice; checkpoints keep the layer as it is trained.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobilenets.datasets.folder import Sample
from mobilenets.exports.beside import write_graph
from mobilenets.measure.calibration import calibrate, cross_fitted, tempered
from mobilenets.measure.metrics import Evaluation as Classified
from mobilenets.models.saved import SavedModel, calibrated, is_calibrated, load_model, save_weights, temperature_of
from mobilenets.runs.predictor import Predictor
from mobilenets.runtime.bundle import CLASSIFICATION, WEIGHTS, Bundle, write_bundle
from mobilenets.tasks.base import Evaluation
from mobilenets.tasks.evaluate import evaluate_predictors

log = logging.getLogger("mobilenets")


@dataclass(frozen=True)
class Held:
    """Pictures that a model did not learn from: those to ``fit`` a temperature on, and those that are ``measured``.

    ``fit`` is None where there is but one such half, which then serves for both. Pictures are named relative to
    ``root``, those to fit relative to ``fit_root``, by default the same.
    """

    fit: Sequence[Sample] | None
    measured: Sequence[Sample]
    root: Path
    workers: int | None = None
    fit_root: Path | None = None


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

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of ``metrics.json`` that the temperature decides, on pictures that it was not fitted on."""
        record = {name: value for name, value in self.saved.bundle.calibration.items() if name != "layer"}
        return {"ece": record["ece_after"], "calibration": record} if "ece_after" in record else {}


def has_temperature(bundle: Bundle) -> bool:
    """Say whether a model tells classes apart by one logit each, so that one temperature serves for all."""
    return bundle.task == CLASSIFICATION and bundle.outputs is None and len(bundle.classes) > 1


def settle(
    folder: Path, held: Held, device: str, *, again: bool = False, answered: Classified | None = None
) -> Settled:
    """Measure the model in a folder, with a temperature in its weights: fitted now where it has none, or ``again``.

    ``answered`` are the answers of models as it to pictures that they did not learn from; the temperature is then
    fitted on these, and where no half was held out to ``fit`` it, they are the evaluation too. Writes
    ``model.safetensors``, where a temperature is fitted, then ``model.onnx`` and ``model.json``.
    """
    saved = load_model(folder)
    fitted = is_calibrated(saved)
    if not fitted:
        saved = replace(saved, bundle=replace(saved.bundle, calibration={}))
    write_graph(folder, saved)
    predictor = Predictor(folder, device)
    if has_temperature(saved.bundle) and (again or not fitted):
        return _fitted(folder, saved, predictor, held, device, answered)
    evaluation: Evaluation
    if answered is not None and held.fit is None:
        evaluation = tempered(answered, temperature_of(saved))
    else:
        [evaluation] = evaluate_predictors([predictor], held.measured, held.root, workers=held.workers)
    if not fitted or not isinstance(evaluation, Classified):
        return Settled(saved, predictor, evaluation)
    raw = tempered(evaluation, 1 / temperature_of(saved))
    crossed = saved.bundle.calibration.get("cross_fitted") and temperature_of(saved) != 1
    return Settled(saved, predictor, evaluation, raw, cross_fitted(raw) if crossed else evaluation)


def _fitted(
    folder: Path, saved: SavedModel, predictor: Predictor, held: Held, device: str, answered: Classified | None
) -> Settled:
    """Fit a temperature and divide the last layer by it."""

    def ask(samples: Sequence[Sample], root: Path, doing: str = "evaluating") -> Classified:
        [answer] = evaluate_predictors([predictor], samples, root, doing, held.workers)
        assert isinstance(answer, Classified)
        return tempered(answer, 1 / temperature_of(saved))

    if held.fit is None and answered is not None:
        raw, answered = answered, None
    else:
        raw = ask(held.measured, held.root)
        if answered is None and held.fit is not None:
            answered = ask(held.fit, held.fit_root or held.root, "calibrating")
    found = calibrate(raw) if answered is None else calibrate(answered, raw)
    new = calibrated(saved, found.to_json())
    if saved.bundle.threshold is not None and new.bundle.threshold is None:
        log.warning("the confidence to answer from was found on other probabilities, and is gone: see --accuracy")
    # The record comes first: until the layer is as it says, it counts for nothing, and all is done again.
    write_bundle(folder, replace(new.bundle, graph=None, weights=None))
    if found.temperature != temperature_of(saved):
        save_weights(folder / WEIGHTS, new.network.state_dict())
    write_graph(folder, new)
    evaluation = tempered(raw, found.temperature)
    return Settled(new, Predictor(folder, device), evaluation, found.before, found.after)
