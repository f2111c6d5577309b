"""Foreign detectors of SSDLite's form: what all their readers make of extras and heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.detection.anchors import Shapes
from mobilenets.models.detection.plan import detection_of, plan_detector
from mobilenets.runtime.detection import Detection
from mobilenets.weights.layers import Layer, of_kind


@dataclass(frozen=True)
class Found:
    """What a file tells of its detector.

    ``tap`` counts the convolutions before the map inside the body that boxes are found on, where the file tells.
    ``fields`` are those of ``Detection`` beside size, maps, shapes and extras.
    """

    shapes: Shapes
    extras: tuple[tuple[int, int], ...]
    tap: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    def detection(self, architecture: Architecture) -> Detection:
        """Describe how the outputs on this body are read; raises ``InputError`` where the heads stand elsewhere."""
        detection = replace(detection_of(architecture, self.extras, self.shapes), **self.fields)
        plan = plan_detector(architecture, 1, detection)
        names = [part.name for part in plan.convolutions]
        if self.tap is not None and plan.tap.name in names and names.index(plan.tap.name) + 1 != self.tap:
            raise InputError(
                "its first head stands on another map than the one before the last stride, as SSDLite's do"
            )
        return detection


def classes_of(behind: Sequence[Layer], detection: Detection) -> int:
    """Count the classes by the last head: its columns without the background. Raises ``InputError``."""
    outputs = len(of_kind(behind, "conv")[-1].arrays["weight"])
    columns, rest = divmod(outputs, len(detection.shapes[-1]))
    if rest or columns < 2:
        raise InputError(f"its last head gives {outputs} numbers for {len(detection.shapes[-1])} anchors a place")
    return columns - 1


def corners_first(layer: Layer) -> Layer:
    """Give a head of codes y, x, h, w, as TensorFlow has them, as one of x, y, w, h."""
    order = np.arange(len(layer.arrays["weight"])).reshape(-1, 4)[:, [1, 0, 3, 2]].reshape(-1)
    return replace(layer, arrays={part: array[order] for part, array in layer.arrays.items()})


def extras_of(layers: Sequence[Layer]) -> tuple[tuple[int, int], ...]:
    """Read the channels inside and out of the layers behind the body: 1×1, depthwise, 1×1. Raises ``InputError``."""
    shapes = [layer.arrays["weight"].shape for layer in layers if layer.kind in ("conv", "depthwise")]
    found = []
    for start in range(0, len(shapes), 3):
        parts = shapes[start : start + 3]
        if len(parts) < 3 or [shape[2] for shape in parts] != [1, 3, 1] or parts[1][:2] != (parts[0][0], 1):
            raise InputError(f"a layer behind its body is no 1×1, depthwise 3×3 and 1×1, {PLAIN}")
        found.append((parts[0][0], parts[2][0]))
    return tuple(found)


PLAIN = "as in SSDLite: only SSDLite on a MobileNet can be read"
