"""Two detectors on the same pictures: by how much does the second differ, and how sure is that?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mobilenets.errors import InputError
from mobilenets.measure.average_precision import LEAST_PICTURES, interval_95, mean_of_known
from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.measure.metrics import Interval


@dataclass(frozen=True, eq=False)
class DetectionPair:
    """A reference and a candidate, evaluated on the same pictures in the same order.

    Raises ``InputError`` where they are not.
    """

    reference: DetectionEvaluation
    candidate: DetectionEvaluation

    def __post_init__(self) -> None:
        one, other = self.reference, self.candidate
        same = one.classes == other.classes and one.images == other.images
        if not same or not np.array_equal(one.matches.truth_corners, other.matches.truth_corners):
            raise InputError("the two were not measured on the same pictures and classes")

    @property
    def ap_change(self) -> float:
        """AP of the candidate minus that of the reference, a fraction."""
        return self.candidate.ap - self.reference.ap

    @property
    def ap50_change(self) -> float:
        """AP50 of the candidate minus that of the reference, a fraction."""
        return self.candidate.ap50 - self.reference.ap50

    @cached_property
    def ap_change_interval(self) -> Interval | None:
        """The 95 % bootstrap interval of ``ap_change``, both in the same resamples of the pictures."""
        return self._interval(self.ap_change, slice(None))

    @cached_property
    def ap50_change_interval(self) -> Interval | None:
        """The 95 % bootstrap interval of ``ap50_change``, both in the same resamples of the pictures."""
        return self._interval(self.ap50_change, slice(1))

    def _interval(self, change: float, overlaps: slice) -> Interval | None:
        means = [
            mean_of_known(one.resampled[..., overlaps].reshape(len(one.resampled), -1))
            for one in (self.candidate, self.reference)
        ]
        differences = means[0] - means[1]
        if not differences.any():  # the same boxes, or none that count
            return (0.0, 0.0) if self.reference.pictures_with_boxes >= LEAST_PICTURES else None
        return interval_95(change, differences, self.reference.pictures_with_boxes)
