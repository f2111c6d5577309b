"""The loss of a detector: which anchor is to find which box, where boxes are, and what is in them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobilenets.datasets.box_loader import IGNORED, LABEL
from mobilenets.runtime.detection import Detection, anchors

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
    """Match anchors, A×4 middles and sides, with targets N×M×6 as ``BoxLoader`` gives them, for a batch at once.

    As in Liu et al. 2016 (arXiv 1512.02325, section 2.2): each box gets the anchor that overlaps it most, and every
    anchor the box that it overlaps most, from ``OVERLAP`` on.
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


# Liu et al. 2016 (arXiv 1512.02325, section 2.2): so many negatives for a positive, those with the highest loss.
NEGATIVES = 3
# Of a picture without boxes, as in TensorFlow's ssdlite_mobilenet_v2_coco.config (min_negatives_per_image).
LEAST_NEGATIVES = 3
# Lin et al. 2017 (arXiv 1708.02002, section 5.1).
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0


class DetectionLoss(nn.Module):
    """Smooth L1 of the codes plus the loss of the classes, both summed and divided by the matched anchors of the batch.

    Where ``detection.scores`` is softmax, the classes' is the cross-entropy of the matched anchors and of the hardest
    negatives of each picture, three for a match (SSD). Where it is sigmoid, it is the focal loss of all anchors. Takes
    outputs N×A×(4 + 1 + classes) and targets N×M×6.
    """

    anchors: Tensor
    scales: Tensor

    def __init__(self, detection: Detection) -> None:
        super().__init__()
        self.sigmoid = detection.scores == "sigmoid"
        self.register_buffer("anchors", torch.from_numpy(anchors(detection).copy()))
        self.register_buffer("scales", torch.tensor(detection.box_scales))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Give the loss."""
        with torch.no_grad():
            found = match(self.anchors, targets)
            positive = found.labels > 0
            codes = encode(found.boxes, self.anchors, self.scales)
        count = positive.sum().clamp_min(1)
        apart = functional.smooth_l1_loss(outputs[..., :4], codes, reduction="none").sum(-1)
        where = torch.where(positive, apart, 0.0).sum()
        logits = outputs[..., 4:]
        what = _focal(logits, found.labels, found.left_out) if self.sigmoid else _mined(logits, found)
        return (where + what) / count


def _mined(logits: Tensor, found: Matches) -> Tensor:
    """Sum up the cross-entropy of positives and of the hardest negatives."""
    labels, columns = found.labels, logits.shape[-1]
    each = functional.cross_entropy(logits.reshape(-1, columns), labels.reshape(-1), reduction="none")
    each = each.view_as(labels)
    with torch.no_grad():
        positive = labels > 0
        negative = ~positive & ~found.left_out
        wanted = (NEGATIVES * positive.sum(1, keepdim=True)).clamp_min(LEAST_NEGATIVES)
        # Stable, so that equal losses are chosen alike each time.
        order = torch.where(negative, each, -1.0).argsort(dim=1, descending=True, stable=True)
        rank = torch.empty_like(order).scatter_(
            1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
        )
        taught = positive | (negative & (rank < wanted))
    return torch.where(taught, each, 0.0).sum()


def _focal(logits: Tensor, labels: Tensor, left_out: Tensor) -> Tensor:
    """Sum up the focal loss of the classes' columns; the background's is of no use then."""
    logits = logits[..., 1:]
    wanted = functional.one_hot(labels, logits.shape[-1] + 1)[..., 1:].to(logits.dtype)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    right = torch.exp(-entropy)  # the probability of what is wanted
    weight = FOCAL_ALPHA * wanted + (1 - FOCAL_ALPHA) * (1 - wanted)
    each = (weight * (1 - right) ** FOCAL_GAMMA * entropy).sum(-1)
    return torch.where(left_out, 0.0, each).sum()
