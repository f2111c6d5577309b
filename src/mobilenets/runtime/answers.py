"""From the outputs of a network to an answer for a person, by the task that ``model.json`` names. NumPy only."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mobilenets.errors import FaultFound, InputError
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.found import Found, about_classes, add_names, check_top
from mobilenets.runtime.labels import Labels

Outputs = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
# Classes that are named where nobody says how many.
TOP = 5


class Answers(Protocol):
    """How the outputs of a task's networks are read. ``scores`` are what its answers are made of.

    Where these depend on the picture's own size there is ``read`` too, as ``Found`` has it: what it gives for a picture
    then stands for the scores of that one.
    """

    @property
    def softmax(self) -> bool:
        """Whether the scores are the softmax of the outputs, in which a file can end."""

    def scores(self, outputs: Outputs) -> Any:
        """Turn outputs, N×…, into an array of scores, N×…: logits into probabilities, say."""

    def outputs(self, scores: Outputs) -> Outputs:
        """Turn the scores of a file that gives those back into outputs."""

    def fault(self, given: Outputs, bundle: Bundle, scores: bool) -> str | None:
        """Say what is wrong with what a file gives for one picture, or None; ``scores``: it should give those."""

    def about(self, bundle: Bundle) -> dict[str, Any]:
        """Say what its answers may name, for ``/model`` of the server; ``languages`` has those to choose from."""

    def brief(self, scores: Any, bundle: Bundle, top: int | None) -> Any:
        """Give what ``Predictor(MODEL)(picture)`` returns, from the scores of one picture."""

    def answer(self, scores: Any, bundle: Bundle, top: int | None, language: str | None) -> dict[str, Any]:
        """Give the object of ``predict --json`` without ``image``, from the scores of one picture.

        Raises ``FaultFound`` where they are no answer; so does ``brief``.
        """


class Prediction(NamedTuple):
    """A class name and its probability, from 0 to 1."""

    label: str
    probability: float


class Classes:
    """Classification: logits, N×classes, become probabilities, and these the most probable classes."""

    softmax = True

    def scores(self, outputs: Outputs) -> Scores:
        """Give the softmax."""
        return softmax(outputs)

    def outputs(self, scores: Outputs) -> Outputs:
        """Give logarithms, which rank as the logits did."""
        logits: Outputs = np.log(np.maximum(scores, np.finfo(np.float32).tiny))
        return logits

    def fault(self, given: Outputs, bundle: Bundle, scores: bool) -> str | None:
        """Say so where there is not one finite number a class, or no probabilities where there should be."""
        if given.shape != (1, len(bundle.classes)):
            return f"outputs {given.shape[-1]} scores, but model.json names {len(bundle.classes)} classes"
        if not np.isfinite(given).all():
            return "outputs numbers that are not finite; export the model again"
        if scores and (given.min() < -0.01 or abs(float(given.sum()) - 1) > 0.1):
            return "does not output probabilities, though model.json says so; export the model again"
        return None

    def about(self, bundle: Bundle) -> dict[str, Any]:
        """Give classes, names, groups and threshold."""
        return about_classes(bundle)

    def brief(self, scores: Scores, bundle: Bundle, top: int | None) -> list[Prediction]:
        """Give the most probable classes; raises ``FaultFound`` where a probability is not a number."""
        top = TOP if top is None else top
        check_top(top)
        if np.isnan(scores).any():
            raise FaultFound(
                "the network's output is not finite: its weights are broken; train with a lower learning rate, or "
                "import or export the model again"
            )
        return [Prediction(bundle.classes[index], float(scores[index])) for index in largest(scores, top)]

    def answer(self, scores: Scores, bundle: Bundle, top: int | None, language: str | None) -> dict[str, Any]:
        """Give the most probable classes as ``predictions``.

        Where the model has labels, each has its ``name`` in ``language`` (by default the folder's) and its ``group``,
        and ``groups`` has the probability of each, the sum over its classes. Where it has a threshold, ``sure`` says
        whether the best class reaches it.
        """
        labels, threshold = bundle.labels, bundle.threshold
        best = self.brief(scores, bundle, top)
        answer: dict[str, Any] = {"predictions": [entry._asdict() for entry in best]}
        if labels is not None:
            add_names(answer["predictions"], labels, language)
            if (groups := _groups(scores, labels, bundle.classes, language)) is not None:
                answer["groups"] = groups
        if threshold is not None:
            answer["sure"] = bool(best[0].probability >= threshold)
        return answer


def _groups(
    scores: Scores, labels: Labels, classes: tuple[str, ...], language: str | None
) -> list[dict[str, Any]] | None:
    """Give the groups with their probabilities, the most probable first; None where classes have none."""
    members = labels.members(classes)
    if members is None:
        return None
    names, of = members
    sums = np.bincount(of, scores, len(names))
    return [
        {
            "label": names[index],
            "name": labels.group_name(names[index], language),
            "probability": float(sums[index]),
        }
        for index in np.argsort(-sums, kind="stable")
    ]


_ANSWERS: dict[str, Answers] = {"classification": Classes(), "detection": Found()}


def register_answers(task: str, answers: Answers) -> None:
    """Say how the outputs of models of a task are read."""
    _ANSWERS[task] = answers


def find_answers(task: str) -> Answers:
    """Look up how the outputs of a model are read; raises ``InputError`` where its task is unknown here."""
    if task not in _ANSWERS:
        raise InputError(f"the model's task {task!r} is unknown here: import what registers it, or update mobilenets")
    return _ANSWERS[task]


def largest(values: Scores, count: int) -> npt.NDArray[np.intp]:
    """Give the places of the largest values in order, of equals the first; all of a thousand need not be sorted."""
    count = min(count, len(values))
    near = np.flatnonzero(values >= np.partition(values, -count)[-count])
    if len(near) < count:  # NaN is above nothing
        near = np.arange(len(values))
    return near[np.argsort(-values[near], kind="stable")][:count]


def softmax(logits: Outputs) -> Scores:
    """Turn logits N×classes into probabilities: the one place that does, for answers and figures alike."""
    shifted = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore"):  # of logits that overflowed they become NaN, which nobody answers
        exponentials = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    result: Scores = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result


def log_softmax(logits: npt.ArrayLike) -> Scores:
    """Turn logits N×classes into the logarithms of probabilities."""
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    result: Scores = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
