"""The layers of a graph while they are put together: bias, BatchNorm, activation, and two heads joined into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mobilenets.weights.layers import Layer, conv_hwio, depthwise_hwcm, linear, norm
from mobilenets.weights.tensorflow.graphdef import GraphError, Node
from mobilenets.weights.tensorflow.norm import Apart, Norm, plain, vector
from mobilenets.weights.tensorflow.tensor import Array

# Joining two heads of MobileNetV2 at width 1.4 takes 2 * 10**9 multiplications, the old one 2 * 10**6 weights.
_MAX_WORK, _MAX_HEAD = 10**10, 8 * 10**6


@dataclass(frozen=True)
class Step:
    """An addition or multiplication of a constant; no value is one that the file does not hold."""

    node: Node
    times: bool
    value: Array | None


@dataclass
class Draft:
    """A layer, while what follows it is still being read."""

    node: Node
    name: str
    kernel: Array  # (k, k, inputs, outputs), (k, k, channels, 1) or (inputs, outputs)
    channels: int
    stride: int = 1
    pooled: bool = False  # whether it follows the pooling
    after: int | None = None  # the layer that this one takes as it is, with nothing between
    before: tuple[Step, ...] = ()  # what is done to the pooled features first
    bias: Array | None = None
    norm: Norm | None = None
    active: bool = False  # whether ReLU6 follows
    settled: tuple[str, ...] = ()

    @property
    def depthwise(self) -> bool:
        """Whether each channel is filtered by itself."""
        return self.node.op == "DepthwiseConv2dNative"

    def settle(self, steps: Sequence[Step], apart: Apart) -> None:
        """Make what is added first the bias, and what is multiplied and added then the BatchNorm. Raises GraphError."""
        names = tuple(step.node.name for step in steps)
        if not steps or names == self.settled:
            return
        if self.settled or self.norm is not None:
            raise GraphError(
                f"{steps[-1].node} goes another way than what follows {self.node}, in no MobileNetV1 or V2"
            )
        self.settled = names
        vectors: list[tuple[Step, Array]] = []
        for step in steps:
            if step.value is None:
                raise GraphError(f"{step.node} needs something that is not in the file; freeze the graph first")
            vectors.append((step, vector(step.node, step.value, self.channels)))
        while vectors and not vectors[0][0].times:
            _, value = vectors.pop(0)
            self.bias = value if self.bias is None else self.bias + value
        if not vectors:
            return
        if len(vectors) == 2 and not vectors[1][0].times:
            self.norm = apart.find(vectors[0][0].node, vectors[1][0].node, self.channels)
        if self.norm is None:
            scale, shift = np.ones(self.channels), np.zeros(self.channels)
            for step, value in vectors:
                scale, shift = (scale * value, shift * value) if step.times else (scale, shift + value)
            self.norm = plain(vectors[0][0].node, scale, shift)


def layers_of(drafts: Sequence[Draft], epsilon: float) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """Make the layers, with notes on them; raises InputError where one is malformed."""
    layers: list[Layer] = []
    notes: list[str] = []
    for draft in drafts:
        if draft.node.op == "MatMul":
            weight, bias, joined = _joined(draft, drafts)
            notes += [joined] if joined else []
            layers.append(linear(draft.name, *_normed(draft, *_scaled(draft, weight, bias), epsilon)))
            continue
        if draft.pooled and (draft.norm is not None or draft.before):
            weight = draft.kernel.reshape(-1, draft.channels).T
            layers.append(linear(draft.name, *_normed(draft, *_scaled(draft, weight, draft.bias), epsilon)))
            continue
        make = depthwise_hwcm if draft.depthwise else conv_hwio
        layers.append(make(draft.name, draft.kernel, draft.bias))
        if draft.norm is not None:
            layers.append(norm(draft.norm.name, *draft.norm.at(epsilon)))
    return tuple(layers), tuple(notes)


def _joined(draft: Draft, drafts: Sequence[Draft]) -> tuple[Array, Array | None, str]:
    """Give a linear layer's weight and bias, together with those of a head that it takes as it is.

    TensorFlow's ``retrain.py`` trains a new head behind the logits of the old one. Both are linear, and so is
    what they do together.
    """
    weight, bias = draft.kernel.T, draft.bias
    old = None if draft.after is None else drafts[draft.after]
    if old is None or old.norm is not None or old.active or old.depthwise or old.after is not None or old.before:
        return weight, bias, ""
    matrix = old.kernel.reshape(-1, old.channels)
    known = old.kernel.ndim == 2 or old.kernel.shape[:2] == (1, 1)
    work = len(weight) * matrix.size
    if not known or weight.shape[1] != old.channels or matrix.size > _MAX_HEAD or work > _MAX_WORK:
        return weight, bias, ""
    joined = weight.astype(np.float64) @ matrix.T.astype(np.float64)
    if old.bias is not None:
        shift = weight.astype(np.float64) @ old.bias
        bias = shift if bias is None else shift + bias
    note = f"its head of {len(weight)} outputs comes after the {old.channels} outputs of another: merged into one"
    return joined, bias, note


def _scaled(draft: Draft, weight: Array, bias: Array | None) -> tuple[Array, Array | None]:
    """Give weight and bias together with what is done to the features before."""
    for step in reversed(draft.before):
        if step.value is None:
            raise GraphError(f"{step.node} needs something that is not in the file; freeze the graph first")
        value = vector(step.node, step.value, weight.shape[1]).astype(np.float64)
        if step.times:
            weight = weight * value
        else:
            bias = weight @ value if bias is None else bias + weight @ value
    return weight, bias


def _normed(draft: Draft, weight: Array, bias: Array | None, epsilon: float) -> tuple[Array, Array | None]:
    """Give weight and bias together with the BatchNorm that follows."""
    if draft.norm is None:
        return weight, bias
    scale, shift, mean, variance = draft.norm.at(epsilon)
    factor = scale / np.sqrt(variance.astype(np.float64) + epsilon)
    return weight * factor[:, None], shift + ((0 if bias is None else bias) - mean) * factor


def check_body(drafts: Sequence[Draft], shortcuts: int) -> None:
    """Refuse a network whose activations or shortcuts are not those of MobileNetV1 or V2; raises GraphError.

    Weights alone would not show it, and its answers would differ.
    """
    body = [draft for draft in drafts if not draft.pooled and draft.kernel.ndim == 4]
    channels, stride, expected = body[0].channels, 1, 0
    projections = {draft.active for before, draft in pairwise(body) if before.depthwise}
    for before, draft in zip([None, *body], body, strict=False):
        projects = before is not None and before.depthwise and not draft.depthwise
        if not draft.active and (not projects or len(projections) > 1):
            raise GraphError(f"no ReLU6 follows {draft.node}, as it does in MobileNetV1 and V2")
        if draft.depthwise:
            stride = draft.stride
        elif projects:
            expected += stride == 1 and draft.channels == channels and not draft.active
            channels = draft.channels
    if shortcuts != expected:
        raise GraphError(f"it has {shortcuts} shortcuts, where MobileNetV1 or V2 with its channels has {expected}")
