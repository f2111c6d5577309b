"""How far the outputs of a quantized detector are from those of float."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# What an anchor counts that float takes for background: a quantizer must not find things there either.
BACKGROUND = 1e-3


def compared(wanted: npt.NDArray[np.float32], given: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Compare outputs, N×anchors×(4 + 1 + classes), with those of float.

    Returns a distance: the Kullback-Leibler divergence of the columns, in nats, plus the mean difference of the codes,
    of the anchors in the mean, each weighing as much as float takes it for something. And the share of pictures whose
    surest anchor is of the same class.
    """
    distances, same = [], []
    for one, other in zip(wanted, given, strict=True):
        ours, theirs = _logarithms(one[:, 4:]), _logarithms(other[:, 4:])
        there = 1 - np.exp(ours[:, 0]) + BACKGROUND
        divergence = (np.exp(ours) * (ours - theirs)).sum(axis=1)
        moved = np.abs(one[:, :4] - other[:, :4]).mean(axis=1)
        distances.append(float((there * (divergence + moved)).sum() / there.sum()))
        same.append(_surest(ours) == _surest(theirs))
    return float(np.mean(distances)), float(np.mean(same))


def _logarithms(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _surest(logarithms: npt.NDArray[np.float64]) -> int:
    return int(logarithms[:, 1:].argmax() % (logarithms.shape[1] - 1))
