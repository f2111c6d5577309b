"""BatchNorm with its activation as one operation of PyTorch's autograd, computed by our kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mobilenets.kernels import norms as kernels
from mobilenets.models.blocks import FUNCTIONS
from mobilenets.training.steppers.together import NORMS, synchronised

MODULES = {nn.Identity: "none", nn.ReLU: "relu", nn.ReLU6: "relu6", nn.Hardswish: "hard_swish"}


class NormActivation(torch.autograd.Function):
    """Normalise, activate, add.

    Of the forward pass only the convolution's output and a few numbers a channel are kept; the rest is computed anew
    where the gradient needs it. There is no second derivative.
    """

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, gamma: Tensor, beta: Tensor, residual: Tensor | None, norm: nn.BatchNorm2d, activation: int
    ) -> Tensor:
        """Return the output for N×C×H×W ``y`` in channels_last, and move the running statistics of ``norm``."""
        threads = torch.get_num_threads()
        running = rows_of(norm.running_mean), rows_of(norm.running_var)  # type: ignore[arg-type]
        scale = rows_of(gamma)
        momentum: float = norm.momentum  # type: ignore[assignment]
        part = synchronised()
        merge = None if part is None else part.moments
        done = kernels.normalise(rows_of(y), scale, rows_of(beta), norm.eps, running, momentum, threads, merge)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        out = torch.empty_like(y)
        beside = None if residual is None else rows_of(residual)
        kernels.apply(rows_of(y), done.lines, activation, beside, rows_of(out), threads)
        ctx.save_for_backward(y, gamma)
        ctx.done, ctx.activation, ctx.threads, ctx.part = done, activation, threads, part
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the map, gamma, beta and the residual."""
        y, gamma = ctx.saved_tensors
        given = dout.contiguous(memory_format=torch.channels_last)
        dy = torch.empty_like(y)
        merge = None if ctx.part is None else ctx.part.gradients
        ends = rows_of(y), rows_of(given)
        _, dgamma, dbeta = kernels.gradient(
            *ends, ctx.done, rows_of(gamma), ctx.activation, rows_of(dy), ctx.threads, merge
        )
        beside = dout if ctx.needs_input_grad[3] else None
        return dy, torch.from_numpy(dgamma), torch.from_numpy(dbeta), beside, None, None


def norm_activation(y: Tensor, norm: nn.BatchNorm2d, activation: str, residual: Tensor | None = None) -> Tensor:
    """Return ``activation(norm(y))``, plus ``residual`` of the shape of ``y`` if there is one.

    ``y`` is the output of a convolution, N×C×H×W. In training the norm's running statistics follow, as they do when it
    is called. ``activation`` is a name of ``mobilenets.models.operations.ACTIVATIONS``. What the kernels do not take
    (a norm that is not in training, another type, layout or device) PyTorch computes.
    """
    number = kernels.ACTIVATIONS.get(activation)
    fitting = number is not None and fits(norm) and is_rows(y) and y.dtype is norm.weight.dtype
    # Of one value a channel PyTorch says that it has no deviation.
    if not fitting or y.numel() == y.shape[1]:
        return _plain(y, norm, activation, residual)
    if residual is not None:
        if residual.shape != y.shape or residual.dtype is not y.dtype:
            return _plain(y, norm, activation, residual)
        residual = residual.contiguous(memory_format=torch.channels_last)
    out: Tensor = NormActivation.apply(y, norm.weight, norm.bias, residual, norm, number)  # type: ignore[no-untyped-call]
    return out


def is_rows(x: Tensor) -> bool:
    """Say whether a map is, in memory, rows of channels that a kernel can read."""
    return (
        x.device.type == "cpu"
        and x.dim() == 4
        and x.dtype in (torch.float32, torch.float64)
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > 0
    )


def rows_of(x: Tensor) -> np.ndarray[Any, Any]:
    """Give the memory of an N×C×H×W map in channels_last as N·H·W rows of C; of other tensors as it is."""
    if x.dim() != 4:
        return x.detach().numpy()
    return x.detach().permute(0, 2, 3, 1).reshape(-1, x.shape[1]).numpy()


def fits(norm: nn.Module) -> bool:
    """Say whether a norm is in training as the kernels know it."""
    return (
        isinstance(norm, nn.BatchNorm2d)
        and type(norm) in NORMS
        and norm.training
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
    )


def _plain(y: Tensor, norm: nn.Module, activation: str, residual: Tensor | None) -> Tensor:
    out: Tensor = norm(y)
    if activation != "none":
        out = FUNCTIONS[activation](out)
    return out if residual is None else out + residual
