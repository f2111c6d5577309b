"""BatchNorm folded into the convolution before it: one layer instead of two, and the same function."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from mobilenets.models.blocks import ConvNorm

if TYPE_CHECKING:
    from torch import Tensor

    from mobilenets.models.network import Network


def folded(layer: ConvNorm) -> tuple[Tensor, Tensor]:
    """Return weight O×I×k×k and bias O, float32, of the convolution that does what the layer does in evaluation.

    w' = w · γ / √(σ² + ε), b' = β + (b − μ) · γ / √(σ² + ε) (Jacob et al. 2018, arXiv 1712.05877, section 3.2),
    computed in float64. Of a hard sigmoid the sixth and the half go in as well: a clip from 0 to 1 is left of it.
    """
    norm = layer.norm
    weight = layer.conv.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if layer.conv.bias is None else layer.conv.bias.detach().double()
    if isinstance(norm, nn.BatchNorm2d):
        assert norm.running_var is not None and norm.running_mean is not None
        factor = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
        weight = weight * factor[:, None, None, None]
        bias = norm.bias.detach().double() + (bias - norm.running_mean.double()) * factor
    if isinstance(layer.activation, nn.Hardsigmoid):
        weight, bias = weight / 6, bias / 6 + 0.5
    return weight.float(), bias.float()


def fold(network: Network) -> Network:
    """Return a copy in evaluation mode whose convolutions have a bias and no norm; the names of its parts stay."""
    copied = copy.deepcopy(network).eval()
    for layer in copied.modules():
        if isinstance(layer, ConvNorm):
            weight, bias = folded(layer)
            layer.conv.weight = nn.Parameter(weight, requires_grad=False)
            layer.conv.bias = nn.Parameter(bias, requires_grad=False)
            layer.norm = nn.Identity()
            if isinstance(layer.activation, nn.Hardsigmoid):
                layer.activation = nn.Hardtanh(0.0, 1.0)
    return copied
