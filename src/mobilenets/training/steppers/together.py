"""What the steps of several processes share: gradients, BatchNorm's statistics, dropout's draws.

Each process makes its slice of the global batch. The gradient of the global mean is the sum of what each adds to it,
so one sum over all processes, after the last backward pass of a step, makes it exact: with slices of uneven size, with
accumulation, and for whatever computes the blocks, our kernels too. (DistributedDataParallel averages instead, needs
every forward pass to go through its own wrapper, and hides the exchange behind the backward pass, which of networks of
a few million weights has little to hide.)

Synchronised BatchNorm normalises by the global batch's mean and variance (as ``torch.nn.SyncBatchNorm``, which takes
no tensors on a CPU), from counts, means and squares that are summed in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mobilenets.datasets.loader import Batch
from mobilenets.models.dropout import Dropout, scales
from mobilenets.models.network import Network
from mobilenets.training.processes import Processes

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Slice:
    """The slice of a global batch that a process is at work on: it begins at ``first`` of ``whole`` pictures."""

    processes: Processes
    first: int
    whole: int
    sync: bool

    def moments(self, parts: Array, counts: Array) -> tuple[Array, Array]:
        """Give the global batch's means and squares about them, 1×2×channels, and their count.

        ``parts`` are those of parts of this slice. They are merged, and the slices' too, as sums about a common origin.
        """
        total = counts.sum()
        sums = (parts[:, 0] * counts[:, None]).sum(0)
        squares = (parts[:, 1] + parts[:, 0] ** 2 * counts[:, None]).sum(0)
        flat = torch.from_numpy(np.concatenate(([total], sums, squares)))
        self.processes.add(flat)
        count, rest = float(flat[0]), flat[1:].numpy()
        mean, square = rest[: len(sums)] / count, rest[len(sums) :]
        return np.stack((mean, np.maximum(square - count * mean**2, 0)))[None], np.array([int(count)])

    def gradients(self, sums: Array, rows: int) -> tuple[Array, int]:
        """Give the global batch's sums of gradients, 2×channels, and its rows, from those of this slice."""
        flat = torch.from_numpy(np.concatenate(([float(rows)], sums.reshape(-1))))
        self.processes.add(flat)
        return flat[1:].numpy().reshape(sums.shape), int(flat[0])


_slice: ContextVar[Slice | None] = ContextVar("mobilenets_slice", default=None)


def synchronised() -> Slice | None:
    """Return the slice under way where BatchNorm is synchronised over the processes, else None."""
    part = _slice.get()
    return part if part is not None and part.sync else None


class SharedNorm(nn.BatchNorm2d):
    """BatchNorm that is synchronised in the steps of several processes; else it is as it was."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise N×C×H×W by the global batch's statistics, and move the running ones towards them."""
        part = synchronised()
        if part is None or not self.training:
            return super().forward(x)
        out: Tensor = _Synchronised.apply(x, self.weight, self.bias, self, part)  # type: ignore[no-untyped-call]
        return out


NORMS = (nn.BatchNorm2d, SharedNorm)


class _Synchronised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, norm: nn.BatchNorm2d, part: Slice) -> Tensor:
        count, channels = x.numel() // x.shape[1], x.shape[1]
        moments = np.zeros((1, 2, channels))
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        if count:
            variance, mean = torch.var_mean(wide, (0, 2, 3), correction=0)
            moments[0] = torch.stack((mean, variance * count)).double().cpu().numpy()
        found, counts = part.moments(moments, np.array([count]))
        total = int(counts[0])
        if total < 2:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(x.shape)}")
        mean, squares = (torch.from_numpy(line).to(x.device) for line in found[0])
        inverse = (squares / total + norm.eps).rsqrt()
        norm.running_mean.lerp_(mean.to(gamma.dtype), norm.momentum)  # type: ignore[union-attr, arg-type]
        norm.running_var.lerp_((squares / (total - 1)).to(gamma.dtype), norm.momentum)  # type: ignore[union-attr, arg-type]
        norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        ctx.save_for_backward(x, gamma, mean, inverse)
        ctx.part = part
        scale = gamma * inverse
        return (wide * _wide(scale, wide) + _wide(beta - mean * scale, wide)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, mean, inverse = ctx.saved_tensors
        given, away = dout.to(gamma.dtype), x.to(gamma.dtype) - _wide(mean, gamma)
        sums = torch.stack((given.sum((0, 2, 3)), (given * away).sum((0, 2, 3)))).double()
        found, total = ctx.part.gradients(sums.cpu().numpy(), x.numel() // x.shape[1])
        whole = torch.from_numpy(found).to(x.device)
        scale = gamma * inverse
        along = -scale * inverse.square() * whole[1] / total
        shift = -scale * whole[0] / total
        dx = given * _wide(scale, gamma) + away * _wide(along, gamma) + _wide(shift, gamma)
        # Of what is learned each process gives its own share: they are summed with all other gradients.
        return dx.to(x.dtype), (sums[1] * inverse).to(gamma.dtype), sums[0].to(gamma.dtype), None, None


def _wide(line: Tensor, like: Tensor) -> Tensor:
    return line.to(like.dtype)[None, :, None, None]


class _SharedDropout(Dropout):
    """Dropout that draws for the global batch, of which it uses its slice: the draws of a single process on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        part = _slice.get()
        if part is None or not self.training or self.p == 0:
            return super().forward(x)
        return x * scales((part.whole, *x.shape[1:]), self.p, x)[part.first : part.first + len(x)]


class Together:
    """What a stepper does over ``processes``; with ``sync`` BatchNorm is synchronised, else each slice has its own.

    With BatchNorm of its own each process moves the running statistics by its slice. After each step they become the
    mean over all processes, weighted by pictures, and so are the same in all.
    """

    def __init__(self, processes: Processes, network: Network, sync: bool) -> None:
        self._processes, self._sync = processes, sync
        if processes.count == 1:
            return
        norms = [module for module in network.modules() if type(module) in NORMS]
        for norm in norms:
            norm.__class__ = SharedNorm
        network.dropout.__class__ = _SharedDropout
        self._norms = norms
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]

    @contextmanager
    def slice(self, batch: Batch) -> Iterator[None]:
        """Have the block compute with a batch as the slice that it is."""
        if self._processes.count == 1:
            yield
            return
        token = _slice.set(Slice(self._processes, batch.first, batch.pictures, self._sync))
        try:
            yield
        finally:
            _slice.reset(token)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Leave BatchNorm's running statistics as they were before the block where it fails: no step was made then."""
        if self._processes.count == 1:
            yield
            return
        buffers = [buffer for norm in self._norms for buffer in norm.buffers()]
        before = [buffer.clone() for buffer in buffers]
        try:
            yield
        except BaseException:
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            raise

    def sum_up(self, sums: dict[str, float], share: float) -> dict[str, float]:
        """Sum gradients and figures up over all processes; this one had ``share`` of the pictures."""
        if self._processes.count == 1:
            return sums
        for parameter in self._parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        moved = [] if self._sync else self._running()
        for statistic in moved:
            statistic.mul_(share)
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        self._processes.add_all([*gradients, *moved])
        return self._processes.total(sums)

    def _running(self) -> list[Tensor]:
        """Give the running statistics that a step moves."""
        moving = [norm for norm in self._norms if norm.training]
        return [b for norm in moving for b in (norm.running_mean, norm.running_var) if isinstance(b, Tensor)]
