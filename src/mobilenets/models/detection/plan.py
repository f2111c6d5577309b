"""The plan of an SSDLite: the body's operations, those behind it, and the heads'. No torch.

Sources: arXiv 1801.04381, section 6.2 (SSDLite, and on V2 the first map from the expansion of the last block that
strides, the second from the last layer); arXiv 1905.02244, section 6.3 (V3, the same: C4's expansion); TensorFlow's
``ssd_mobilenet_v2_feature_extractor`` and ``convolutional_box_predictor``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from mobilenets.errors import InputError
from mobilenets.models.architecture import MAX_CLASSES, Architecture
from mobilenets.models.builder import Builder
from mobilenets.models.catalog import TableLike, describe
from mobilenets.models.detection.anchors import Shapes, tensorflow_shapes
from mobilenets.models.operations import Join, Operation, Value, Window
from mobilenets.models.plan import Block, Plan, plan_block, plan_network
from mobilenets.models.rows import BIASED, PooledHead, Row
from mobilenets.runtime.detection import Detection

SIZE = 320
COCO_CLASSES = 80
EXTRAS = (512, 256, 256, 128)
"""Channels of the layers behind the body at width 1; each halves its map."""
OUTPUTS = "outputs"


@dataclass(frozen=True)
class Extra(Row):
    """A layer behind the body: 1×1 to ``inside`` channels, 3×3 at stride 2, 1×1; ReLU6 after each."""

    kind: ClassVar[str] = "extra"
    title: ClassVar[str] = "extra"
    inside: int
    channels: int

    def write(self, plan: Builder, x: Value) -> Value:
        """Write the layer; its channels are at the network's width already."""
        y = plan.conv("reduce", x, self.inside, activation="relu6")
        y = plan.depthwise("depthwise", y, 3, 2, activation="relu6")
        return plan.conv("project", y, self.channels, activation="relu6")


@dataclass(frozen=True)
class Head:
    """What finds boxes on one map: ``boxes`` gives their codes and ``scores`` the columns of each anchor."""

    boxes: tuple[Operation, ...]
    scores: tuple[Operation, ...]


@dataclass(frozen=True)
class DetectorPlan(Plan):
    """A whole detector; ``tap`` is the map inside the body that the first head stands on, ``join`` gives the output."""

    extras: tuple[Block, ...]
    heads: tuple[Head, ...]
    tap: Value
    join: Join

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """All operations in forward order."""
        blocks = [part for block in (*self.blocks, *self.extras) for part in block.operations]
        return (*blocks, *(part for head in self.heads for part in (*head.boxes, *head.scores)), self.join)

    @property
    def pooled(self) -> Value:
        """What the body gives: nothing is pooled."""
        return self.maps

    @property
    def sources(self) -> tuple[Value, ...]:
        """The maps that the heads stand on."""
        return (self.tap, self.maps, *(block.output for block in self.extras))


def describe_detector(
    name: str,
    width: float = 1.0,
    size: int | None = None,
    *,
    table: TableLike | None = None,
    shapes: Shapes | None = None,
) -> tuple[Architecture, Detection]:
    """Describe an SSDLite without building it, by default at 320 pixels with TensorFlow's anchors.

    ``name``, ``width`` and ``table`` are as ``catalog.describe`` takes them; ``shapes`` are the anchors of each map.
    Raises ``InputError`` for what cannot be built.
    """
    architecture = describe(name, width, size or SIZE, variant="standard" if table is None else "auto", table=table)
    style = architecture.style
    # At the body's width and rounded as its channels are; TensorFlow's code cuts to whole numbers here, which are the
    # same from the width of 0.5 on in quarters.
    extras = tuple(
        (style.rounded(channels // 2 * style.width), style.rounded(channels * style.width)) for channels in EXTRAS
    )
    return architecture, detection_of(architecture, extras, shapes or tensorflow_shapes(2 + len(extras)))


def detection_of(
    architecture: Architecture,
    extras: Sequence[tuple[int, int]],
    shapes: Shapes,
) -> Detection:
    """Describe how the outputs of a body with these layers behind it are read."""
    body, tap, behind = _body(architecture, extras)
    sides = (tap.side, body.maps.side, *(block.output.side for block in behind))
    return Detection(architecture.size, sides, shapes, tuple(extras))


def resized(architecture: Architecture, detection: Detection, size: int) -> tuple[Architecture, Detection]:
    """Give the same detector for pictures of another size; anchors stay the same shares of the picture."""
    other = replace(architecture, size=size)
    return other, replace(detection, size=size, maps=detection_of(other, detection.extras, detection.shapes).maps)


def plan_detector(architecture: Architecture, classes: int, detection: Detection) -> DetectorPlan:
    """Plan the detector of ``classes`` classes, to which the background comes as the first column.

    Raises ``InputError`` where ``detection`` is of another network.
    """
    if isinstance(classes, bool) or not isinstance(classes, int) or not 1 <= classes <= MAX_CLASSES:
        raise InputError(f"classes {classes}: a detector needs a whole number of at least 1")
    body, tap, extras = _body(architecture, detection.extras)
    sources = (tap, body.maps, *(block.output for block in extras))
    if (architecture.size, *(map_.side for map_ in sources)) != (detection.size, *detection.maps):
        raise InputError("detection: its size or maps are not those of the architecture")
    heads, given = [], []
    for place, (map_, shapes) in enumerate(zip(sources, detection.shapes, strict=True)):
        parts = []
        for name, columns in (("boxes", 4), ("scores", 1 + classes)):
            builder = Builder(f"heads.{place}.{name}", architecture.style)
            y = builder.depthwise("depthwise", map_, activation="relu6")
            y = builder.conv("predict", y, len(shapes) * columns, activation="none", **BIASED)
            parts.append(tuple(builder.operations))
            given.append(y)
        heads.append(Head(*parts))
    join = Join(
        name=OUTPUTS,
        inputs=tuple(value.name for value in given),
        input_shape=given[0].shape,
        output_shape=(detection.count, 5 + classes),
        columns=(4, 1 + classes),
    )
    return DetectorPlan(body.images, body.blocks, (), (), None, extras, tuple(heads), tap, join)


def _body(architecture: Architecture, extras: Sequence[tuple[int, int]]) -> tuple[Plan, Value, tuple[Block, ...]]:
    """Plan the body, find what its last stride takes, and plan the layers behind it."""
    table, style = architecture.table, architecture.style
    body = plan_network(table.body, PooledHead(), style, architecture.size, 0)
    strided = [part for block in body.blocks for part in block.operations if isinstance(part, Window)]
    last = next((part for part in reversed(strided) if part.stride > 1), None)
    if last is None:
        raise InputError("table: without a stride it has no two maps to find boxes on")
    blocks: list[Block] = []
    for place, (inside, channels) in enumerate(extras):
        x = blocks[-1].output if blocks else body.maps
        blocks.append(plan_block(f"extras.{place}", Extra(inside, channels), x, style))
    return body, Value(last.inputs[0], last.input_shape), tuple(blocks)
