"""The distance from what a model learned, for converters that trace PyTorch: what ``Space.distances`` gives."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from mobilenets.models.distance import LEAST, OUT, Space


class Distance(nn.Module):
    """The arrays of a ``Space`` as constants; see there."""

    centre: Tensor
    axes: Tensor
    whiten: Tensor
    means: Tensor
    numbers: Tensor
    places: Tensor

    def __init__(self, space: Space, classes: int) -> None:
        super().__init__()
        numbers = np.concatenate([1 / space.rest, space.scale, space.near, space.doubt])
        # Rows are outputs: so matrices are those of linear layers, which converters know how to store in half.
        arrays = {"centre": space.centre, "axes": space.axes.T, "whiten": space.whiten.T, "means": space.means}
        for name, array in (arrays | {"numbers": numbers}).items():
            self.register_buffer(name, torch.from_numpy(np.array(array, np.float32)))
        self.register_buffer("places", torch.arange(classes), persistent=False)

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Give the distance of each picture, float32 N, from its features N×D and logits N×classes."""
        narrower, scale, near, near_deviation, doubt, doubt_deviation = self.numbers.unbind()
        first = (self._apart(features, narrower).log() - near) / near_deviation
        return first + (self._doubts(logits * scale) - doubt) / doubt_deviation

    def _apart(self, features: Tensor, narrower: Tensor) -> Tensor:
        roots = features.relu().sqrt() - self.centre
        along = linear(roots, self.axes)
        nearest = ((linear(along, self.whiten)[:, None] - self.means) ** 2).sum(2).amin(1)
        across = (roots * roots).sum(1) - (along * along).sum(1)
        return (nearest + across * narrower).clamp_min(LEAST)

    def _doubts(self, scaled: Tensor) -> Tensor:
        chosen = self.places.eq(scaled.argmax(1, keepdim=True))
        others = scaled.masked_fill(chosen, OUT)
        top = others.amax(1, keepdim=True)
        return ((others - top).exp().sum(1).log() + top[:, 0]) - scaled.amax(1)
