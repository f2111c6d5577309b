"""The rows of a paper's table, and its heads: one frozen dataclass a kind, which writes its operations into a plan.

A row holds the figures as the paper prints them, for width multiplier 1; ``Style`` carries what holds for a whole
network (width, rounding, BatchNorm epsilon, padding, activation) into every block. A new kind of row is a frozen
dataclass with ``kind``, ``title`` and ``write``, and an entry in ``ROWS``, by which tables in JSON find it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias, TypeVar

from mobilenets.errors import InputError
from mobilenets.models.builder import Builder
from mobilenets.models.operations import Value

BIASED: dict[str, Any] = {"norm": False, "bias": True}  # a convolution without BatchNorm

# What a field may hold; ``mobilenets.models.architecture`` checks tables in JSON by these names.
Kernel: TypeAlias = int  # odd: an even kernel has no middle, so a map of odd side would change its size
Factor: TypeAlias = float  # above 0
Share: TypeAlias = float  # from 0 to below 1
Activation: TypeAlias = str  # one of mobilenets.models.operations.ACTIVATIONS


@dataclass(frozen=True)
class Row:
    """A row of a table: one block, or several equal ones with ``stage``.

    ``kind`` names it in JSON and in the state dictionary (``body.inverted3``), ``title`` in tables and diagrams.
    ``expands`` says that ``Block.expansion`` means something. ``counts`` names the convolution whose channels a field
    counts, by field: pruning (``mobilenets.models.prune``) writes what it leaves there.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    expands: ClassVar[bool] = False
    counts: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def write(self, plan: Builder, x: Value) -> Value:
        """Write the block's operations on ``x`` and return what the last of them gives."""


@dataclass(frozen=True)
class Conv(Row):
    """An ordinary convolution. ``widen_only``: width multipliers below 1 leave it as it is (V2's last layer)."""

    kind: ClassVar[str] = "conv"
    title: ClassVar[str] = "conv"
    counts: ClassVar[Mapping[str, str]] = {"channels": ""}
    channels: int
    kernel: Kernel = 3
    stride: int = 1
    widen_only: bool = False
    activation: Activation | None = None

    def write(self, plan: Builder, x: Value) -> Value:
        """Write the convolution."""
        channels = plan.style.channels(self.channels, widen_only=self.widen_only)
        return plan.conv("", x, channels, self.kernel, self.stride, activation=self.activation)


@dataclass(frozen=True)
class Separable(Row):
    """A depthwise separable convolution of V1: a depthwise one, then a 1×1 (arXiv 1704.04861, section 3.1)."""

    kind: ClassVar[str] = "separable"
    title: ClassVar[str] = "separable"
    counts: ClassVar[Mapping[str, str]] = {"channels": "pointwise"}
    channels: int
    kernel: Kernel = 3
    stride: int = 1
    activation: Activation | None = None

    def write(self, plan: Builder, x: Value) -> Value:
        """Filter each channel, then mix them."""
        y = plan.depthwise("depthwise", x, self.kernel, self.stride, activation=self.activation)
        return plan.conv("pointwise", y, plan.style.channels(self.channels), activation=self.activation)


# The channels of what V2's, V3's and V4's blocks have in common.
BOTTLENECK = {"channels": "project", "expanded": "expand"}


@dataclass(frozen=True)
class Inverted(Row):
    """An inverted residual of V2 (arXiv 1801.04381, sections 3.2 and 3.3, table 1).

    It expands, filters, and projects without an activation; the input is added where stride is 1 and the channels
    agree, unless ``residual`` is false. ``expand`` is the paper's *t*, which may be a fraction, or ``expanded`` gives
    the channels inside. Where those are the input's there is no expansion layer, as in the reference code's first
    block, unless ``always_expand``, as in some re-implementations. ``squeeze`` is the share of the channels inside to
    which V3's squeeze-and-excitation narrows them behind the filter (arXiv 1905.02244, section 5.3), rounded as
    channels are; ``squeezed`` gives that number itself.
    """

    kind: ClassVar[str] = "inverted"
    title: ClassVar[str] = "inverted residual"
    expands: ClassVar[bool] = True
    counts: ClassVar[Mapping[str, str]] = {**BOTTLENECK, "squeezed": "excite.reduce"}
    channels: int
    kernel: Kernel = 3
    stride: int = 1
    expand: Factor = 6
    always_expand: bool = False
    expanded: int | None = None
    activation: Activation | None = None
    squeeze: Share = 0.0
    squeezed: int | None = None
    residual: bool | None = None

    def write(self, plan: Builder, x: Value) -> Value:
        """Write the bottleneck."""
        style, activation = plan.style, self.activation
        wide = style.inside(x.channels, self.expand, self.expanded)
        y = x
        if self.always_expand or wide != x.channels:
            y = plan.conv("expand", y, wide, activation=activation)
        y = plan.depthwise("depthwise", y, self.kernel, self.stride, activation=activation)
        if self.squeeze:
            gate = plan.mean_pool(y, "excite.mean")
            few = self.squeezed or style.rounded(wide * self.squeeze)
            gate = plan.conv("excite.reduce", gate, few, activation="relu", **BIASED)
            gate = plan.conv("excite.expand", gate, wide, activation="hard_sigmoid", **BIASED)
            y = plan.scale(y, gate, "excite")
        y = plan.conv("project", y, style.channels(self.channels), activation="none")
        return plan.closed(x, y, self.stride, self.residual)


@dataclass(frozen=True)
class Fused(Row):
    """A fused inverted bottleneck of V4 (arXiv 2404.10518, section 3): an ordinary convolution expands and filters."""

    kind: ClassVar[str] = "fused"
    title: ClassVar[str] = "fused inverted"
    expands: ClassVar[bool] = True
    counts: ClassVar[Mapping[str, str]] = BOTTLENECK
    channels: int
    kernel: Kernel = 3
    stride: int = 1
    expand: Factor = 4
    activation: Activation | None = None
    expanded: int | None = None
    residual: bool | None = None

    def write(self, plan: Builder, x: Value) -> Value:
        """Write the bottleneck."""
        wide = plan.style.inside(x.channels, self.expand, self.expanded)
        y = plan.conv("expand", x, wide, self.kernel, self.stride, activation=self.activation)
        y = plan.conv("project", y, plan.style.channels(self.channels), activation="none")
        return plan.closed(x, y, self.stride, self.residual)


@dataclass(frozen=True)
class Universal(Row):
    """A universal inverted bottleneck of V4 (arXiv 2404.10518, section 3).

    Between a filter at the ``start``, without an activation, and one in the ``middle`` it expands, and then projects;
    each filter is the side of its kernel, or None for no such filter. With the second alone it is an inverted
    residual, with the first alone ConvNeXt's block, with both *ExtraDW*, with none a feed-forward network. The stride
    is the second filter's where there is one.
    """

    kind: ClassVar[str] = "universal"
    title: ClassVar[str] = "universal inverted"
    expands: ClassVar[bool] = True
    counts: ClassVar[Mapping[str, str]] = BOTTLENECK
    channels: int
    start: Kernel | None = None
    middle: Kernel | None = None
    stride: int = 1
    expand: Factor = 4
    activation: Activation | None = None
    expanded: int | None = None
    residual: bool | None = None

    def write(self, plan: Builder, x: Value) -> Value:
        """Write the bottleneck; raises ``InputError`` for a stride without a filter."""
        if self.stride > 1 and not self.start and not self.middle:
            raise InputError(f"table: a universal row with stride {self.stride} needs a filter: give start or middle")
        y = x
        if self.start:
            y = plan.depthwise("start", y, self.start, 1 if self.middle else self.stride, activation="none")
        wide = plan.style.inside(x.channels, self.expand, self.expanded)
        y = plan.conv("expand", y, wide, activation=self.activation)
        if self.middle:
            y = plan.depthwise("middle", y, self.middle, self.stride, activation=self.activation)
        y = plan.conv("project", y, plan.style.channels(self.channels), activation="none")
        return plan.closed(x, y, self.stride, self.residual)


@dataclass(frozen=True)
class MaxPool(Row):
    """Max pooling over ``kernel``×``kernel`` pixels, without overlap; a rest at the border is kept."""

    kind: ClassVar[str] = "maxpool"
    title: ClassVar[str] = "max pool"
    kernel: int = 2

    def write(self, plan: Builder, x: Value) -> Value:
        """Write the pooling."""
        return plan.max_pool(x, self.kernel)


def _by_kind(kinds: Iterable[Any]) -> dict[str, Any]:
    return {kind.kind: kind for kind in kinds}


ROWS: dict[str, type[Row]] = _by_kind((Conv, Separable, Inverted, Fused, Universal, MaxPool))
AnyRow = TypeVar("AnyRow", bound=Row)


def stage(first: AnyRow, repeats: int) -> tuple[AnyRow, ...]:
    """Repeat a row; only the first keeps the stride (*n* and *s* of V2's table 2)."""
    return (first, *(_strided(first, 1) for _ in range(repeats - 1)))


def without_first_strides(rows: tuple[Row, ...], count: int) -> tuple[Row, ...]:
    """Set the first ``count`` strides above 1 to 1; pooling keeps its own."""
    kept: list[Row] = []
    for row in rows:
        if count and getattr(row, "stride", 1) > 1:
            row, count = _strided(row, 1), count - 1
        kept.append(row)
    return tuple(kept)


def _strided(row: AnyRow, stride: int) -> AnyRow:
    changed: dict[str, Any] = {"stride": stride}
    return replace(row, **changed)


@dataclass(frozen=True)
class Head:
    """What comes behind the last map; the classifier, one linear layer after dropout, follows it in every network.

    ``l2`` is the weight of ``l2 / 2 · ‖w‖²`` of the classifier's weights alone in the loss.
    """

    kind: ClassVar[str]
    counts: ClassVar[Mapping[str, str]] = {}
    dropout: Share = 0.0
    l2: Share = 0.0

    @abstractmethod
    def pool(self, plan: Builder, x: Value) -> Value:
        """Write what makes of the last map a vector, or a map of one place: nothing with weights."""

    def layers(self, plan: Builder, x: Value) -> Value:
        """Write what stands between that and the classifier, and return a vector."""
        return x


@dataclass(frozen=True)
class PooledHead(Head):
    """Global average pooling: fits maps of any size."""

    kind: ClassVar[str] = "pooled"

    def pool(self, plan: Builder, x: Value) -> Value:
        """Write the mean over all places."""
        return plan.flatten(plan.mean_pool(x, "mean"))


@dataclass(frozen=True)
class FlatHead(Head):
    """The whole map as one vector: bound to one input size."""

    kind: ClassVar[str] = "flat"

    def pool(self, plan: Builder, x: Value) -> Value:
        """Write the map as it is, channel by channel."""
        return plan.flatten(x)


@dataclass(frozen=True)
class HiddenHead(Head):
    """Global average pooling, then a 1×1 convolution before the classifier: V3's with a bias, V4's with a ``norm``.

    Width multipliers below 1 leave its ``channels`` as they are.
    """

    kind: ClassVar[str] = "hidden"
    counts: ClassVar[Mapping[str, str]] = {"channels": "hidden"}
    channels: int = 1280
    norm: bool = False
    activation: Activation | None = None

    def pool(self, plan: Builder, x: Value) -> Value:
        """Write the mean over all places."""
        return plan.mean_pool(x)

    def layers(self, plan: Builder, x: Value) -> Value:
        """Write the convolution."""
        channels = plan.style.channels(self.channels, widen_only=True)
        y = plan.conv("hidden", x, channels, activation=self.activation, norm=self.norm, bias=not self.norm)
        return plan.flatten(y)


HEADS: dict[str, type[Head]] = _by_kind((PooledHead, FlatHead, HiddenHead))
