"""Before the first epoch: can this network learn these boxes, and do they have to do with the pictures?

Eight pictures can be learned by heart whatever their boxes are, so two things are asked. On eight pictures the loss
must fall: what fails is a learning rate, a size or anchors that do not fit. And the features of up to ``LOOKED_AT``
pictures must tell their boxes and classes better than shuffled ones, see ``mobilenets.measure.box_agreement``.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mobilenets.base.notes import log
from mobilenets.datasets.box_loader import BoxLoader
from mobilenets.errors import FaultFound
from mobilenets.measure.box_agreement import Agreement, agreement
from mobilenets.models.detection.detector import Detector
from mobilenets.models.engine import to_tensor
from mobilenets.pictures.boxes import Boxes, overlaps
from mobilenets.runtime.detection import anchors
from mobilenets.tasks.base import Task
from mobilenets.tasks.detection.loss import corners_of
from mobilenets.training.detection.run import build_box_stepper
from mobilenets.training.stages import Stage

LEARNED = 8
# So many steps; fewer where they take longer than that, but never so few: then a loss that has not fallen is no fault.
STEPS, SECONDS, LEAST_STEPS, LR = 40, 40.0, 20, 2e-3
FALLEN = 0.5
"""The loss that is left after so many steps, at most, of that of the first ones."""
LOOKED_AT, TOGETHER = 160, 8
# Anchors overlap a box by less than a half where it is far smaller than all of them.
REACHED = 0.5
WAY = "Look at them with mobilenets check; --no-self-test trains all the same."


@dataclass(frozen=True)
class SelfTest:
    """What was found: the loss of the first steps and of the last on eight pictures, and how boxes agree with pictures.

    ``unreached`` is the share of boxes that no anchor overlaps by a half.
    """

    pictures: int
    first: float
    last: float
    steps: int
    unreached: float
    agreement: Agreement
    seconds: float

    @property
    def learned(self) -> bool | None:
        """Whether the loss fell by half, or None where there was no time for all steps: a slow machine is no fault."""
        if not math.isfinite(self.last) or self.last <= FALLEN * self.first:
            return math.isfinite(self.last)
        return None if self.steps < STEPS else False

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, in sentences."""
        found = list(self.agreement.faults)
        if self.learned is False:
            small = (
                f"; {100 * self.unreached:.0f} % of the boxes are too small for every anchor: use a larger --size"
                if self.unreached > 0.5
                else "; try another --lr, or other --weights"
            )
            found.append(
                f"{self.pictures} pictures could not be learned by heart: the loss went from {self.first:.2f} to "
                f"{self.last:.2f} in {self.steps} steps{small}"
            )
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        plain = {name: getattr(self, name) for name in ("pictures", "first", "last", "steps", "unreached", "seconds")}
        return plain | {"learned": self.learned, "agreement": self.agreement.to_json(), "faults": list(self.faults)}


def self_test(
    network: Detector, stage: Stage, task: Task, train: BoxLoader, device: torch.device, trained: bool
) -> SelfTest:
    """Test a copy of ``network`` on unaugmented pictures of ``train``; the run itself is not touched.

    ``trained``: its body has weights that see something. Raises ``FaultFound`` where something is wrong.
    """
    began = time.monotonic()
    still = replace(train, augment=None)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        chosen = _with_boxes(still, LOOKED_AT)
        maps, boxes = _maps(network, still, chosen, device, trained)
        agreed = agreement(maps, boxes, train.seed, trained)
        eight = _varied(still, chosen)
        losses = _by_heart(network, stage, task, still, eight, device)
    beginning, end = np.mean(losses[:2]), np.mean(losses[-3:])
    unreached = _unreached(network, boxes)
    found = SelfTest(len(eight), float(beginning), float(end), len(losses), unreached, agreed, time.monotonic() - began)
    _say(found)
    if found.faults:
        raise FaultFound(f"self-test: {' '.join(found.faults)} {WAY}")
    return found


def _say(found: SelfTest) -> None:
    agreed = found.agreement
    own = "" if agreed.auc is None else f"; a picture's own boxes told from others' in {100 * agreed.auc:.0f} %"
    classes = (
        ""
        if agreed.accuracy is None or agreed.chance is None
        else f", classes in {100 * agreed.accuracy:.0f} % (by chance {100 * agreed.chance:.0f} %)"
    )
    slow = "" if found.learned is not None else f" (no time to judge that: {STEPS} steps would be needed)"
    log.info(
        "self-test: the loss on %d pictures went from %.2f to %.2f in %d steps%s%s%s",
        *(found.pictures, found.first, found.last, found.steps, slow, own, classes),
    )
    if found.unreached > 0.2:
        log.warning(
            "%.0f %% of the boxes are overlapped by no anchor by a half: a larger --size lays anchors closer together",
            100 * found.unreached,
        )


def _with_boxes(loader: BoxLoader, most: int) -> list[int]:
    """Choose pictures that have boxes, by the seed."""
    order = np.random.default_rng((loader.seed, 7)).permutation(len(loader.samples))
    there = [int(index) for index in order if not loader.samples[index].target.ignored.all()]
    return there[:most]


def _varied(loader: BoxLoader, chosen: list[int]) -> list[int]:
    """Choose eight pictures, those first that bring a new class."""
    seen: set[int] = set()
    first: list[int] = []
    rest: list[int] = []
    for index in chosen:
        labels = set(loader.samples[index].target.labels.tolist())
        (rest if labels <= seen else first).append(index)
        seen |= labels
    return [*first, *rest][:LEARNED]


def _by_heart(
    network: Detector, stage: Stage, task: Task, loader: BoxLoader, chosen: list[int], device: torch.device
) -> list[float]:
    """Train a copy on a few pictures; returns the loss of each step."""
    recipe = stage.recipe.replace(ema=None, warmup=0.0, accumulate=1)
    stepper = build_box_stepper(copy.deepcopy(network), replace(stage, recipe=recipe), task, device)
    batch = loader.batch(chosen, 0, 0)
    losses: list[float] = []
    began = time.monotonic()
    while len(losses) < STEPS and (len(losses) < LEAST_STEPS or time.monotonic() - began < SECONDS):
        losses.append(stepper.step([batch], stage.begin + len(losses), LR)["loss"] / len(chosen))
        if not math.isfinite(losses[-1]):
            break
    return losses


@torch.no_grad()
def _maps(
    network: Detector, loader: BoxLoader, chosen: list[int], device: torch.device, trained: bool
) -> tuple[list[npt.NDArray[Any]], list[Boxes]]:
    """Give for each picture what the body says of each place, beside the colours there; and its boxes."""
    copied = copy.deepcopy(network).to(device).train(not trained)  # fresh statistics say nothing: the batch's do
    side = network.detection.maps[0]
    blocks = 1 + max(place for place, block in enumerate(network.plan.blocks) if block.output.side == side)
    maps, boxes = [], []
    for start in range(0, len(chosen), TOGETHER):
        part = chosen[start : start + TOGETHER]
        views = [loader.view(index, np.random.default_rng(0)) for index in part]
        pixels = np.stack([loader.preprocessing.normalise(view) for view, _ in views])
        given = copied.body[:blocks](to_tensor(pixels, device)).float().permute(0, 2, 3, 1).cpu().numpy()
        colours = torch.nn.functional.adaptive_avg_pool2d(to_tensor(pixels, torch.device("cpu")), side)
        maps += list(np.concatenate([given, colours.permute(0, 2, 3, 1).numpy()], axis=3))
        boxes += [found.scaled(1 / loader.preprocessing.size) for _, found in views]
    return maps, boxes


def _unreached(network: Detector, boxes: list[Boxes]) -> float:
    """Give the share of boxes that every anchor overlaps by less than a half."""
    corners = corners_of(torch.from_numpy(anchors(network.detection).copy())).numpy()
    found = np.concatenate([one.corners[~one.ignored] for one in boxes])
    return float((overlaps(found, corners).max(axis=1) < REACHED).mean()) if len(found) else 0.0
