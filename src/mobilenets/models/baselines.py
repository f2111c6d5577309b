"""Networks to compare the MobileNets with: ResNet-18, ResNet-50, and V1 with plain convolutions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mobilenets.models.builder import Builder
from mobilenets.models.operations import Value
from mobilenets.models.rows import Conv, PooledHead, Row, Separable, stage
from mobilenets.models.tables import V1, Table

# MobileNetV1 with an ordinary 3×3 convolution in place of each separable one: the network that arXiv 1704.04861,
# table 4, holds against it (29.3 M parameters, 4866 M multiply-accumulates), built of equal layers as VGG is.
PLAIN = replace(
    V1,
    body=tuple(Conv(row.channels, stride=row.stride) for row in V1.body if isinstance(row, Conv | Separable)),
    head=PooledHead(),
)


@dataclass(frozen=True)
class Basic(Row):
    """Two 3×3 convolutions around which the input goes (He et al. 2015, arXiv 1512.03385, figure 5, left)."""

    kind: ClassVar[str] = "basic"
    title: ClassVar[str] = "basic residual"
    channels: int
    stride: int = 1

    def write(self, plan: Builder, x: Value) -> Value:
        """Write the block."""
        y = plan.conv("first", x, self.channels, 3, self.stride)
        y = plan.conv("second", y, self.channels, 3, activation="none")
        return _around(plan, x, y, self.stride)


@dataclass(frozen=True)
class Bottleneck(Row):
    """1×1 down, 3×3, 1×1 up to four times the channels (arXiv 1512.03385, figure 5, right).

    The stride is in the 3×3, as in the code that the usual figures belong to (torchvision, ResNet "v1.5").
    """

    kind: ClassVar[str] = "bottleneck"
    title: ClassVar[str] = "bottleneck residual"
    channels: int
    stride: int = 1

    def write(self, plan: Builder, x: Value) -> Value:
        """Write the block."""
        y = plan.conv("reduce", x, self.channels)
        y = plan.conv("filter", y, self.channels, 3, self.stride)
        y = plan.conv("expand", y, 4 * self.channels, activation="none")
        return _around(plan, x, y, self.stride)


def _around(plan: Builder, x: Value, y: Value, stride: int) -> Value:
    """Add the input, through a 1×1 convolution where it has another shape."""
    if x.shape != y.shape:
        x = plan.conv("shortcut", x, y.channels, 1, stride, activation="none")
    return plan.activation(plan.add(y, x, "sum"))


@dataclass(frozen=True)
class Overlapping(Row):
    """Max pooling over 3×3 pixels at stride 2."""

    kind: ClassVar[str] = "overlapping"
    title: ClassVar[str] = "max pool"

    def write(self, plan: Builder, x: Value) -> Value:
        """Write the pooling."""
        return plan.max_pool(x, 3, 2)


def resnet(block: type[Basic] | type[Bottleneck], repeats: tuple[int, ...]) -> Table:
    """Build a residual network's table (arXiv 1512.03385, table 1)."""
    stages = [stage(block(64 * 2**n, stride=2 if n else 1), count) for n, count in enumerate(repeats)]
    body = (Conv(64, kernel=7, stride=2), Overlapping(), *(row for rows in stages for row in rows))
    return Table(body, PooledHead(), rounding="exact", norm_epsilon=1e-5, activation="relu")


RESNETS = {"resnet18": resnet(Basic, (2, 2, 2, 2)), "resnet50": resnet(Bottleneck, (3, 4, 6, 3))}
BASELINES = {**RESNETS, "plain": PLAIN}
