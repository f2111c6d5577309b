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

    w' = w · γ / √(σ² + ε), b' = β − μ · γ / √(σ² + ε) (Jacob et al. 2018, arXiv 1712.05877, section 3.2), computed in
    float64.
    """
    norm = layer.norm
    if not isinstance(norm, nn.BatchNorm2d):
        weight, bias = layer.conv.weight.detach(), layer.conv.bias
        return weight, torch.zeros(len(weight)) if bias is None else bias.detach()
    assert norm.running_var is not None and norm.running_mean is not None
    factor = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    weight = layer.conv.weight.detach().double() * factor[:, None, None, None]
    mean = norm.running_mean.double()
    if layer.conv.bias is not None:
        mean = mean - layer.conv.bias.detach().double()
    bias = norm.bias.detach().double() - mean * factor
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
    return copied
