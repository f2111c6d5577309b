"""Out-of-fold probabilities from features: a linear classifier for each fold (multinomial logistic regression)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, one_hot

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
    weight, bias = torch.zeros((classes, values.shape[1]), requires_grad=True), torch.zeros(classes, requires_grad=True)
    wanted = one_hot(truth, classes).float()
    found = []
    for penalty in PENALTIES:
        steps = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

        @torch.no_grad()
        def closure(penalty: float = penalty) -> Tensor:
            # By hand: in the layout that autograd takes, the two products take five times as long.
            logs = log_softmax(values @ weight.t() + bias, dim=1)
            slope = (logs.exp() - wanted) / len(truth)
            weight.grad = slope.t() @ values + penalty * weight
            bias.grad = slope.sum(0)
            return penalty / 2 * weight.square().sum() - (logs * wanted).sum() / len(truth)

        steps.step(closure)  # type: ignore[no-untyped-call]
        found.append((asked @ weight.t() + bias).detach())
    return found
