"""Sparse weights: the smallest become 0 while a network trains, by the schedule of Zhu and Gupta (arXiv 1710.01878)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from mobilenets.errors import InputError
from mobilenets.training.refused import TWO_OF_FOUR
from mobilenets.training.stages import Stage

# The share of the steps over which weights go; in the others those that are left learn.
RAMP = 2 / 3
# About how often new ones go: the paper looks every 100 to 1,000 steps, and its trainings are longer than ours.
UPDATES = 100
GROUP = 4


def prunable(network: nn.Module, pattern: str = "none") -> Iterator[tuple[str, nn.Conv2d | nn.Linear, bool]]:
    """Give the layers that become sparse by name, and whether ``pattern`` fits each.

    They are the 1×1 convolutions, those of squeeze-and-excite too, and the linear layers, the classifier among them.
    The first convolution and the depthwise ones keep all weights: they have about one in a hundred, and
    the paper leaves them whole too. Two of four fits where the number of input channels is a multiple of 4.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear) or (
            isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1
        ):
            yield name, layer, pattern != TWO_OF_FOUR or layer.weight.shape[1] % GROUP == 0


def share_at(step: int, ramp: int, final: float) -> float:
    """Give the share of zeros after ``step`` of ``ramp`` steps, from 0 to ``final``: equation 1 of the paper."""
    return final * (1 - max(0.0, 1 - step / ramp) ** 3)


def kept(weight: Tensor, share: float, pattern: str = "none") -> Tensor:
    """Say which weights stay, as booleans of their shape, where the smallest ``share`` goes.

    With ``2:4`` only the two smaller ones of every four along the input channels can go, at most half.
    """
    sizes = weight.detach().abs()
    if pattern == TWO_OF_FOUR:
        fours = sizes.reshape(len(sizes), -1, GROUP)
        larger = fours.sort(dim=-1, descending=True, stable=True).indices[..., : GROUP // 2]
        sizes = fours.scatter(-1, larger, torch.inf).reshape(sizes.shape)
    count = round(share * sizes.numel())
    if not count:
        return torch.ones_like(sizes, dtype=torch.bool)
    # Of equals no more than are wanted: rounded weights have many, and a layer of equals would lose all.
    flat = sizes.flatten()
    largest = flat.kthvalue(count).values
    stay = flat >= largest
    stay[(flat == largest).nonzero()[: count - int((~stay).sum()), 0]] = False
    return stay.reshape(sizes.shape)


class Masks:
    """Holds weights of ``network`` at exactly 0, more and more of them in the course of ``stage``.

    Each layer becomes as sparse as all others. What is 0 at the begin, or has become so, stays. Frozen layers keep all
    weights. Raises ``InputError`` where no layer can be sparse.
    """

    def __init__(self, network: nn.Module, stage: Stage) -> None:
        recipe = stage.recipe
        self._pattern, self._final = recipe.sparsity_pattern, recipe.share_of_zeros
        self._begin, self._ramp = stage.begin, max(1, round(RAMP * (stage.end - stage.begin)))
        self._every = max(1, self._ramp // UPDATES)
        found = [(name, layer.weight) for name, layer, fits in prunable(network, self._pattern) if fits]
        self._weights = {f"{name}.weight": weight for name, weight in found if weight.requires_grad}
        if not self._weights:
            raise InputError(f"sparsity: no layer that learns can be sparse ({self._pattern})")
        self._kept = {name: weight.detach() != 0 for name, weight in self._weights.items()}

    @torch.no_grad()
    def stop_gradients(self) -> None:
        """Take the gradients of the zeros away: neither the optimiser nor the norm for clipping sees them."""
        for name, weight in self._weights.items():
            if weight.grad is not None:
                weight.grad.masked_fill_(~self._kept[name], 0)

    @torch.no_grad()
    def apply(self, number: int, average: nn.Module | None) -> None:
        """Choose what else goes after step ``number`` of the run, and write the zeros, into the ``average`` too."""
        done = number + 1 - self._begin
        if done == self._ramp or (done < self._ramp and done % self._every == 0):
            share = share_at(done, self._ramp, self._final)
            for name, weight in self._weights.items():
                # As zeros they are the smallest, but there may be more of them than are wanted yet.
                self._kept[name] &= kept(weight.masked_fill(~self._kept[name], 0), share, self._pattern)
        averages = {} if average is None else dict(average.named_parameters())
        for name, weight in self._weights.items():
            weight.masked_fill_(~self._kept[name], 0)
            if average is not None:
                averages[name].masked_fill_(~self._kept[name], 0)

    def state_dict(self) -> dict[str, Tensor]:
        """Return which weights stay, as booleans by the names of the parameters."""
        return dict(self._kept)

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what ``state_dict`` gave; raises ``KeyError`` where a layer is missing."""
        self._kept = {name: tensors[name].to(weight.device) for name, weight in self._weights.items()}
