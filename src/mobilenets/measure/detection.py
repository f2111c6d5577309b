"""Every figure about a detector that follows from what it found and what is there, with its uncertainty.

NumPy only, in float64. All fractions run from 0 to 1. Average precision is COCO's (Lin et al. 2014, arXiv:1405.0312;
cocodataset.org/#detection-eval), equal to pycocotools'. Small, medium and large are by the area of the box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mobilenets.errors import InputError
from mobilenets.measure.average_precision import average_precision, interval_95, mean_of_known, resampled
from mobilenets.measure.matching import Flags, Floats, Integers, Matches, match
from mobilenets.measure.metric import Metric
from mobilenets.measure.metrics import Interval, ratio
from mobilenets.pictures.boxes import Boxes
from mobilenets.runtime.detections import Detections

# The loss grows while AP still rises: a network that is surer of all its boxes. On 60 drawn pictures it rose from 5.43
# to 5.55 over the epochs in which AP rose from 12.3 to 13.5 %.
AP = Metric("ap", "AP", "AP (0.5:0.95)", "boxes and classes", higher_is_better=True, fraction=True, loss_decides=False)
"""That of a detector."""

# Runtimes differ by about 1e-6 in a score: nearer ones are the same.
_SAME = 2e-6


@dataclass(frozen=True)
class ClassFigures:
    """The figures of a class; None where the quotient is 0/0, and an interval where there are too few pictures.

    ``precision``, ``recall`` and ``f1`` are at the evaluation's threshold and an overlap of 0.5. ``images`` counts the
    pictures with a box of the class that counts, ``boxes`` those boxes.
    """

    ap: float | None
    ap50: float | None
    ap50_interval: Interval | None
    precision: float | None
    recall: float | None
    f1: float | None
    images: int
    boxes: int


@dataclass(frozen=True, eq=False)
class DetectionEvaluation:
    """What was found in N pictures, and what is there.

    ``truths`` and ``found`` have an entry for each of ``images``; labels are places in ``classes``. ``sizes`` are width
    and height of the pictures in pixels, where they are known. ``loss`` is that of training, where it was taken. From
    the score ``threshold`` on a box is shown to people; None takes the one with the best F1 on these pictures, which is
    slightly optimistic. Figures that there is nothing to measure for are NaN, in JSON null.
    """

    classes: tuple[str, ...]
    images: tuple[str, ...]
    truths: Sequence[Boxes]
    found: Sequence[Detections]
    sizes: Sequence[tuple[int, int]] | None = None
    loss: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "images", tuple(self.images))
        if not self.images:
            raise InputError("there is no picture to measure on")
        if not len(self.images) == len(self.truths) == len(self.found):
            raise ValueError(
                f"{len(self.images)} pictures, {len(self.truths)} with boxes that are there, {len(self.found)} with "
                "boxes that were found: one entry for each picture is wanted"
            )

    def taken(self, places: Sequence[int]) -> DetectionEvaluation:
        """Give the figures of some of the pictures alone."""
        return replace(
            self,
            images=tuple(self.images[place] for place in places),
            truths=[self.truths[place] for place in places],
            found=[self.found[place] for place in places],
            sizes=None if self.sizes is None else [self.sizes[place] for place in places],
        )

    @cached_property
    def matches(self) -> Matches:
        """Which boxes belong together."""
        return match(self.truths, self.found)

    def _figures(self, size: str = "all", most: int = 100) -> tuple[Floats, Floats]:
        return average_precision(self.matches, len(self.classes), size, most)

    @cached_property
    def _all(self) -> tuple[Floats, Floats]:
        return self._figures()

    @cached_property
    def ap(self) -> float:
        """The mean over classes and the overlaps 0.5, 0.55, …, 0.95."""
        return float(mean_of_known(self._all[0].ravel()))

    @cached_property
    def ap50(self) -> float:
        """AP where a box is right from an overlap of 0.5 on."""
        return float(mean_of_known(self._all[0][:, 0]))

    @cached_property
    def ap75(self) -> float:
        """AP where a box is right from an overlap of 0.75 on."""
        return float(mean_of_known(self._all[0][:, 5]))

    @cached_property
    def by_size(self) -> dict[str, tuple[float, float]]:
        """AP and AR of small, medium and large boxes."""
        sizes = {size: self._figures(size) for size in ("small", "medium", "large")}
        return {
            size: (float(mean_of_known(p.ravel())), float(mean_of_known(r.ravel()))) for size, (p, r) in sizes.items()
        }

    @cached_property
    def ar(self) -> dict[int, float]:
        """The recall, averaged over classes and overlaps, with at most 1, 10 and 100 boxes of a class in a picture."""
        return {most: float(mean_of_known(self._figures(most=most)[1].ravel())) for most in (1, 10, 100)}

    @cached_property
    def resampled(self) -> Floats:
        """AP in 1,000 resamples of the pictures by class and overlap, 1000×K×10; see ``resampled``."""
        return resampled(self.matches, len(self.classes))

    @cached_property
    def ap_interval(self) -> Interval | None:
        """The 95 % bootstrap interval of ``ap`` by picture; None where fewer than 20 pictures have boxes."""
        return self._interval(self.ap, self.resampled.reshape(len(self.resampled), -1))

    @cached_property
    def ap50_interval(self) -> Interval | None:
        """The 95 % bootstrap interval of ``ap50`` by picture; None where fewer than 20 pictures have boxes."""
        return self._interval(self.ap50, self.resampled[..., 0])

    def _interval(self, value: float, resamples: Floats) -> Interval | None:
        return _clipped(interval_95(value, mean_of_known(resamples), self.pictures_with_boxes))

    @cached_property
    def pictures_with_boxes(self) -> int:
        """In how many pictures there is a box that counts."""
        return len(np.unique(self.matches.truth_image[self.counted]))

    @property
    def counted(self) -> Flags:
        """Which truths count: not those that are ignored."""
        return self.matches.counts[:, 0]

    @property
    def right(self) -> Flags:
        """Which detections are right at an overlap of 0.5."""
        return self.matches.right[:, 0, 0]

    @property
    def wrong(self) -> Flags:
        """Which detections are false alarms at an overlap of 0.5."""
        return ~self.right & ~self.matches.ignored[:, 0, 0]

    @cached_property
    def shown_from(self) -> float:
        """The score from which boxes are shown: ``threshold``, or that of the best F1 over all classes."""
        if self.threshold is not None:
            return self.threshold
        scores, hits, answers = self._sweep
        if not len(scores):
            return 0.5
        f1 = 2 * hits / (answers + int(self.counted.sum()))
        return self._below(int(f1.argmax()))

    def threshold_for(self, precision: float) -> float | None:
        """Find the lowest score from which on boxes are right at that rate or better, at an overlap of 0.5.

        It lies midway between two scores, since runtimes differ in the last digits. None where even the surest boxes
        fall short of it.
        """
        _, hits, answers = self._sweep
        fitting = np.flatnonzero(hits >= precision * answers - 1e-9)
        return self._below(int(fitting[-1])) if len(fitting) else None

    @cached_property
    def _sweep(self) -> tuple[Floats, Integers, Integers]:
        """The scores at which a threshold can lie, descending, with the right boxes and all boxes from there on."""
        kept = self.right | self.wrong
        order = np.argsort(-self.matches.score[kept], kind="stable")
        scores, right = self.matches.score[kept][order], self.right[kept][order]
        last = np.flatnonzero(np.append(scores[1:] < scores[:-1] - _SAME, np.ones(min(1, len(scores)), np.bool_)))
        return scores[last], np.cumsum(right, dtype=np.int64)[last], last.astype(np.int64) + 1

    def _below(self, place: int) -> float:
        scores = self._sweep[0]
        following = scores[place + 1] if place + 1 < len(scores) else scores[place] - 2 * _SAME
        return float(scores[place] + following) / 2

    @cached_property
    def shown(self) -> Flags:
        """Which detections have at least the score ``shown_from``."""
        return self.matches.score >= self.shown_from

    @cached_property
    def precision(self) -> float | None:
        """The share of the boxes shown that are right."""
        return ratio((self.right & self.shown).sum(), ((self.right | self.wrong) & self.shown).sum())

    @cached_property
    def recall(self) -> float | None:
        """The share of the boxes there that are shown."""
        return ratio((self.right & self.shown).sum(), self.counted.sum())

    @cached_property
    def f1(self) -> float | None:
        """The harmonic mean of ``precision`` and ``recall``."""
        hits, answers = (self.right & self.shown).sum(), ((self.right | self.wrong) & self.shown).sum()
        return ratio(2 * hits, answers + self.counted.sum())

    @cached_property
    def precision_recall(self) -> tuple[Floats, Floats, Floats]:
        """Recall, precision and score as the threshold falls, over the boxes of all classes together."""
        scores, hits, answers = self._sweep
        return hits / max(1, int(self.counted.sum())), hits / np.maximum(answers, 1), scores

    @cached_property
    def per_class(self) -> dict[str, ClassFigures]:
        """The figures of each class, in the order of ``classes``."""
        found, (precisions, _) = self.matches, self._all
        figures = {}
        for label, name in enumerate(self.classes):
            mine, there = (found.label == label) & self.shown, (found.truth_label == label) & self.counted
            hits, boxes = int((self.right & mine).sum()), int(there.sum())
            answers = int(((self.right | self.wrong) & mine).sum())
            images = len(np.unique(found.truth_image[there]))
            figures[name] = ClassFigures(
                _known(float(precisions[label].mean())),
                _known(float(precisions[label, 0])),
                _clipped(interval_95(float(precisions[label, 0]), self.resampled[:, label, 0], images)),
                ratio(hits, answers),
                ratio(hits, boxes),
                ratio(2 * hits, answers + boxes),
                images,
                boxes,
            )
        return figures

    @property
    def metrics(self) -> dict[str, float]:
        """The figures of an epoch in ``history.csv``."""
        loss = {} if self.loss is None else {"loss": self.loss}
        return {**loss, "ap": self.ap, "ap50": self.ap50}

    def summary(self) -> str:
        """Say AP and AP50 with its interval."""
        if math.isnan(self.ap):
            alarms = int((self.wrong & self.shown).sum())
            return f"no box to find, {alarms} false alarm{'s' if alarms != 1 else ''}"
        if self.ap50_interval is None:
            few = self.pictures_with_boxes
            said = f"from {few} picture{'s' if few != 1 else ''} with boxes, too few for an interval"
        else:
            low, high = self.ap50_interval
            said = f"95 % interval {100 * low:.1f} to {100 * high:.1f}"
        return f"AP50 {100 * self.ap50:.1f} % ({said}), AP {100 * self.ap:.1f} %"

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON values; what cannot be measured is null, nothing is NaN."""
        sizes = {f"ap_{size}": _known(value) for size, (value, _) in self.by_size.items()}
        return {
            "images": len(self.images),
            "boxes": int(self.counted.sum()),
            **({} if self.loss is None else {"loss": self.loss}),
            "ap": _known(self.ap),
            "ap_interval": _listed(self.ap_interval),
            "ap50": _known(self.ap50),
            "ap50_interval": _listed(self.ap50_interval),
            "ap75": _known(self.ap75),
            **sizes,
            **{f"ar{most}": _known(value) for most, value in self.ar.items()},
            **{f"ar_{size}": _known(value) for size, (_, value) in self.by_size.items()},
            "pictures_with_boxes": self.pictures_with_boxes,
            "threshold": self.shown_from,
            "threshold_from": "these pictures" if self.threshold is None else "the model",
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "false_alarms": int((self.wrong & self.shown).sum()),
            "missed": int(self.counted.sum()) - int((self.right & self.shown).sum()),
            "classes": {
                name: {**vars(one), "ap50_interval": _listed(one.ap50_interval)} for name, one in self.per_class.items()
            },
        }


def _clipped(interval: Interval | None) -> Interval | None:
    return None if interval is None else (max(0.0, interval[0]), min(1.0, interval[1]))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _listed(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)
