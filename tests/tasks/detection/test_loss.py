"""Matching and the loss, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mobilenets.datasets.box_loader import padded
from mobilenets.models.detection.plan import describe_detector
from mobilenets.pictures.boxes import Boxes, overlaps
from mobilenets.runtime.detection import Detection, anchors
from mobilenets.tasks.detection.loss import FOCAL_ALPHA, FOCAL_GAMMA, DetectionLoss, corners_of, encode, match


def small() -> Detection:
    """Give a description with 20 anchors."""
    return Detection(32, (2, 1), (((0.3, 0.3), (0.5, 0.25), (0.25, 0.5), (0.45, 0.45)), ((0.8, 0.8),) * 4))


def random_boxes(rng: np.random.Generator, count: int) -> Boxes:
    low = rng.uniform(0, 0.6, (count, 2))
    corners = np.concatenate([low, low + rng.uniform(0.1, 0.4, (count, 2))], axis=1)
    return Boxes.of(corners, rng.integers(0, 3, count), rng.random(count) < 0.2)


def by_loops(detection: Detection, boxes: Boxes) -> tuple[list[int], list[int], list[bool]]:
    """Match one picture by loops: the label of each anchor, the place of its box, and whether it is left out."""
    corners = corners_of(torch.from_numpy(anchors(detection).copy())).numpy()
    real = np.flatnonzero(~boxes.ignored)
    table = overlaps(boxes.corners, corners)
    labels, places, out = [], [], []
    best = {int(place): int(table[place].argmax()) for place in real}
    for anchor in range(len(corners)):
        claims = [place for place, chosen in best.items() if chosen == anchor and table[place, anchor] > 0]
        place = max(claims or real.tolist(), key=lambda one: table[one, anchor], default=-1)
        found = place >= 0 and (bool(claims) or table[place, anchor] >= 0.5)
        labels.append(int(boxes.labels[place]) + 1 if found else 0)
        places.append(place)
        x0, y0, x1, y1 = corners[anchor]
        lost = False
        for other in boxes.corners[boxes.ignored]:
            width, height = min(x1, other[2]) - max(x0, other[0]), min(y1, other[3]) - max(y0, other[1])
            lost |= max(width, 0) * max(height, 0) >= 0.5 * (x1 - x0) * (y1 - y0)
        out.append(bool(lost and not found))
    return labels, places, out


@pytest.mark.parametrize("seed", range(12))
def test_matching_is_that_of_loops(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:  # picture by picture
        monkeypatch.setattr("mobilenets.tasks.detection.loss.MANY", 1)
    rng = np.random.default_rng(seed)
    detection = small()
    pictures = [random_boxes(rng, int(count)) for count in rng.integers(0, 5, 4)]
    found = match(torch.from_numpy(anchors(detection).copy()), torch.from_numpy(padded(pictures)))
    for number, boxes in enumerate(pictures):
        labels, places, out = by_loops(detection, boxes)
        assert found.labels[number].tolist() == labels
        assert found.left_out[number].tolist() == out
        for anchor, label in enumerate(labels):
            if label:
                assert np.allclose(found.boxes[number, anchor], boxes.corners[places[anchor]])


def test_codes_are_those_that_are_decoded() -> None:
    detection = small()
    around = torch.from_numpy(anchors(detection).copy())
    scales = torch.tensor(detection.box_scales)
    boxes = torch.tensor([0.1, 0.2, 0.5, 0.9]).expand(len(around), 4)
    codes = encode(boxes, around, scales) / scales
    middles = codes[:, :2] * around[:, 2:] + around[:, :2]
    sides = codes[:, 2:].exp() * around[:, 2:]
    assert torch.allclose(corners_of(torch.cat([middles, sides], 1)), boxes, atol=1e-6)


def test_the_loss_of_hard_negatives_by_loops() -> None:
    rng = np.random.default_rng(3)
    detection, pictures = small(), [random_boxes(rng, count) for count in (3, 0, 2)]
    outputs = torch.from_numpy(rng.normal(size=(3, detection.count, 4 + 4)).astype(np.float32)).requires_grad_()
    loss = DetectionLoss(detection)(outputs, torch.from_numpy(padded(pictures)))
    around, scales = torch.from_numpy(anchors(detection).copy()), torch.tensor(detection.box_scales)
    total, matches = 0.0, 0
    for number, boxes in enumerate(pictures):
        labels, places, out = by_loops(detection, boxes)
        logits = outputs[number, :, 4:].detach()
        entropy = torch.nn.functional.cross_entropy(logits, torch.tensor(labels), reduction="none")
        positive = [anchor for anchor, label in enumerate(labels) if label]
        negative = [anchor for anchor, label in enumerate(labels) if not label and not out[anchor]]
        hardest = sorted(negative, key=lambda anchor: -float(entropy[anchor]))[: max(3, 3 * len(positive))]
        total += float(entropy[positive + hardest].sum())
        for anchor in positive:
            box = torch.from_numpy(boxes.corners[places[anchor]])
            apart = (outputs[number, anchor, :4].detach() - encode(box, around[anchor], scales)).abs()
            total += float(torch.where(apart < 1, apart**2 / 2, apart - 0.5).sum())
        matches += len(positive)
    assert loss.item() == pytest.approx(total / matches, rel=1e-5)
    loss.backward()
    assert outputs.grad is not None and torch.isfinite(outputs.grad).all()
    # Codes of the background are not taught.
    labels = by_loops(detection, pictures[1])[0]
    assert not any(labels) and not outputs.grad[1, :, :4].any()


def test_the_focal_loss_by_its_formula() -> None:
    detection = small()
    detection = Detection(**{**vars(detection), "scores": "sigmoid"})
    boxes = Boxes.of([[0.1, 0.1, 0.4, 0.4]], [1])
    outputs = torch.zeros(1, detection.count, 4 + 3)
    outputs[..., 5:] = torch.linspace(-3, 2, detection.count)[None, :, None]
    labels = by_loops(detection, boxes)[0]
    around, scales = torch.from_numpy(anchors(detection).copy()), torch.tensor(detection.box_scales)
    total = 0.0
    for anchor, label in enumerate(labels):
        for column in (1, 2):
            p = 1 / (1 + math.exp(-float(outputs[0, anchor, 4 + column])))
            if label == column:
                total += -FOCAL_ALPHA * (1 - p) ** FOCAL_GAMMA * math.log(p)
            else:
                total += -(1 - FOCAL_ALPHA) * p**FOCAL_GAMMA * math.log(1 - p)
        if label:
            apart = encode(torch.from_numpy(boxes.corners[0]), around[anchor], scales).abs()
            total += float(torch.where(apart < 1, apart**2 / 2, apart - 0.5).sum())
    found = float(DetectionLoss(detection)(outputs, torch.from_numpy(padded([boxes]))))
    assert found == pytest.approx(total / sum(map(bool, labels)), rel=1e-5)


def test_every_box_gets_an_anchor_at_full_size() -> None:
    detection = describe_detector("mobilenet_v2", 0.35, 320)[1]
    rng = np.random.default_rng(0)
    boxes = random_boxes(rng, 6)
    boxes = Boxes.of(boxes.corners, np.arange(6))
    found = match(torch.from_numpy(anchors(detection).copy()), torch.from_numpy(padded([boxes])))
    assert set(found.labels[0].tolist()) == {0, *range(1, 7)}
