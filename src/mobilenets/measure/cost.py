"""What a network costs: parameters and multiply-accumulates, a layer and a block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mobilenets.models.architecture import Architecture
from mobilenets.models.operations import Conv, Linear, MeanPool
from mobilenets.models.plan import Plan


@dataclass(frozen=True)
class LayerCost:
    """One layer: what it gives (channels, height, width or features), its parameters and its MACs for one picture."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    macs: int


@dataclass(frozen=True)
class BlockCost:
    """One row of the table as built; sizes are (height, width) in pixels of the map."""

    name: str
    kind: str
    channels: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    kernel: int
    stride: int
    expand: float | None
    depthwise: bool
    residual: bool
    parameters: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """The costs of a network for one picture of ``size`` pixels per side.

    ``parameters`` counts every learned value, BatchNorm's scale and shift included and its running statistics not;
    ``macs`` counts convolutions and the classifier, without BatchNorm and activations;
    ``bytes`` is what all values take in float32, BatchNorm's running statistics among them.
    """

    name: str
    width: float
    size: int
    variant: str
    classes: int
    bytes: int
    layers: tuple[LayerCost, ...]
    blocks: tuple[BlockCost, ...]

    @property
    def parameters(self) -> int:
        """Learned values in all."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one picture."""
        return sum(layer.macs for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Return the keys of ``summary --json``."""
        return {
            "name": self.name,
            "width": self.width,
            "size": self.size,
            "variant": self.variant,
            "classes": self.classes,
            "parameters": self.parameters,
            "macs": self.macs,
            "layers": [vars(layer) | {"output": list(layer.output)} for layer in self.layers],
        }


def cost(architecture: Architecture, classes: int, plan: Plan | None = None) -> Cost:
    """Count a network operation by operation, or by another plan than its own, such as a detector's.

    Raises ``InputError`` for pictures that are too small for it.
    """
    plan = architecture.plan(classes) if plan is None else plan
    return Cost(
        name=architecture.name,
        width=architecture.width,
        size=architecture.size,
        variant=architecture.variant,
        classes=classes,
        bytes=4 * sum(part.stored for part in plan.operations),
        layers=tuple(
            LayerCost(part.name, part.label, part.output_shape, part.parameters, part.macs)
            for part in plan.operations
            if part.label
        ),
        blocks=(*_body(plan), *_head(plan)),
    )


def _body(plan: Plan) -> Iterator[BlockCost]:
    for block in plan.blocks:
        yield BlockCost(
            name=block.name.removeprefix("body."),
            kind=block.title,
            channels=block.output.channels,
            in_size=_size(block.input.shape),
            out_size=_size(block.output.shape),
            kernel=block.kernel,
            stride=block.stride,
            expand=block.expansion,
            depthwise=any(isinstance(part, Conv) and part.depthwise for part in block.operations),
            residual=block.residual,
            parameters=block.parameters,
            macs=block.macs,
        )


def _head(plan: Plan) -> Iterator[BlockCost]:
    for part in (*plan.pool, *plan.head, *([plan.classifier] if plan.classifier else [])):
        if part.label:
            pool = isinstance(part, MeanPool)
            yield BlockCost(
                name=part.name,
                kind="pool" if pool else "classifier" if isinstance(part, Linear) else "conv",
                channels=part.output_shape[0],
                in_size=_size(part.input_shape),
                out_size=_size(part.output_shape),
                kernel=part.input_shape[1] if pool else 1,
                stride=1,
                expand=None,
                depthwise=False,
                residual=False,
                parameters=part.parameters,
                macs=part.macs,
            )


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Give height and width; a vector is one place."""
    return (shape[1], shape[2]) if len(shape) == 3 else (1, 1)
