"""How the int8 form of a network rounds what flows: carried beside the weights by a network that was trained for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from mobilenets.models import operations as ops
from mobilenets.models.plan import Plan

# What the names of its tensors begin with in a state dictionary.
PREFIX = "int8."
# The steps of a weight on either side of 0. A bias of more than BIAS_STEPS would leave int32 once a product is added.
LARGEST, BIAS_STEPS = 127, 2.0**30
# Activations that the ends of uint8 are: what they take is not rounded by itself.
CLIPS = ("relu6", "relu")


class Rounding(nn.Module):
    """Steps and zero points of uint8, one a tensor that flows, and the blocks that stay in float.

    ``names`` has the T tensors in forward order, with ``.conv`` for what a convolution gives to its hard-swish, and
    ``blocks`` the B blocks. ``logs``, float32 T, are the natural logarithms of the steps: so a step stays above 0, and
    one rate suits all of them (Jain et al. 2019, arXiv 1903.08066, section 5.2). ``zeros`` is uint8 T, ``left`` uint8
    B: 1 for a block in float; ``one``, uint8 without a side, is 1 where each weight has a single step.
    """

    zeros: Tensor
    left: Tensor
    one: Tensor

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.names = flowing(plan)
        self.blocks = list(dict.fromkeys(block_of(plan, part) for part in plan.operations))
        self.logs = nn.Parameter(torch.zeros(len(self.names)))
        self.register_buffer("zeros", torch.zeros(len(self.names), dtype=torch.uint8))
        self.register_buffer("left", torch.zeros(len(self.blocks), dtype=torch.uint8))
        self.register_buffer("one", torch.zeros((), dtype=torch.uint8))

    @property
    def steps(self) -> Tensor:
        """The steps, float32 T."""
        return self.logs.exp()

    @property
    def float_blocks(self) -> frozenset[str]:
        """Names of the blocks that stay in float."""
        return frozenset(name for name, left in zip(self.blocks, self.left.tolist(), strict=True) if left)

    @torch.no_grad()
    def take(self, steps: Mapping[str, tuple[float, int]], left: Collection[str], one: bool = False) -> None:
        """Take step and zero point of each tensor that flows, the blocks left in float, and ``one``."""
        self.one.fill_(one)
        self.logs.copy_(torch.tensor([steps[name][0] for name in self.names], dtype=torch.float64).log())
        self.zeros.copy_(torch.tensor([steps[name][1] for name in self.names]))
        self.left.copy_(torch.tensor([name in left for name in self.blocks]))

    def rounded(self, plan: Plan) -> set[str]:
        """Name the tensors that are rounded: those that an operation in int8 reads or gives.

        What a clip takes is none of them, because the rounding clips by itself, nor are the logits.
        """
        inside = [part for part in plan.operations if block_of(plan, part) not in self.float_blocks]
        clips = [part for part in inside if isinstance(part, ops.Activation) and part.activation in CLIPS]
        names = {name for part in inside if part not in clips for name in part.inputs}
        names |= {part.name for part in inside if not isinstance(part, ops.Linear)}
        names |= {f"{part.name}.conv" for part in inside if _bends(part)}
        return names - {part.inputs[0] for part in clips}


def float_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a network's state dictionary without what it knows of int8."""
    return {name: value for name, value in state.items() if not name.startswith(PREFIX)}


def block_of(plan: Plan, part: ops.Operation) -> str:
    """Name the block that an operation belongs to."""
    return "classifier" if part is plan.classifier else block_named(part.name)


def block_named(layer: str) -> str:
    """Name the block of a layer: ``body.inverted3``, ``head``, ``classifier``; of a detector ``extras``, ``heads``."""
    parts = layer.split(".")
    return ".".join(parts[:2]) if parts[0] == "body" else parts[0]


def flowing(plan: Plan) -> list[str]:
    """Name all tensors that may be rounded, in forward order; see ``Rounding``."""
    clips = [part for part in plan.operations if isinstance(part, ops.Activation) and part.activation in CLIPS]
    clipped = {part.inputs[0] for part in clips}
    names = [plan.images.name]
    for part in plan.operations:
        names += [f"{part.name}.conv"] if _bends(part) else []
        names += [] if part is plan.classifier or part.name in clipped else [part.name]
    return names


def _bends(part: ops.Operation) -> bool:
    return isinstance(part, ops.Conv) and part.activation == "hard_swish"
