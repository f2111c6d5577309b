"""Kernels that have died, what goes with them, and what 8 bits do to the living: arithmetic on weights, NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mobilenets.models.cut import Cut, Flags
from mobilenets.models.operations import Conv, Linear
from mobilenets.models.plan import Plan

Floats = npt.NDArray[np.float32]

# Shares of what is usual in the layer.
DEAD = 0.01
NEAR_DEAD = 0.1


@dataclass(frozen=True)
class WeakKernels:
    """Which of a layer's kernels are dead, and which are nearly; none is both."""

    dead: Flags
    near_dead: Flags


def weak_kernels(weight: Floats) -> WeakKernels:
    """Judge kernels O×I×k×k, BatchNorm folded in, by their Euclidean norms.

    Dead is below 1 %, near dead below 10 % of the root mean square of the layer's norms. Not of their median, which
    is dead itself where more than half are.
    """
    norms = np.sqrt(np.square(weight.astype(np.float64)).sum(axis=(1, 2, 3)))
    usual = float(np.sqrt(np.square(norms).mean()))
    dead = norms <= DEAD * usual
    return WeakKernels(dead, (norms <= NEAR_DEAD * usual) & ~dead)


def constant_channels(low: Floats, high: Floats) -> Flags:
    """Say which channels never change: their range is at most 1 % of the root mean square of the layer's ranges.

    ``low`` and ``high`` hold the least and the largest value of each channel over all places of all pictures.
    """
    ranges = (high - low).astype(np.float64)
    return np.asarray(ranges <= DEAD * float(np.sqrt(np.square(ranges).mean())))


def int8_decibels(weight: Floats, each: bool = True) -> float:
    """Give the signal to noise ratio of weights O×… rounded to 8 bits, symmetric around 0, in decibels.

    With ``each`` every output channel has a scale of its own, else the layer has one. 200 where nothing is lost.
    """
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    largest = np.abs(flat).max(axis=1, keepdims=True) if each else np.abs(flat).max(keepdims=True)
    scale = np.where(largest > 0, largest, 1) / 127
    noise = float(np.square(np.round(flat / scale) * scale - flat).sum())
    return 200.0 if noise == 0 else float(10 * np.log10(np.square(flat).sum() / noise))


@dataclass(frozen=True)
class Removable:
    """How many channels do nothing, and what a network without them would not have."""

    channels: int
    parameters: int
    macs: int


def removable(plan: Plan, idle: Mapping[str, Flags]) -> Removable:
    """Count what goes with idle channels of depthwise layers.

    ``idle`` says by layer which of its channels are. What goes with a channel says ``Cut.remove``; where both ends of
    a layer lose channels, what they share is counted once.
    """
    cut = Cut(plan)
    for name, flags in idle.items():
        cut.remove(name, flags)
    layers = [part for part in plan.operations if isinstance(part, Conv | Linear)]
    lost = [cut.lost(part) for part in layers]
    channels = sum(int(flags.sum()) for flags in idle.values())
    return Removable(channels, sum(parameters for parameters, _ in lost), sum(macs for _, macs in lost))
