"""From a scheme for int8 to a network that learns it further, and from what was learned back to a scheme."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from mobilenets.exports.graph.fold import folded
from mobilenets.exports.int8.qdq import Scheme, activation_scale, weight_steps
from mobilenets.models.blocks import ConvNorm
from mobilenets.models.int8 import LARGEST, Rounding, block_named
from mobilenets.models.network import Network


def with_scheme(network: Network, scheme: Scheme) -> Network:
    """Return a copy of a network that carries a scheme: in ``int8`` what flows, in its weights and biases the rest.

    BatchNorm is folded: it changes nothing any more but for its shift, the bias. Weights are clipped at 127 of the
    scheme's steps, so that these are the steps that the largest weight of a channel tells.
    """
    made = copy.deepcopy(network)
    for name, layer in made.named_modules():
        if isinstance(layer, ConvNorm):
            _settle(layer, *_taken(name, *folded(layer), scheme))
        elif name == "classifier" and isinstance(layer, nn.Linear):
            weight, bias = _taken(name, layer.weight.detach(), layer.bias.detach(), scheme)
            layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    made.int8 = Rounding(made.plan)
    found = {name: activation_scale(*ends) for name, ends in scheme.ranges.items()}
    made.int8.take({name: (float(step), int(zero)) for name, (step, zero) in found.items()}, scheme.left, scheme.one)
    return made.eval()


def learned(model: onnx.ModelProto, rounding: Rounding, split: bool) -> Scheme:
    """Return the scheme that a network was trained with, for its float graph; ``split`` is that of ``Scheme``."""
    steps = rounding.steps.detach().double().tolist()
    ends = {
        name: (-zero * step, (255 - zero) * step)
        for name, step, zero in zip(rounding.names, steps, rounding.zeros.tolist(), strict=True)
    }
    one = bool(rounding.one)
    return Scheme(ends, weight_steps(model, "largest", one), left=rounding.float_blocks, split=split, one=one)


def _taken(name: str, weight: Tensor, bias: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """Take a layer's weight and bias as the scheme has them."""
    if block_named(name) in scheme.left:
        return weight, bias
    ends = torch.from_numpy(LARGEST * scheme.steps[f"{name}.weight"]).reshape(-1, *[1] * (weight.ndim - 1))
    corrected = scheme.biases.get(f"{name}.bias")
    return torch.clamp(weight, -ends, ends), bias if corrected is None else torch.from_numpy(corrected)


def _settle(layer: ConvNorm, weight: Tensor, bias: Tensor) -> None:
    """Give a layer the weight and the bias of its folded convolution."""
    if isinstance(layer.activation, nn.Hardsigmoid):
        weight, bias = 6 * weight, 6 * (bias - 0.5)
    layer.conv.weight = nn.Parameter(weight.contiguous())
    norm = layer.norm
    if not isinstance(norm, nn.BatchNorm2d):
        layer.conv.bias = nn.Parameter(bias)
        return
    if layer.conv.bias is not None:
        nn.init.zeros_(layer.conv.bias)
    assert norm.running_mean is not None and norm.running_var is not None
    variance, scale = neutral(norm.eps)
    with torch.no_grad():
        norm.running_mean.zero_()
        norm.running_var.fill_(variance)
        norm.weight.fill_(scale)
        norm.bias.copy_(bias)


@cache
def neutral(epsilon: float) -> tuple[float, float]:
    """Give a variance and a scale of BatchNorm that, folded, leave every float32 weight as it is, to the last bit.

    1 and √(1 + ε) as float32 are off by up to half of a last place. Among variances near 1 there is one with a root
    that is closer to a float32 by far.
    """
    variances = np.float32(1) + np.arange(4096, dtype=np.float32) * np.float32(2**-23)
    roots = np.sqrt(variances.astype(np.float64) + epsilon)
    scales = roots.astype(np.float32)
    best = int(np.abs(scales / roots - 1).argmin())
    return float(variances[best]), float(scales[best])
