"""An evaluation seen by groups of classes: did the thing at least land in the right bin?"""

from __future__ import annotations

from typing import Any

import numpy as np

from mobilenets.measure.metrics import Evaluation, wilson_interval
from mobilenets.runtime.labels import Labels

# Runtimes differ by about 1e-7 in a probability of float32: nearer ones are the same.
SAME = 2e-6


def grouped(evaluation: Evaluation, labels: Labels) -> Evaluation | None:
    """Give the same pictures with groups for classes, the probability of a group being the sum over its classes.

    None where some class has no group.
    """
    members = labels.members(evaluation.classes)
    if members is None:
        return None
    names, of = members
    logs = np.stack(
        [np.logaddexp.reduce(evaluation.log_probabilities[:, of == index], axis=1) for index in range(len(names))],
        axis=1,
    )
    return Evaluation(names, evaluation.images, of[evaluation.labels].astype(np.int64), logs.astype(np.float32))


def groups_to_json(evaluation: Evaluation, labels: Labels) -> dict[str, Any] | None:
    """Give the figures of the groups, and what the wrong classes cost; None where some class has no group.

    ``right_class``, ``wrong_class_right_group`` and ``wrong_group`` count pictures by the group that the most probable
    class belongs to; ``top1`` is that of the most probable group.
    """
    by_group, members = grouped(evaluation, labels), labels.members(evaluation.classes)
    if by_group is None or members is None:
        return None
    of = members[1]
    right = evaluation.ranks == 0
    same = of[evaluation.predicted] == of[evaluation.labels]
    figures = by_group.to_json()
    return {
        "top1": figures["top1"],
        "top1_interval": figures["top1_interval"],
        "groups": figures["classes"],
        "confusion": figures["confusion"],
        "right_class": int(right.sum()),
        "wrong_class_right_group": int((same & ~right).sum()),
        "wrong_group": int((~same).sum()),
    }


def sure_to_json(evaluation: Evaluation, threshold: float) -> dict[str, Any]:
    """Say what becomes of the pictures when the model answers only from this confidence on."""
    answered = evaluation.confidences >= threshold
    right, count = int((answered & (evaluation.ranks == 0)).sum()), int(answered.sum())
    return {
        "threshold": threshold,
        "answered": count / len(evaluation.labels),
        "accuracy": right / count if count else None,
        "accuracy_interval": list(wilson_interval(right, count)),
    }


def find_threshold(evaluation: Evaluation, accuracy: float) -> float | None:
    """Find the lowest confidence at which the answers given are right at that rate or better.

    A classifier with a reject option (Chow 1970; El-Yaniv and Wiener 2010): the most pictures are answered that the
    wished accuracy allows. It lies midway between the last picture that is answered and the next: the same picture
    comes out otherwise in its last digits in another runtime, or beside other pictures. None where even the surest
    answers fall short of it.
    """
    order = np.argsort(-evaluation.confidences, kind="stable")
    confidences, right = evaluation.confidences[order], evaluation.ranks[order] == 0
    rates = np.cumsum(right) / np.arange(1, len(order) + 1)
    # Pictures of one confidence are answered together or not at all.
    last = np.append(confidences[1:] < confidences[:-1] - SAME, True)
    fitting = np.flatnonzero(last & (rates >= accuracy))
    if not len(fitting):
        return None
    place = fitting[-1]
    below = confidences[place + 1] if place + 1 < len(order) else confidences[place] - SAME
    return float(confidences[place] + below) / 2
