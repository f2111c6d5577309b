"""What a network costs: parameters and multiply-accumulates, a layer and a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mobilenets.models.architecture import Architecture
from mobilenets.models.layers import ConvNorm
from mobilenets.models.network import Network
from mobilenets.models.rows import Inverted


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
    in_channels: int
    channels: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    kernel: int
    stride: int
    expand: int | None
    residual: bool
    parameters: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """The costs of a network for one picture of ``size`` pixels per side.

    ``parameters`` counts every learned value, BatchNorm's scale and shift included and its running statistics not;
    ``macs`` counts convolutions and the classifier, without BatchNorm and activations.
    """

    name: str
    width: float
    size: int
    variant: str
    classes: int
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
            "layers": [
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "output": list(layer.output),
                    "parameters": layer.parameters,
                    "macs": layer.macs,
                }
                for layer in self.layers
            ],
        }


def cost(architecture: Architecture, classes: int) -> Cost:
    """Count a network layer by layer by running its shapes through; no memory is taken for its weights."""
    with torch.device("meta"):
        network = Network(architecture, classes).eval()
    layers: list[LayerCost] = []
    handles = [
        part.register_forward_hook(_recorder(name, layers))
        for name, part in network.named_modules()
        if isinstance(part, (ConvNorm, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Linear))
    ]
    with torch.no_grad():
        network(torch.empty(1, 3, architecture.size, architecture.size, device="meta"))
    for handle in handles:
        handle.remove()
    return Cost(
        name=architecture.name,
        width=architecture.width,
        size=architecture.size,
        variant=architecture.variant,
        classes=classes,
        layers=tuple(layers),
        blocks=_blocks(network, layers),
    )


def _recorder(name: str, layers: list[LayerCost]) -> Any:
    def record(part: nn.Module, _inputs: Any, output: Tensor) -> None:
        parameters = sum(p.numel() for p in part.parameters())
        layers.append(LayerCost(name, _kind(part), tuple(output.shape[1:]), parameters, _macs(part, output)))

    return record


def _kind(part: nn.Module) -> str:
    if isinstance(part, ConvNorm):
        conv = part.conv
        side = conv.kernel_size[0]
        shape = "pointwise" if side == 1 else "depthwise" if conv.groups > 1 else "conv"
        stride = f" /{conv.stride[0]}" if conv.stride[0] > 1 else ""
        linear = " linear" if isinstance(part.activation, nn.Identity) else ""
        return f"{shape} {side}×{side}{stride}{linear}"
    if isinstance(part, nn.MaxPool2d):
        return f"max pool {part.kernel_size}×{part.kernel_size}"
    return "linear" if isinstance(part, nn.Linear) else "average pool"


def _macs(part: nn.Module, output: Tensor) -> int:
    if isinstance(part, ConvNorm):
        return part.conv.weight.numel() * output.shape[2] * output.shape[3]
    return part.weight.numel() if isinstance(part, nn.Linear) else 0


_BLOCK_KINDS = {
    "conv": "conv",
    "separable": "separable",
    "inverted": "inverted residual",
    "maxpool": "max pool",
}


def _blocks(network: Network, layers: list[LayerCost]) -> tuple[BlockCost, ...]:
    blocks: list[BlockCost] = []
    channels, size = 3, network.architecture.size
    for row, (name, module) in zip(network.architecture.table.body, network.body.named_children(), strict=True):
        own = [layer for layer in layers if f"{layer.name}.".startswith(f"body.{name}.")]
        outputs, after = own[-1].output[:2]
        blocks.append(
            BlockCost(
                name=name,
                kind=_BLOCK_KINDS[row.kind],
                in_channels=channels,
                channels=outputs,
                in_size=(size, size),
                out_size=(after, after),
                kernel=row.kernel,
                stride=row.stride,
                expand=row.expand if isinstance(row, Inverted) else None,
                residual=bool(getattr(module, "residual", False)),
                parameters=sum(layer.parameters for layer in own),
                macs=sum(layer.macs for layer in own),
            )
        )
        channels, size = outputs, after
    rest = [layer for layer in layers if not layer.name.startswith("body.")]
    for layer in rest:
        pool = layer.kind == "average pool"
        blocks.append(
            BlockCost(
                name=layer.name,
                kind="pool" if pool else "classifier",
                in_channels=channels,
                channels=layer.output[0],
                in_size=(size, size),
                out_size=(1, 1),
                kernel=size if pool else 1,
                stride=1,
                expand=None,
                residual=False,
                parameters=layer.parameters,
                macs=layer.macs,
            )
        )
        channels, size = layer.output[0], 1
    return tuple(blocks)
