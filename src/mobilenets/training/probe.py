"""Out-of-fold probabilities from features: what three kinds of classifiers say that learned from the other folds.

A linear one (multinomial logistic regression), one normal distribution a class with a common covariance (linear
discriminant analysis), and the nearest neighbours. They err on other pictures, so that together they rank wrong labels
better than any of them (docs/measured/wrong-labels.md).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, normalize, one_hot

from mobilenets.measure.wrong_labels import TINY, sharpened
from mobilenets.training.machine import computing_on
from mobilenets.training.optimizer import eager

# Shares of the squared weights in the loss; the one that does best on the pictures held out is taken.
PENALTIES = (0.1, 0.03, 0.01, 0.003, 0.001)
STEPS = 25
# Pictures from which on the other two are asked: of fewer they are so unsure that wrong labels are missed.
MANY = 500
# Pictures up to which a second thread takes longer to wake than it saves, the more so while figures are drawn.
FEW = 6000
# Directions kept of the features: with all of them more pictures were wrong, and it took twice as long
# (docs/measured/wrong-labels.md).
WIDEST = 200
# Part of the common covariance that is put evenly on all directions.
EVEN = 0.1
# Neighbours that are asked, and by how much less of a cosine one counts a third.
NEAREST, NEAR = 10, 0.1
MOST_ASKED = 20_000  # pictures; of more, every n-th
_ROWS = 1024

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


def out_of_fold(features: Floats, labels: Integers, classes: int, folds: Integers) -> npt.NDArray[np.float64]:
    """Give the probabilities of each picture by classifiers that learned from the other folds, (N, ``classes``).

    ``features`` are float32 N×D, ``labels`` and ``folds`` (N,). Of their roots, which are less skewed, the directions
    that vary most are taken. Of ``MANY`` pictures or more the probabilities are the geometric mean of the three
    classifiers', each at the temperature at which its loss is lowest; of fewer they are the linear one's. It has one
    penalty for all folds: the one whose answers have the lowest loss. Nothing is drawn at random, and PyTorch's random
    state is not touched.
    """
    with computing_on(1 if len(labels) <= FEW else None):
        return _out_of_fold(features, labels, classes, folds)


def _out_of_fold(features: Floats, labels: Integers, classes: int, folds: Integers) -> npt.NDArray[np.float64]:
    values, truth = _widest(torch.from_numpy(np.ascontiguousarray(features))), torch.from_numpy(labels)
    places = torch.from_numpy(np.ascontiguousarray(folds))
    many, linear = len(labels) >= MANY, torch.zeros((len(PENALTIES), len(labels), classes))
    normal = torch.zeros_like(linear[0])
    for fold in np.unique(folds):
        held = places == int(fold)
        for place, logits in enumerate(_along_penalties(values[~held], truth[~held], values[held], classes)):
            linear[place, held] = logits
        if many:
            normal[held] = _normal(values[~held], truth[~held], values[held], classes)
    losses = [float(cross_entropy(logits, truth)) for logits in linear]
    best = linear[int(np.argmin(losses))]
    if not many:
        return np.asarray(torch.softmax(best.double(), dim=1).numpy(), dtype=np.float64)
    said = (best, normal, _nearest(values, truth, places, classes))
    logs = [np.log(np.maximum(sharpened(labels, one.double().numpy()), TINY)) for one in said]
    return sharpened(labels, np.mean(logs, axis=0))


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
    # Classes first: rows as long as there are pictures are what softmax is quick along, and the products too.
    across, wanted = values.t().contiguous(), one_hot(truth, classes).t().float().contiguous()
    found = []
    for penalty in PENALTIES:
        steps = eager(torch.optim.LBFGS)([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

        @torch.no_grad()
        def closure(penalty: float = penalty) -> Tensor:
            # By hand: in the layout that autograd takes, the two products take five times as long.
            logs = log_softmax(weight @ across + bias[:, None], dim=0)
            slope = (logs.exp() - wanted) / len(truth)
            weight.grad = slope @ values + penalty * weight
            bias.grad = slope.sum(1)
            return penalty / 2 * weight.square().sum() - (logs * wanted).sum() / len(truth)

        steps.step(closure)  # type: ignore[no-untyped-call]
        found.append((asked @ weight.t() + bias).detach())
    return found


def _normal(values: Tensor, truth: Tensor, asked: Tensor, classes: int) -> Tensor:
    """Give the logits of ``asked`` by a normal distribution a class, all of one covariance."""
    values, asked = values.double(), asked.double()
    counts = truth.bincount(minlength=classes)
    # A class without pictures lies in the middle, and is improbable.
    means = values.new_zeros((classes, values.shape[1])).index_add_(0, truth, values) / counts.clamp_min(1)[:, None]
    inside = values - means[truth]
    covariance = inside.t() @ inside / len(values)
    even = EVEN * covariance.diagonal().mean().clamp_min(1e-12)
    along = torch.linalg.solve((1 - EVEN) * covariance + even * torch.eye(len(covariance)).double(), means.t())
    logits: Tensor = asked @ along - (means.t() * along).sum(0) / 2 + (counts.clamp_min(0.5) / len(values)).log()
    return logits.float()


def _nearest(values: Tensor, truth: Tensor, folds: Tensor, classes: int) -> Tensor:
    """Give the logarithms of the classes' shares among the pictures of other folds in the nearest directions."""
    along, found = normalize(values), values.new_zeros((len(values), classes))
    some = torch.arange(0, len(values), -(-len(values) // MOST_ASKED))
    for start in range(0, len(values), _ROWS):
        rows = slice(start, start + _ROWS)
        alike = (along[rows] @ along[some].t()).masked_fill_(folds[rows, None] == folds[some], -math.inf)
        best, places = alike.topk(min(NEAREST, len(some)))
        weights = ((best - best[:, :1]) / NEAR).exp()
        found[rows].scatter_add_(1, truth[some[places]], weights / weights.sum(1, keepdim=True))
    usual = truth.bincount(minlength=classes) / len(truth)
    return ((NEAREST * found + usual) / (NEAREST + 1)).clamp_min(TINY).log()
