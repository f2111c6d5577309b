"""How far a picture is from those that a model learned from: the arrays beside its weights, and what is made of them.

The features in front of the last layer are taken to their square roots, which makes skewed ones even, and compared with
the training pictures': along the axes in which these vary most by the Mahalanobis distance to the nearest class mean
(Lee et al. 2018, arXiv 1807.03888, section 2.1, with one covariance for all classes), and across them by the squared
distance from the plane of these axes (as in ViM, Wang et al. 2022, arXiv 2203.10807, section 4). The logarithm of their
sum and the log-odds against the most probable class are brought to one scale and added up.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mobilenets.base.files import writing
from mobilenets.errors import InputError

Floats = npt.NDArray[np.float32]
# Nothing is nearer than this, so that a logarithm can be taken.
LEAST = 1e-6
# The logit of the most probable class, where the others are summed up.
OUT = -1e9


@dataclass(frozen=True, eq=False)
class Space:
    """What the distance is made of, for D features, K classes with training pictures and r axes.

    ``centre`` D is the mean of the roots, ``axes`` D×r (float16) the directions kept, ``whiten`` r×r what makes the
    distance there a plain one, ``means`` K×r the whitened class means. ``rest`` is the variance across the axes,
    ``near`` and ``doubt`` are mean and deviation, over held-out pictures, of the logarithm of the distance and of the
    log-odds. ``scale`` multiplies the logits: 1 unless the last layer was divided since; the file
    has there the temperature at which it was learned.
    """

    centre: Floats
    axes: npt.NDArray[np.float16]
    whiten: Floats
    means: Floats
    rest: Floats
    near: Floats
    doubt: Floats
    scale: Floats

    def distances(self, features: Floats, logits: Floats) -> Floats:
        """Give the distance of each picture, float32 N, from its features N×D and logits N×classes."""
        (near, near_deviation), (doubt, doubt_deviation) = self.near, self.doubt
        first = (np.log(self.apart(features)) - near) / near_deviation
        second = (self.doubts(logits) - doubt) / doubt_deviation
        return np.asarray(first + second, np.float32)

    def apart(self, features: Floats) -> Floats:
        """Give the squared distances of features N×D from the training pictures', float32 N."""
        roots = np.sqrt(np.maximum(features, 0)) - self.centre
        along = roots @ self.axes.astype(np.float32)
        means = ((along @ self.whiten)[:, None] - self.means) ** 2
        across = (roots**2).sum(axis=1) - (along**2).sum(axis=1)
        return np.asarray(np.maximum(means.sum(axis=2).min(axis=1) + across / self.rest[0], LEAST), np.float32)

    def doubts(self, logits: Floats) -> Floats:
        """Give the log-odds against the most probable class, float32 N."""
        scaled = logits * self.scale[0]
        best = scaled.argmax(axis=1)
        rows = np.arange(len(scaled))
        others = scaled.copy()
        others[rows, best] = OUT
        top = others.max(axis=1)
        summed = top + np.log(np.exp(others - top[:, None]).sum(axis=1))
        return np.asarray(summed - scaled[rows, best], np.float32)


def save_space(path: Path, space: Space) -> None:
    """Write the arrays, whole or not at all."""
    from safetensors.numpy import save_file  # which a bare install lacks

    with writing(path) as aside:
        save_file({entry.name: np.ascontiguousarray(getattr(space, entry.name)) for entry in fields(Space)}, aside)


def load_space(path: Path, features: int) -> Space:
    """Read what ``save_space`` wrote for a network with so many features; raises ``InputError`` for anything else."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    wrong = f"{path}: damaged, or not of this model; train again, or remove it to go on without"
    try:
        found = load_file(path)
        space = Space(**{entry.name: found[entry.name] for entry in fields(Space)})
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InputError(wrong) from error
    axes, classes = space.axes.shape[-1], len(space.means)
    shapes = [(features,), (features, axes), (axes, axes), (classes, axes), (1,), (2,), (2,), (1,)]
    given = [getattr(space, entry.name) for entry in fields(Space)]
    fits = [array.shape for array in given] == shapes and len(found) == len(given)
    if not fits or not all(array.dtype.kind == "f" and np.isfinite(array).all() for array in given):
        raise InputError(wrong)
    return space
