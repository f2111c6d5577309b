"""Which anchor is to find which box (Liu et al. 2016, arXiv 1512.02325, section 2.2), for a whole batch at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mobilenets.datasets.box_loader import IGNORED, LABEL

OVERLAP = 0.5
"""From this overlap on an anchor is to find a box."""

MANY = 500
"""Boxes in a picture up to which a batch is matched at once."""


class Matches(NamedTuple):
    """For N pictures and A anchors: ``labels`` N×A with 0 for the background and 1 + the class, ``boxes`` N×A×4.

    ``boxes`` are corners in shares of the side, of use where ``labels`` are above 0. ``left_out`` N×A: neither.
    """

    labels: Tensor
    boxes: Tensor
    left_out: Tensor


def corners_of(anchors: Tensor) -> Tensor:
    """Turn middles and sides, …×4, into corners."""
    half = anchors[..., 2:] / 2
    return torch.cat([anchors[..., :2] - half, anchors[..., :2] + half], -1)


def match(anchors: Tensor, targets: Tensor) -> Matches:
    """Match anchors, A×4 middles and sides, with targets N×M×6 as ``BoxLoader`` gives them.

    Each box gets the anchor that overlaps it most, and every anchor the box that it overlaps most, from ``OVERLAP`` on.
    Of two boxes with the same best anchor the one that overlaps it more gets it. Anchors that would be background and
    lie mostly in an ignored box are left out.
    """
    if len(targets) > 1 and targets.shape[1] > MANY:  # of pictures with thousands of boxes all pairs take gigabytes
        apart = (match(anchors, one[None, : max(1, int((one[:, LABEL] >= 0).sum()))]) for one in targets)
        return Matches(*map(torch.cat, zip(*apart, strict=True)))
    corners = corners_of(anchors)
    boxes, real = targets[..., :4], targets[..., LABEL] >= 0
    ignored = real & (targets[..., IGNORED] > 0)
    real = real & ~ignored
    shared = _shared(boxes, corners)
    areas = _areas(corners)
    overlap = shared / (_areas(boxes)[..., None] + areas - shared).clamp_min(1e-12)
    overlap = torch.where(real[..., None], overlap, -1.0)
    best = overlap.argmax(2, keepdim=True)
    places = torch.arange(len(anchors), device=anchors.device)
    chosen = (places == best) & (overlap > 0)
    most, truth = (overlap + 2 * chosen).max(1)
    found = most >= OVERLAP
    labels = torch.where(found, targets[..., LABEL].gather(1, truth).long() + 1, 0)
    inside = (shared / areas >= OVERLAP) & ignored[..., None]
    return Matches(labels, boxes.gather(1, truth[..., None].expand(-1, -1, 4)), inside.any(1) & ~found)


def encode(boxes: Tensor, anchors: Tensor, scales: Tensor) -> Tensor:
    """Turn corners …×A×4 into the codes x, y, w, h that the network is to give for anchors A×4."""
    middles, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    moved = (middles - anchors[..., :2]) / anchors[..., 2:]
    grown = (sides.clamp_min(1e-6) / anchors[..., 2:]).log()
    return torch.cat([moved, grown], -1) * scales


def _areas(corners: Tensor) -> Tensor:
    return (corners[..., 2:] - corners[..., :2]).clamp_min(0).prod(-1)


def _shared(boxes: Tensor, corners: Tensor) -> Tensor:
    """Give the areas that boxes N×M×4 share with corners A×4, N×M×A."""
    # One side after the other: N×M×A×2 would be the largest tensor of a step.
    across, down = (
        (
            torch.minimum(boxes[..., None, axis + 2], corners[:, axis + 2])
            - torch.maximum(boxes[..., None, axis], corners[:, axis])
        ).clamp_min(0)
        for axis in (0, 1)
    )
    return across * down
