"""The loss of a detector: where its boxes are, and what is in them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobilenets.runtime.detection import Detection, anchors
from mobilenets.tasks.detection.matching import Matches, encode, match

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
