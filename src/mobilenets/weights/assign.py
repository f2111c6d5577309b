"""Foreign layers into a mobilenets network: by forward order, checked by kind and shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mobilenets.errors import InputError
from mobilenets.models.network import Network
from mobilenets.models.operations import Conv
from mobilenets.weights.classifier import find_head
from mobilenets.weights.layers import Floats, Foreign, Layer, listed, of_kind

LISTED = 3
KINDS = ("conv", "depthwise")


@dataclass(frozen=True)
class Assigned:
    """What went where: names of the file's layers by those of this package, and those without a counterpart."""

    placed: dict[str, tuple[str, ...]]
    surplus: tuple[str, ...]


def assign(network: Network, foreign: Foreign) -> Assigned:
    """Put a file's layers into ``network``, the n-th of each kind into the network's n-th.

    A bias before BatchNorm goes into its mean, and a convolution whose BatchNorm was folded into it gets one that
    only adds the bias: both exactly the same function. A network without a classifier leaves the file's out.

    Raises ``InputError`` that names what is missing, surplus or of another shape; the network is then unchanged.
    """
    plan = network.plan
    hidden, head = find_head(foreign, plan)
    ours = {kind: [part for part in plan.convolutions if part.depthwise == (kind == "depthwise")] for kind in KINDS}
    queues = {kind: of_kind(foreign.layers, kind) for kind in (*KINDS, "norm")}
    # What else stands behind the body is no part of this network.
    queues["conv"] = [*queues["conv"][: len(ours["conv"]) - sum(isinstance(part, Conv) for part in plan.head)], *hidden]
    # What does not fit, gathered to be said at once.
    missing = [f"{part.name} ({kind})" for kind, parts in ours.items() for part in parts[len(queues[kind]) :]]
    surplus = [layer.name for layer in queues["depthwise"][len(ours["depthwise"]) :]]
    shapes: list[str] = []
    if plan.classifier and head is None:
        missing.append("classifier (linear)")
    state: dict[str, Floats] = {}
    placed: dict[str, tuple[str, ...]] = {}
    whole = len(queues["norm"]) == sum(part.norm for part in plan.convolutions)
    taken = {kind: iter(layers) for kind, layers in queues.items()}
    expected = network.state_dict()
    for part in plan.convolutions:
        conv = next(taken["depthwise" if part.depthwise else "conv"], None)
        if conv is None:
            continue
        norm = next(taken["norm"], None) if part.norm and (whole or "bias" not in conv.arrays) else None
        if part.norm and norm is None and "bias" not in conv.arrays:
            missing.append(f"{part.name}.norm (norm)")
            continue
        state |= _unit(part, conv, norm)
        placed[part.name] = (conv.name,) if norm is None else (conv.name, norm.name)
    # A BatchNorm without a place would have changed what the network computes.
    surplus += [layer.name for layer in taken["norm"]]
    if plan.classifier and head is not None:
        weight = head.arrays["weight"]
        bias = head.arrays.get("bias", np.zeros(weight.shape[0], np.float32))
        state |= {"classifier.weight": weight.reshape(weight.shape[:2]), "classifier.bias": bias}
        placed["classifier"] = (head.name,)
    for key, value in state.items():
        if tuple(expected[key].shape) != value.shape:
            owner = next(name for name in placed if key.startswith(f"{name}."))
            theirs = placed[owner][-1 if key.startswith(f"{owner}.norm.") else 0]
            shapes.append(f"{theirs} {value.shape} for {key} {tuple(expected[key].shape)}")
    faults = {"missing": missing, "surplus": surplus, "of another shape": shapes}
    if told := [f"{len(names)} {what} ({listed(names, LISTED)})" for what, names in faults.items() if names]:
        raise InputError(f"its layers do not fit this network: {', '.join(told)}; give weights of this network")
    _load(network, state)
    used = {name for theirs in placed.values() for name in theirs}
    return Assigned(placed, tuple(layer.name for layer in foreign.layers if layer.name not in used))


def _unit(part: Conv, conv: Layer, norm: Layer | None) -> dict[str, Floats]:
    """Give the arrays of one convolution with its bias and its BatchNorm."""
    weight = conv.arrays["weight"]
    bias = conv.arrays.get("bias", np.zeros(weight.shape[0], np.float32))
    state = {f"{part.name}.conv.weight": weight if weight.ndim == 4 else weight[:, :, None, None]}
    if part.bias:
        state[f"{part.name}.conv.bias"] = bias
    if not part.norm:
        return state
    if part.bias:
        bias = np.zeros_like(bias)
    if norm is None:
        ones = np.ones_like(bias)
        # Dividing by sqrt(variance + epsilon) is then dividing by 1.
        arrays = {
            "weight": ones,
            "bias": bias,
            "running_mean": 0 * bias,
            "running_var": ones - np.float32(part.epsilon),
        }
    else:
        arrays = dict(norm.arrays)
        if arrays["running_mean"].shape == bias.shape:
            arrays["running_mean"] = arrays["running_mean"] - bias
    return state | {f"{part.name}.norm.{key}": value for key, value in arrays.items()}


def _load(network: Network, state: dict[str, Floats]) -> None:
    tensors: dict[str, Tensor] = {name: torch.from_numpy(value.copy()) for name, value in state.items()}
    for name, part in network.named_modules():
        if isinstance(part, nn.BatchNorm2d):
            tensors[f"{name}.num_batches_tracked"] = torch.tensor(0)
    network.load_state_dict(tensors, assign=True)
