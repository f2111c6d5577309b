"""What a detector does wrong: classes taken for one another, false alarms by kind, and misses.

At an overlap of 0.5 and the evaluation's score threshold. The kinds follow TIDE (Bolya et al. 2020, arXiv:2008.08115).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.measure.matching import Integers
from mobilenets.pictures.boxes import overlaps

OTHER_CLASS, LOOSE, TWICE, BACKGROUND = "other class", "loose box", "second box", "background"
KINDS = {
    OTHER_CLASS: "on an object of another class that nothing else found",
    LOOSE: "near an object of its class, but overlapping it by less than half",
    TWICE: "a second box on an object that is found already",
    BACKGROUND: "on no object of its class at all",
}
LEAST_NEAR = 0.1


@dataclass(frozen=True)
class FalseAlarm:
    """A box that is wrong: the picture's place, that of the box in ``found``, its class and score.

    ``kind`` is one of ``KINDS``; ``true`` is the class of the object there where it is of another class.
    """

    image: int
    place: int
    label: int
    score: float
    kind: str
    true: int | None


@dataclass(frozen=True)
class Miss:
    """An object that no box shows: the picture's place, that of the object in ``truths``, its class.

    ``share`` is that of the picture that it takes, its area in pixels where the sizes are not known. ``found_as`` is
    the class that a box on it has, where one has another. ``below`` is the score of a box that would be right, were
    the threshold lower.
    """

    image: int
    place: int
    label: int
    share: float
    found_as: int | None
    below: float | None


class Faults:
    """The faults of an evaluation.

    First each box takes what it is right about, as in the evaluation. Then the surest of the others takes, of the
    objects that are left, the one that it overlaps most, by half or more: a class taken for another.
    ``missed`` are the objects that are not shown, as places among all.
    """

    def __init__(self, evaluation: DetectionEvaluation) -> None:
        self.evaluation = evaluation
        found = evaluation.matches
        self._alarms = np.flatnonzero(evaluation.wrong & evaluation.shown)
        shown = evaluation.right & evaluation.shown
        left = evaluation.counted.copy()
        left[found.partner[shown]] = False
        self.missed = np.flatnonzero(left)

    @cached_property
    def _taken(self) -> dict[int, int]:
        """Of false alarms, as places among all detections, the object of another class that each took."""
        found, taken = self.evaluation.matches, {}
        alarms = self._alarms[np.argsort(-found.score[self._alarms], kind="stable")]
        images = np.intersect1d(found.image[alarms], found.truth_image[self.missed])
        for image in images:
            mine = alarms[found.image[alarms] == image]
            left = self.missed[found.truth_image[self.missed] == image]
            shares = overlaps(found.corners[mine], found.truth_corners[left])
            shares[found.label[mine][:, None] == found.truth_label[left]] = 0
            for row, alarm in enumerate(mine):
                best = int(shares[row].argmax())
                if shares[row, best] >= 0.5:
                    taken[int(alarm)] = int(left[best])
                    shares[:, best] = 0
        return taken

    @cached_property
    def confusion(self) -> Integers:
        """Counts, (K + 1, K + 1): rows are true classes, columns found ones, the last of both is background."""
        found, width = self.evaluation.matches, len(self.evaluation.classes) + 1
        counts = np.zeros((width, width), np.int64)
        shown = self.evaluation.right & self.evaluation.shown
        np.add.at(counts, (found.label[shown], found.label[shown]), 1)
        for alarm, truth in self._taken.items():
            counts[found.truth_label[truth], found.label[alarm]] += 1
        alarms = np.setdiff1d(self._alarms, list(self._taken))
        missed = np.setdiff1d(self.missed, list(self._taken.values()))
        np.add.at(counts, (np.full(len(alarms), width - 1), found.label[alarms]), 1)
        np.add.at(counts, (found.truth_label[missed], np.full(len(missed), width - 1)), 1)
        return counts

    @cached_property
    def false_alarms(self) -> tuple[FalseAlarm, ...]:
        """All wrong boxes that are shown, the surest first."""
        found = self.evaluation.matches
        order = self._alarms[np.argsort(-found.score[self._alarms], kind="stable")]
        return tuple(self._alarm(int(alarm)) for alarm in order)

    def _alarm(self, alarm: int) -> FalseAlarm:
        found, true = self.evaluation.matches, None
        image, label = int(found.image[alarm]), int(found.label[alarm])
        if alarm in self._taken:
            kind, true = OTHER_CLASS, int(found.truth_label[self._taken[alarm]])
        else:
            first, end = np.searchsorted(found.truth_image, (image, image + 1))
            own = found.truth_corners[first:end][found.truth_label[first:end] == label]
            share = overlaps(found.corners[alarm], own).max(initial=0)
            kind = TWICE if share >= 0.5 else LOOSE if share >= LEAST_NEAR else BACKGROUND
        return FalseAlarm(image, int(found.place[alarm]), label, float(found.score[alarm]), kind, true)

    @cached_property
    def misses(self) -> tuple[Miss, ...]:
        """All objects that are not found, those that take most of their picture first."""
        found, sizes = self.evaluation.matches, self.evaluation.sizes
        taken_by = {truth: alarm for alarm, truth in self._taken.items()}
        hidden = np.flatnonzero(self.evaluation.right & ~self.evaluation.shown)
        below = {int(found.partner[row]): float(found.score[row]) for row in hidden}
        misses = []
        for truth in self.missed.tolist():
            image = int(found.truth_image[truth])
            left, upper, right, lower = found.truth_corners[truth].tolist()
            area = (right - left) * (lower - upper)
            share = area if sizes is None else area / (sizes[image][0] * sizes[image][1])
            alarm = taken_by.get(truth)
            found_as = None if alarm is None else int(found.label[alarm])
            place, label = int(found.truth_place[truth]), int(found.truth_label[truth])
            misses.append(Miss(image, place, label, share, found_as, below.get(truth)))
        return tuple(sorted(misses, key=lambda miss: -miss.share))

    def to_json(self) -> dict[str, Any]:
        """The confusion of classes, background last, and how many false alarms of each kind there are."""
        counts = dict.fromkeys(KINDS, 0)
        for alarm in self.false_alarms:
            counts[alarm.kind] += 1
        return {"confusion": self.confusion.tolist(), "false_alarms_by_kind": counts}
