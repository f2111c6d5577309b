"""Probabilities that mean what they say: one temperature, by which all logits are divided.

Temperature scaling (Guo et al. 2017, arXiv:1706.04599, section 4.2). The order of the classes stays as it was. NumPy
only, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.measure.metrics import Evaluation, Floats, Integers

FOLDS = 5
# With fewer pictures a temperature is noise.
FEW_PICTURES = 20
# The temperatures that can come out; the inverse of the one is the other.
LOWEST, HIGHEST = 0.05, 20.0
_DRAWS = 200
_ROWS = 4096  # at once, so that a thousand classes take little memory


@dataclass(frozen=True, eq=False)
class Calibration:
    """A temperature, and what it does to pictures that it was not fitted on.

    ``fitted_on`` counts the pictures that it was fitted on. ``before`` and ``after`` evaluate the same pictures without
    and with it. Where these are the pictures that it was fitted on, ``after`` is ``cross_fitted``: each picture is
    answered with the temperature of the folds that it is not in. ``why`` says why a temperature stayed at 1.
    """

    temperature: float
    fitted_on: int
    before: Evaluation
    after: Evaluation
    cross_fitted: bool
    why: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record in ``model.json`` and ``metrics.json``; fractions from 0 to 1, losses in nats."""
        return {
            "temperature": self.temperature,
            "pictures": self.fitted_on,
            "cross_fitted": self.cross_fitted,
            "ece_before": self.before.ece,
            "ece_after": self.after.ece,
            "ece_by_chance": ece_by_chance(self.after.confidences),
            "loss_before": self.before.loss,
            "loss_after": self.after.loss,
            "why": self.why,
        }


def calibrate(held: Evaluation, measured: Evaluation | None = None) -> Calibration:
    """Fit a temperature on ``held``, the answers to pictures that the model did not learn from.

    What it does is shown on ``measured``, other pictures, or by cross-fitting where there are none. The temperature is
    1 where there are too few pictures, or where cross-fitted ones lower no loss: then it would be noise.
    """
    many, width = held.logits.shape
    if many < FEW_PICTURES or width < 2:
        why = f"{many} held-out pictures are too few to fit a temperature on ({FEW_PICTURES} are enough)"
        return _kept(held, measured, why if width > 1 else "there is one class only")
    after = cross_fitted(held)
    if _loss(after.logits, held.labels) >= _loss(held.logits, held.labels):
        return _kept(held, measured, "no temperature lowers the loss on pictures that it was not fitted on")
    temperature = fit_temperature(held.logits, held.labels)
    if measured is None:
        return Calibration(temperature, many, held, after, cross_fitted=True)
    return Calibration(temperature, many, measured, tempered(measured, temperature), cross_fitted=False)


def _kept(held: Evaluation, measured: Evaluation | None, why: str) -> Calibration:
    shown = held if measured is None else measured
    return Calibration(1.0, len(held.labels), shown, shown, measured is None, why)


def cross_fitted(evaluation: Evaluation) -> Evaluation:
    """Give the evaluation of the same pictures, each with the temperature of the folds that it is not in.

    Pictures lie in the folds in turn, so that classes, which follow one another, are spread over all of them.
    """
    logits, fold = evaluation.logits.copy(), np.arange(len(evaluation.labels)) % FOLDS
    for number in range(min(FOLDS, len(fold))):
        inside = fold == number
        logits[inside] /= fit_temperature(evaluation.logits[~inside], evaluation.labels[~inside])
    return replace(evaluation, logits=logits)


def tempered(evaluation: Evaluation, temperature: float) -> Evaluation:
    """Give the evaluation of the same pictures with logits divided by ``temperature``."""
    return replace(evaluation, logits=(evaluation.logits / np.float32(temperature)).astype(np.float32))


def fit_temperature(logits: npt.NDArray[np.float32], labels: Integers) -> float:
    """Return the temperature with the lowest cross-entropy of logits N×K and labels N, to four digits.

    It is counted as if one picture more had been wrong, for its next class, in equal parts among all pictures: by
    Laplace's rule of succession n of n right do not speak for more than (n + 1) / (n + 2). Without it, a set without
    mistakes would have a temperature of 0. In the inverse of the temperature the loss is convex, so Newton's method
    between bounds finds its only minimum.
    """
    inverse, low, high = 1.0, 1 / HIGHEST, 1 / LOWEST
    wanted = _wanted(logits, labels)
    for _ in range(60):
        slope, curvature = _slope(logits, inverse, wanted)
        if slope == 0:
            break
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / curvature if curvature > 0 else low
        before, inverse = inverse, step if low < step < high else (low + high) / 2
        if abs(inverse - before) < 1e-7 * before:
            break
    # Four digits: the rounding of a runtime in the logits is not to be seen in the weights of a run.
    return float(f"{1 / inverse:.4g}")


def ece_by_chance(confidences: Floats) -> float:
    """Return the mean calibration error that so many pictures show where every probability is the true one.

    Whether each picture is right is drawn by its confidence (Bröcker and Smith 2007, section 3), 200 times from one
    seed; the error of a perfect model is above 0 because the shares in a bin vary.
    """
    rng, n = np.random.default_rng(0), len(confidences)
    places = Evaluation.bins(confidences)
    expected = np.bincount(places, confidences)
    errors = [np.abs(np.bincount(places, rng.random(n) < confidences) - expected).sum() / n for _ in range(_DRAWS)]
    return float(np.mean(errors))


def _wanted(logits: npt.NDArray[np.float32], labels: Integers) -> float:
    """Sum up the mean logit under the targets: the label, and a small share of the most probable other class."""
    rows, others, share = np.arange(len(labels)), logits.copy(), 1 / (len(labels) + 2)
    others[rows, labels] = -np.inf
    both = (1 - share) * logits[rows, labels].astype(np.float64) + share * others.max(axis=1)
    return float(both.sum())


def _slope(logits: npt.NDArray[np.float32], inverse: float, wanted: float) -> tuple[float, float]:
    """Give the first and the second derivative of the summed loss by the inverse of the temperature."""
    mean = variance = 0.0
    for start in range(0, len(logits), _ROWS):
        part = logits[start : start + _ROWS].astype(np.float64)
        powers = np.exp(inverse * (part - part.max(axis=1, keepdims=True)))
        powers /= powers.sum(axis=1, keepdims=True)
        means = (powers * part).sum(axis=1)
        mean += float(means.sum())
        variance += float((powers * (part - means[:, None]) ** 2).sum())
    return mean - wanted, variance


def _loss(logits: npt.NDArray[np.float32], labels: Integers) -> float:
    """Give the summed loss that ``fit_temperature`` minimises."""
    total = -_wanted(logits, labels)
    for start in range(0, len(logits), _ROWS):
        part = logits[start : start + _ROWS].astype(np.float64)
        top = part.max(axis=1)
        total += float((top + np.log(np.exp(part - top[:, None]).sum(axis=1))).sum())
    return total
