"""The temperature of a model: fitted on pictures that were held out, and kept in its weights.

The last layer itself is divided, so that whatever is made of the weights answers alike: the ONNX file beside them,
every export, the page, a device. ``model.json`` records it with the hash of the divided layer, so that a run which was
stopped here, or is measured again, is not divided twice; checkpoints keep the layer as it is trained.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobilenets.base.notes import log
from mobilenets.exports.beside import write_graph
from mobilenets.measure.calibration import calibrate, cross_fitted, tempered
from mobilenets.measure.metrics import Evaluation as Classified
from mobilenets.models.saved import SavedModel, calibrated, is_calibrated, save_weights, temperature_of
from mobilenets.runtime.bundle import CLASSIFICATION, WEIGHTS, Bundle, write_bundle
from mobilenets.tasks.base import Evaluation


@dataclass(frozen=True, eq=False)
class Settled:
    """A model as it is to be written, with what it answers for the measured pictures, the ``evaluation``.

    ``before`` is that without its temperature, and ``after`` with it, where the same pictures gave the temperature
    cross-fitted; both are None for a task that has no temperature.
    """

    saved: SavedModel
    evaluation: Evaluation
    before: Classified | None = None
    after: Classified | None = None

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of ``metrics.json`` that the temperature decides, on pictures that it was not fitted on."""
        record = {name: value for name, value in self.saved.bundle.calibration.items() if name != "layer"}
        if self.after is None or "ece_after" not in record:
            return {}
        fair = self.after.to_json()
        return {
            **{name: fair[name] for name in ("loss", "loss_interval")},
            "ece": record["ece_after"],
            "calibration": record,
        }


def has_temperature(bundle: Bundle) -> bool:
    """Say whether a model tells classes apart by one logit each, so that one temperature serves for all."""
    return bundle.task == CLASSIFICATION and bundle.outputs is None and len(bundle.classes) > 1


def settle(saved: SavedModel, raw: Classified, fit: Classified | None = None, *, again: bool = False) -> Settled:
    """Give a model with a temperature in its last layer: fitted now where it has none, or ``again``.

    ``raw`` are the answers to the measured pictures, without a temperature, and ``fit`` those to others that it is
    fitted on; without these it is fitted on the same, cross-fitted. Neither may have been learned from. Nothing is
    written.
    """
    fitted = is_calibrated(saved)
    if not fitted:
        saved = replace(saved, bundle=replace(saved.bundle, calibration={}))
    if not has_temperature(saved.bundle):
        return Settled(saved, raw)
    if fitted and not again:
        evaluation = tempered(raw, temperature_of(saved))
        crossed = saved.bundle.calibration.get("cross_fitted") and temperature_of(saved) != 1
        return Settled(saved, evaluation, raw, cross_fitted(raw) if crossed else evaluation)
    found = calibrate(raw) if fit is None else calibrate(fit, raw)
    new = calibrated(saved, found.to_json())
    if saved.bundle.threshold is not None and new.bundle.threshold is None:
        log.warning("the confidence to answer from was found on other probabilities, and is gone: see --accuracy")
    return Settled(new, tempered(raw, found.temperature), found.before, found.after)


def untempered(answers: Classified, saved: SavedModel) -> Classified:
    """Give the answers of a model as they would be without its temperature."""
    return tempered(answers, 1 / temperature_of(saved))


def write_settled(folder: Path, old: SavedModel, new: SavedModel) -> SavedModel:
    """Write ``model.safetensors``, where its last layer changed from ``old``, then ``model.onnx`` and ``model.json``.

    Returns the model as its description now is.
    """
    if temperature_of(new) != temperature_of(old):
        # The record comes first: until the layer is as it says, it counts for nothing, and all is done again.
        write_bundle(folder, replace(new.bundle, graph=None, weights=None))
        save_weights(folder / WEIGHTS, new.network.state_dict())
    return replace(new, bundle=write_graph(folder, new))
