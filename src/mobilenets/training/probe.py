"""Out-of-fold probabilities from features: a linear classifier for each fold (multinomial logistic regression)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

# Shares of the squared weights in the loss; the one that does best on the pictures held out is taken.
PENALTIES = (0.1, 0.03, 0.01, 0.003, 0.001)
STEPS = 25
# Directions kept of the features: with all of them more pictures were wrong, and it took twice as long
# (docs/measured/wrong-labels.md).
WIDEST = 200

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


def out_of_fold(features: Floats, labels: Integers, classes: int, folds: Integers) -> npt.NDArray[np.float64]:
    """Give the probabilities of each picture by a classifier that learned from the other folds, (N, ``classes``).

    ``features`` are float32 N×D, ``labels`` and ``folds`` (N,). Of their roots, which are less skewed, the directions
    that vary most are taken. One penalty is used for all folds: the one whose answers have the lowest loss. Nothing is
    drawn at random, and PyTorch's random state is not touched.
    """
    values, truth = _widest(torch.from_numpy(np.ascontiguousarray(features))), torch.from_numpy(labels)
    found = torch.zeros((len(PENALTIES), len(labels), classes))
    for fold in np.unique(folds):
        held = torch.from_numpy(folds == fold)
        for place, logits in enumerate(_along_penalties(values[~held], truth[~held], values[held], classes)):
            found[place, held] = logits
    losses = [float(cross_entropy(logits, truth)) for logits in found]
    return np.asarray(torch.softmax(found[int(np.argmin(losses))].double(), dim=1).numpy(), dtype=np.float64)


def _widest(features: Tensor) -> Tensor:
    """Give where pictures lie along the directions in which the roots of their features vary most, N×``WIDEST``.

    No label has a part in it. The roots keep their sign, and the squares of each picture sum up to ``WIDEST`` on
    average.
    """
    roots = features.sign() * features.abs().sqrt()
    roots -= roots.mean(0)
    most = min(WIDEST, *roots.shape)
    if len(roots) < roots.shape[1]:
        values, along = torch.linalg.eigh(roots @ roots.T)
        kept = along[:, -most:] * values[-most:].clamp_min(0).sqrt()
    else:
        kept = roots @ torch.linalg.eigh(roots.T @ roots)[1][:, -most:]
    scaled: Tensor = kept * (WIDEST / kept.square().sum(1).mean().clamp_min(1e-12)).sqrt()
    return scaled


def _along_penalties(values: Tensor, truth: Tensor, asked: Tensor, classes: int) -> list[Tensor]:
    """Give the logits of ``asked`` for each penalty; each classifier begins where the one before ended."""
    weight = torch.zeros((values.shape[1], classes), requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    found = []
    for penalty in PENALTIES:
        steps = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

        def closure(penalty: float = penalty, steps: torch.optim.LBFGS = steps) -> Tensor:
            steps.zero_grad()
            loss = cross_entropy(values @ weight + bias, truth) + penalty / 2 * weight.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        steps.step(closure)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            found.append(asked @ weight + bias)
    return found
