"""Out-of-fold probabilities from features: a linear classifier for each fold (multinomial logistic regression)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, one_hot

from mobilenets.training.optimizer import eager

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
    weight, bias = torch.zeros((classes, values.shape[1]), requires_grad=True), torch.zeros(classes, requires_grad=True)
    wanted = one_hot(truth, classes).float()
    found = []
    for penalty in PENALTIES:
        steps = eager(torch.optim.LBFGS)([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

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
