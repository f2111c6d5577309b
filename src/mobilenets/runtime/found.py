"""The answers of a detector: boxes with names and scores. NumPy only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mobilenets.errors import InputError
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.detections import Detections, decode, finished
from mobilenets.runtime.labels import Labels

Outputs = npt.NDArray[np.float32]

# Shown from this score on where the model says nothing else, as TensorFlow's and torchvision's examples do.
SHOWN = 0.5
ROW = 6


class Box(NamedTuple):
    """A thing in a picture: its class, a score from 0 to 1, and x0, y0, x1, y1 in pixels of the upright picture."""

    label: str
    score: float
    box: tuple[float, float, float, float]


class Found:
    """Detection: outputs are box codes and logits, N×A×(4 + 1 + classes), or finished boxes, N×K×6, of a file."""

    softmax = False

    def scores(self, outputs: Outputs) -> Outputs:
        """Give the outputs: what they mean is known with the picture's size, see ``read``."""
        return outputs

    def outputs(self, scores: Outputs) -> Outputs:
        """Give the finished boxes as they are."""
        return scores

    def read(self, row: Any, bundle: Bundle, upright: tuple[int, int], boxes: bool) -> Detections:
        """Give all boxes of one picture, from its scores; ``boxes``: they are finished ones.

        ``upright`` is the width and height of the picture. Raises ``FaultFound`` where the outputs are not finite.
        """
        if boxes:
            return finished(row, *upright)
        if bundle.detection is None:
            raise InputError("model.json does not say how boxes are decoded (detection): train or import it again")
        return decode(row, bundle.detection, *upright, bundle.preprocessing)

    def fault(self, given: Outputs, bundle: Bundle, scores: bool) -> str | None:
        """Say so where there are not the boxes and scores that ``model.json`` speaks of, or not finite ones."""
        detection = bundle.detection
        if detection is None:
            return "model.json does not say how its boxes are decoded (detection); export the model again"
        if scores:
            right = given.ndim == 3 and given.shape[0] == 1 and given.shape[2] == ROW
            if not right:
                return f"outputs {'×'.join(map(str, given.shape))} numbers, not rows of box, score and class"
        else:
            wanted = (1, detection.count, 5 + len(bundle.classes))
            if given.shape != wanted:
                shapes = ["×".join(map(str, shape)) for shape in (given.shape, wanted)]
                return f"outputs {shapes[0]} numbers, but model.json speaks of {shapes[1]}"
        if not np.isfinite(given).all():
            return "outputs numbers that are not finite; export the model again"
        return None

    def about(self, bundle: Bundle) -> dict[str, Any]:
        """Give classes, names, groups, and the score from which boxes are shown."""
        return about_classes(bundle) | {"threshold": shown_from(bundle)}

    def brief(self, scores: Detections, bundle: Bundle, top: int | None) -> list[Box]:
        """Give the boxes whose score is high enough to be shown, the best first; at most ``top``."""
        found = self._shown(scores, bundle, top)
        return [
            Box(bundle.classes[label], score, (box[0], box[1], box[2], box[3]))
            for label, score, box in zip(
                found.labels.tolist(), found.scores.tolist(), found.corners.tolist(), strict=True
            )
        ]

    def answer(self, scores: Detections, bundle: Bundle, top: int | None, language: str | None) -> dict[str, Any]:
        """Give them as ``detections``; where the model has labels each has its ``name`` and ``group``."""
        made = self._shown(scores, bundle, top).to_json(bundle.classes)
        add_names(made, bundle.labels, language)
        return {"detections": made}

    def _shown(self, found: Detections, bundle: Bundle, top: int | None) -> Detections:
        if top is not None:
            check_top(top)
        return found.above(shown_from(bundle)).taken(slice(top))


def shown_from(bundle: Bundle) -> float:
    """Say from which score on boxes are shown."""
    return SHOWN if bundle.threshold is None else bundle.threshold


def about_classes(bundle: Bundle) -> dict[str, Any]:
    """Give a model's classes, with their names and groups and the languages of these, and its threshold."""
    labels = bundle.labels
    return {
        "classes": list(bundle.classes),
        "labels": None if labels is None else labels.to_json(),
        "languages": [] if labels is None else list(labels.languages),
        "threshold": bundle.threshold,
    }


def add_names(entries: Iterable[dict[str, Any]], labels: Labels | None, language: str | None) -> None:
    """Add to what has a ``label`` its ``name`` in a language and its ``group``, where the model has labels."""
    if labels is None:
        return
    for entry in entries:
        entry["name"] = labels.name(entry["label"], language)
        if (group := labels.group(entry["label"])) is not None:
            entry["group"] = group


def check_top(top: int) -> None:
    """Refuse a number of answers that is none."""
    if top < 1:
        raise InputError(f"top {top}: give a number of at least 1")
