"""SSDLite as a PyTorch module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from mobilenets.models.architecture import Architecture
from mobilenets.models.blocks import Block, build, joined
from mobilenets.models.catalog import TableLike
from mobilenets.models.detection.plan import COCO_CLASSES, DetectorPlan, describe_detector, plan_detector
from mobilenets.models.network import Network
from mobilenets.runtime.detection import Detection

INIT_STD = 0.03


Function = Callable[[Tensor], Tensor]


class Parts(NamedTuple):
    """What a detector computes: blocks, of which one may stand for several, and heads of boxes and scores.

    ``both`` is the block inside which the first heads' map is made: it gives its own output, and that map.
    """

    before: Sequence[Function]
    both: Callable[[Tensor], tuple[Tensor, Tensor]]
    after: Sequence[Function]
    extras: Sequence[Function]
    heads: Sequence[tuple[Function, Function]]


class Detector(Network):
    """An SSDLite: a ``body`` as a ``Network`` of ``architecture`` has it, ``extras`` behind it, and ``heads``.

    Takes float N×3×S×S and gives N × anchors × (4 + 1 + classes): the codes x, y, w, h of each anchor's box, then the
    logits of the background and of the classes. ``mobilenets.runtime.detection`` says how they are read. Parameters
    of the body are named as in a ``Network``, so that a classifier's weights load by name; the others are
    ``extras.0.reduce.conv.weight``, ``heads.0.boxes.predict.conv.bias``.
    """

    plan: DetectorPlan

    def __init__(self, architecture: Architecture, classes: int, detection: Detection) -> None:
        plan = plan_detector(architecture, classes, detection)
        super().__init__(architecture, classes, plan)
        self.detection = detection
        self.extras = nn.Sequential(*(build(block.name, block.operations) for block in plan.extras))
        self.heads = nn.ModuleList(
            nn.ModuleDict(
                {
                    name: build(f"heads.{place}.{name}", operations)
                    for name, operations in (("boxes", head.boxes), ("scores", head.scores))
                }
            )
            for place, head in enumerate(plan.heads)
        )
        initialise_detection(self)
        self.tapped = next(
            place for place, block in enumerate(plan.blocks) if any(plan.tap.name in o.inputs for o in block.operations)
        )

    @property
    def parts(self) -> Parts:
        """What is computed, in its order, by the modules themselves."""
        body, place = list(self.body), self.tapped
        tapped, name = body[place], self.plan.tap.name

        def both(x: Tensor) -> tuple[Tensor, Tensor]:
            return tapped.both(x, name) if isinstance(tapped, Block) else (tapped(x), x)

        heads = [(head["boxes"], head["scores"]) for head in self.heads]  # type: ignore[index]
        return Parts(body[:place], both, body[place + 1 :], list(self.extras), heads)

    def forward(self, x: Tensor, start: int = 0, parts: Parts | None = None) -> Tensor:
        """Give the outputs for a batch; ``parts`` compute what the modules do, where given."""
        if start:
            raise ValueError("a detector runs from its pictures on")
        before, both, after, extras, heads = parts or self.parts
        for block in before:
            x = block(x)
        x, tap = both(x)
        for block in after:
            x = block(x)
        maps = [tap, x]
        for extra in extras:
            maps.append(extra(maps[-1]))
        found = [part(map_) for head, map_ in zip(heads, maps, strict=True) for part in head]
        return joined(*found, columns=self.plan.join.columns)


def initialise_detection(detector: Detector) -> None:
    """Set fresh weights behind the body: a truncated normal of deviation 0.03, as in TensorFlow's configurations.

    Biases are 0, the background's too: hard negative mining keeps the negatives from drowning the boxes, which is
    what a bias for the background would be for (arXiv 1512.02325, section 2.2; ``class_prediction_bias_init`` is 0).
    """
    for part in (*detector.extras.modules(), *detector.heads.modules()):
        if isinstance(part, nn.Conv2d):
            nn.init.trunc_normal_(part.weight, std=INIT_STD, a=-2 * INIT_STD, b=2 * INIT_STD)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def create_detector(
    name: str,
    width: float = 1.0,
    size: int | None = None,
    classes: int = COCO_CLASSES,
    *,
    table: TableLike | None = None,
) -> Detector:
    """Build an SSDLite with fresh weights: a network of the catalogue by name, by default for 320 pixels.

    Raises ``InputError`` for what cannot be built.
    """
    architecture, detection = describe_detector(name, width, size, table=table)
    return Detector(architecture, classes, detection)
