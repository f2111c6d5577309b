"""A network that computes as its int8 form does, so that training sees the rounding: quantization-aware training.

Jacob et al. 2018 (arXiv 1712.05877, section 3) and Krishnamoorthi 2018 (arXiv 1806.08342, section 4): BatchNorm is
folded into the weights and learns no more, rounding is done forwards, and backwards taken for the identity where it
does not clip (straight-through estimator). The steps of what flows are learned too (Esser et al. 2020, arXiv
1902.08153, section 2.1), as logarithms.
"""

from __future__ import annotations

import copy
import math
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobilenets.models import operations as ops
from mobilenets.models.architecture import Architecture
from mobilenets.models.blocks import ConvNorm, function_of
from mobilenets.models.int8 import BIAS_STEPS, CLIPS, LARGEST, Rounding, block_of
from mobilenets.models.network import Network

# Of a step: further off than half of one a value was clipped. The rest is rounding of float32.
HALF = 0.501


class Int8Network(Network):
    """A ``Network`` that rounds weights, biases and what flows where its exported int8 graph does.

    Its state dictionary is that of the network with ``int8``: the same names and shapes, so that what is learned is a
    network as any other, whose BatchNorm folds to nothing but a bias. Takes pictures of the network's size.
    """

    def __init__(self, architecture: Architecture, classes: int) -> None:
        super().__init__(architecture, classes)
        self.int8 = Rounding(self.plan)
        for layer in self.modules():
            if isinstance(layer, ConvNorm) and isinstance(layer.norm, nn.BatchNorm2d):
                layer.norm = Folded(layer.norm.num_features)  # type: ignore[assignment]
        parts = self.plan.operations
        self._last = {name: part.name for part in parts for name in part.inputs}

    @classmethod
    def of(cls, network: Network) -> Self:
        """Return a copy, in evaluation mode, of a network that has ``int8``."""
        made = cls(network.architecture, network.classes)
        made.load_state_dict(network.state_dict())
        return made.eval()

    @torch.no_grad()
    def kept(self) -> Network:
        """Give a copy with its weights rounded: what int8 makes of them stays, and float computes with the same.

        What was learned beside the steps may be far from them where one step serves channels of all sizes, and float
        would compute something else.
        """
        made = copy.deepcopy(self)
        assert made.int8 is not None
        left = made.int8.float_blocks
        for part in self.plan.operations:
            if isinstance(part, ops.Conv | ops.Linear) and block_of(self.plan, part) not in left:
                layer: Any = made.get_submodule(part.name)
                weight = layer.conv.weight if isinstance(part, ops.Conv) else layer.weight
                none = weight.new_zeros(len(weight))
                weight.copy_(in_steps(weight, none, weight.new_ones(()), bool(made.int8.one))[0])
        return made

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Give the logits of a batch; ``start`` is 0, because the blocks before would not be rounded."""
        assert start == 0 and self.int8 is not None
        run = _Run(self, self.int8)
        values = {self.plan.images.name: run.round(self.plan.images.name, x)}
        for part in self.plan.operations:
            given = [values[name] for name in part.inputs]
            for name in part.inputs:
                if self._last[name] == part.name:
                    values.pop(name, None)
            values[part.name] = run.operation(part, given)
        return values[self.plan.operations[-1].name]


class Folded(nn.Module):
    """What is left of a BatchNorm over ``channels`` that is folded into its convolution: its shift is the bias.

    The other tensors keep their names and numbers, with which BatchNorm changes nothing.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        for name in ("weight", "running_var"):
            self.register_buffer(name, torch.ones(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))


class _Run:
    """One pass of a batch: the steps as they are now, and the step of what each operation gave."""

    def __init__(self, network: Int8Network, rounding: Rounding) -> None:
        self._network, self._plan = network, network.plan
        rounded, steps = rounding.rounded(network.plan), rounding.steps.unbind()
        zeros = rounding.zeros.int().unbind()
        self._steps = {name: pair for name, *pair in zip(rounding.names, steps, zeros, strict=True) if name in rounded}
        self._left, self._one = rounding.float_blocks, bool(rounding.one)

    def round(self, name: str, x: Tensor) -> Tensor:
        """Round a tensor to its steps, where it is rounded."""
        found = self._steps.get(name)
        return x if found is None else rounded(x, *found)

    def operation(self, part: ops.Operation, given: list[Tensor]) -> Tensor:
        inside = block_of(self._plan, part) not in self._left
        match part:
            case ops.Conv():
                x = self._conv(part, given[0], inside)
            case ops.Linear():
                layer: Any = self._network.get_submodule(part.name)
                x = self._network.dropout(given[0]) if part is self._plan.classifier else given[0]
                x = functional.linear(x, *self._weights(part, layer.weight, layer.bias, inside))
            case ops.MaxPool() | ops.Flatten() if inside:
                # These only choose and move: what they give has the steps of what they take.
                if part.inputs[0] in self._steps:
                    self._steps[part.name] = self._steps[part.inputs[0]]
                return _apply(part, given)
            case ops.Activation() if inside and part.activation in CLIPS:
                x = given[0]  # the ends of uint8 are the clip
            case _:
                x = _apply(part, given)
        return self.round(part.name, x)

    def _conv(self, part: ops.Conv, x: Tensor, inside: bool) -> Tensor:
        layer: Any = self._network.get_submodule(part.name)
        weight, bias = layer.conv.weight, getattr(layer.norm, "bias", None)
        bias = layer.conv.bias if bias is None else bias
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        if part.activation == "hard_sigmoid":  # as it is folded: a clip from 0 to 1 is left
            weight, bias = weight / 6, bias / 6 + 0.5
        weight, bias = self._weights(part, weight, bias, inside)
        before, after = part.pads
        if before != after:
            x, before = functional.pad(x, (before, after, before, after)), 0
        x = functional.conv2d(x, weight, bias, part.stride, before, 1, part.groups)
        match part.activation:
            case "hard_swish":
                x = self.round(f"{part.name}.conv", x)
                split = inside and block_of(self._plan, part) != "head"
                return _hard_swish(x) if split else functional.hardswish(x)
            case "relu6" | "relu" | "hard_sigmoid" if not inside:
                return x.clamp(0, {"relu6": 6, "relu": math.inf, "hard_sigmoid": 1}[part.activation])
        return x

    def _weights(self, part: ops.Operation, weight: Tensor, bias: Tensor, inside: bool) -> tuple[Tensor, Tensor]:
        if not inside:
            return weight, bias
        return in_steps(weight, bias, self._steps[part.inputs[0]][0].detach(), self._one)


def in_steps(weight: Tensor, bias: Tensor, entry: Tensor, one: bool = False) -> tuple[Tensor, Tensor]:
    """Round a weight O×… to 127 steps either side, one step an output channel or in all, and its bias O to int32.

    ``entry`` is the step of what the layer takes: a bias is counted in products of both steps.
    """
    with torch.no_grad():
        steps = weight.flatten(1).abs().amax(1) / LARGEST
        steps = torch.maximum(steps, bias.abs() / (entry * BIAS_STEPS))
        steps = torch.where(steps > 1e-30, steps, 1.0)
        steps = steps.amax().expand(len(steps)) if one else steps
        wide = steps.reshape(-1, *[1] * (weight.ndim - 1))
        whole = (weight / wide).round_().clamp_(-LARGEST, LARGEST).mul_(wide)
        unit = (steps * entry).double()
        counted = ((bias.double() / unit).round_() * unit).float()
    return _Straight.apply(weight, whole), _Straight.apply(bias, counted)  # type: ignore[no-untyped-call]


def rounded(x: Tensor, step: Tensor, zero: Tensor) -> Tensor:
    """Round to uint8 with a step and an int32 zero point, both scalars, and back to float; the step learns too."""
    out: Tensor = _Rounded.apply(x, step, zero)  # type: ignore[no-untyped-call]
    return out


def _hard_swish(x: Tensor) -> Tensor:
    """Compute x · min(max(x + 3, 0), 6) / 6 with its gate in uint8, as ``exports.int8.qdq`` writes it."""
    six, zero = x.new_tensor(6 / 255), torch.zeros((), dtype=torch.int32, device=x.device)
    return x * (rounded(x + 3, six, zero) / 6)


def _apply(part: ops.Operation, given: list[Tensor]) -> Tensor:
    function = function_of(part)
    assert function is not None
    return function(*given)


class _Straight(torch.autograd.Function):
    """Gives ``other``, with the gradient of ``x``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, other: Tensor) -> Tensor:
        return other

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, zero: Tensor) -> Tensor:
        out = torch.fake_quantize_per_tensor_affine(x, step.detach(), zero, 0, 255)
        ctx.save_for_backward(x, out, step)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, out, step = ctx.saved_tensors
        off = (out - x).div_(step)
        kept = off.abs() <= HALF
        moved = gradients[0] * kept
        if not ctx.needs_input_grad[1]:
            return moved, None, None
        # In between by how far the rounding is off, at the ends by the end.
        slope = torch.where(kept, off, out / step)
        return moved, (gradients[0] * slope).sum(), None
