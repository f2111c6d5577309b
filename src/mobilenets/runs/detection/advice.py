"""What would make a detector better, from what it did wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mobilenets.base.shell import quote
from mobilenets.datasets.listing import names
from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.measure.detection_faults import BACKGROUND, LOOSE, OTHER_CLASS, Faults

FEW_BOXES = 50
"""Boxes of a class to learn from; of fewer the first thing that helps is more of them."""

TINY = 0.07
"""Sides as shares of the picture's, below which no square anchor of SSDLite, of a tenth and more, overlaps by half."""

WIDE = 0.1
"""Half of an interval of AP50 that says little."""

HARDLY = 0.1
"""AP50 of a detector that has not begun to work."""

LONGER = "train longer (--epochs), from trained weights (--weights) where there are any, and with boxes drawn tightly."

_MOST = 4


@dataclass(frozen=True, eq=False)
class BoxOutcome:
    """How a training on boxes ended: its figures, and the boxes of each class to learn from.

    ``data`` and ``run`` are the folders, ``on`` the half that is measured.
    """

    evaluation: DetectionEvaluation
    train: Mapping[str, int]
    on: str
    data: str
    run: str


def next_steps_with_boxes(outcome: BoxOutcome) -> list[str]:
    """Say what would help, the most useful first; at most four sentences, none where nothing stands out."""
    faults = Faults(outcome.evaluation)
    found: tuple[str | None, ...]
    if outcome.evaluation.ap50 < HARDLY:
        # What it does wrong tells nothing yet.
        found = (_few_boxes(outcome), f"It finds hardly anything yet: {LONGER}", _wide(outcome))
    else:
        found = (_few_boxes(outcome), _tiny(outcome, faults), *_by_kind(outcome, faults), _wide(outcome))
    return [step for step in found if step is not None][:_MOST]


def _few_boxes(outcome: BoxOutcome) -> str | None:
    few = sorted((number, name) for name, number in outcome.train.items() if number < FEW_BOXES)
    if not few:
        return None
    shown = ", ".join(f"{name} {number}" for number, name in few[:5])
    more = f" and {len(few) - 5} more" if len(few) > 5 else ""
    return f"Label more pictures of what has fewer than {FEW_BOXES} boxes to learn from: {shown}{more}."


def _tiny(outcome: BoxOutcome, faults: Faults) -> str | None:
    """Whether most of what is missed is too small for the network, while larger objects are found."""
    evaluation = outcome.evaluation
    if evaluation.sizes is None or not len(faults.missed):
        return None
    found = evaluation.matches
    sizes = np.array(evaluation.sizes, np.float64)[found.truth_image]
    corners = found.truth_corners
    sides = np.sqrt((corners[:, 2:] - corners[:, :2]).prod(axis=1) / sizes.prod(axis=1))
    small = sides < TINY
    small_missed, missed = int(small[faults.missed].sum()), len(faults.missed)
    if 2 * small_missed <= missed or small.sum() < 10:
        return None
    return (
        f"{small_missed} of the {missed} objects that it misses take less than "
        f"{100 * TINY:g} % of the picture's sides, and no anchor fits them: cut the pictures into parts, or take them "
        "from nearer."
    )


def _by_kind(outcome: BoxOutcome, faults: Faults) -> list[str | None]:
    """What the wrong boxes say, where a third of at least ten are of one kind."""
    counts: dict[str, int] = faults.to_json()["false_alarms_by_kind"]
    total, report = sum(counts.values()), f"{outcome.run}/report.html"
    steps: list[str | None] = []
    if total < 10:
        return steps
    if 3 * counts[BACKGROUND] >= total:
        steps.append(
            f"Look at the most certain false alarms in {report}: {counts[BACKGROUND]} of {total} lie on nothing that "
            "is labelled. Label what was forgotten, and add pictures without any object where they lie on nothing."
        )
    if 3 * counts[OTHER_CLASS] >= total:
        classes = outcome.evaluation.classes
        between = faults.confusion[:-1, :-1].copy()
        np.fill_diagonal(between, 0)
        true, given = divmod(int(between.argmax()), len(classes))
        steps.append(
            f"{counts[OTHER_CLASS]} of {total} wrong boxes are on an object of another class, most often "
            f"{names([classes[true]])} taken for {names([classes[given]])}: label more of both, side by side."
        )
    if 3 * counts[LOOSE] >= total:
        steps.append(
            f"{counts[LOOSE]} of {total} wrong boxes overlap their object by less than half: see whether boxes are "
            "drawn tightly and alike (all of an object, or what is seen of it), and train longer."
        )
    return steps


def _wide(outcome: BoxOutcome) -> str | None:
    interval = outcome.evaluation.ap50_interval
    pictures = outcome.evaluation.pictures_with_boxes
    if interval is not None and interval[1] - interval[0] <= 2 * WIDE:
        return None
    about = (
        "too few for an interval"
        if interval is None
        else f"AP50 may be {100 * interval[0]:.0f} to {100 * interval[1]:.0f} %"
    )
    again = f"mobilenets evaluate {quote(outcome.run)} {quote(outcome.data)}"
    return f"Only {pictures} {outcome.on} pictures have boxes ({about}): label more of them, then {again}."
