"""Out-of-fold probabilities from features: a linear classifier for each fold (multinomial logistic regression)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mobilenets.training.optimizer import eager

# Shares of the squared weights in the loss; the one that does best on the pictures held out is taken.
PENALTIES = (0.1, 0.01, 0.001)
STEPS = 25

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


def out_of_fold(features: Floats, labels: Integers, classes: int, folds: Integers) -> npt.NDArray[np.float64]:
    """Give the probabilities of each picture by a classifier that learned from the other folds, (N, ``classes``).

    ``features`` are float32 N×D, ``labels`` and ``folds`` (N,). One penalty is used for all folds: the one whose
    answers have the lowest loss. Nothing is drawn at random, and PyTorch's random state is not touched.
    """
    values, truth = torch.from_numpy(np.ascontiguousarray(features)), torch.from_numpy(labels)
    found = torch.zeros((len(PENALTIES), len(labels), classes))
    for fold in np.unique(folds):
        held = torch.from_numpy(folds == fold)
        mean, deviation = values[~held].mean(0), values[~held].std(0)
        scaled = (values - mean) / torch.where(deviation > 0, deviation, torch.ones(()))
        for place, logits in enumerate(_along_penalties(scaled[~held], truth[~held], scaled[held], classes)):
            found[place, held] = logits
    losses = [float(cross_entropy(logits, truth)) for logits in found]
    return np.asarray(torch.softmax(found[int(np.argmin(losses))].double(), dim=1).numpy(), dtype=np.float64)


def _along_penalties(values: Tensor, truth: Tensor, asked: Tensor, classes: int) -> list[Tensor]:
    """Give the logits of ``asked`` for each penalty; each classifier begins where the one before ended."""
    weight = torch.zeros((values.shape[1], classes), requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    found = []
    for penalty in PENALTIES:
        steps = eager(torch.optim.LBFGS)([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

        def closure(penalty: float = penalty, steps: torch.optim.LBFGS = steps) -> Tensor:
            steps.zero_grad()
            loss = cross_entropy(values @ weight + bias, truth) + penalty / 2 * weight.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        steps.step(closure)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            found.append(asked @ weight + bias)
    return found
