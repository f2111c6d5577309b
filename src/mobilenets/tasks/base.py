"""What a task is: the one thing that knows what a label means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from mobilenets.datasets.folder import Sample
from mobilenets.errors import InputError
from mobilenets.measure.metric import Metric
from mobilenets.runtime.answers import Answers
from mobilenets.runtime.labels import Labels

if TYPE_CHECKING:
    from torch import Tensor, nn

Floats: TypeAlias = npt.NDArray[np.float32]


class Evaluation(Protocol):
    """What the outputs of a network for some pictures are worth."""

    @property
    def images(self) -> Sequence[str]:
        """The pictures, as shown to people."""

    @property
    def metrics(self) -> dict[str, float]:
        """The figures of an epoch in ``history.csv``; ``loss`` is the first, and the task's metric among them."""

    def summary(self) -> str:
        """Say in a few words how good the network is, with an interval where there is one."""

    def to_json(self) -> dict[str, Any]:
        """Return all figures, as in ``evaluate --json``; ``images`` counts the pictures."""


class Verdict(Protocol):
    """Whether an exported file answers as the model does."""

    @property
    def faults(self) -> Sequence[str]:
        """Why the file may not leave; empty when it may."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures, as in ``export --json``, with ``passed`` and ``faults``."""

    def draw(self, path: Path, labels: Labels | None) -> None:
        """Draw the comparison as a PNG."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What the gate knows of a model, the reference, and of the file that was made from it, the candidate.

    Both evaluations are on the same pictures. ``probes`` are what both gave for generated pictures, N×…, as
    ``EnginePredictor.probabilities`` gives it (of a detector whose file gives finished boxes, both as
    ``EnginePredictor.detections`` does), and ``exchanged`` what the model gave for these with red and blue
    exchanged. ``precision`` is ``float32``, ``float16`` or ``int8``. ``resized``: the file resizes pictures itself, and
    not to the bit. ``tolerance`` is what the task's ``tolerance`` gave.
    """

    reference: Evaluation
    candidate: Evaluation
    probes: tuple[Any, Any]
    precision: str
    resized: bool
    tolerance: float
    exchanged: Any = None


def checked_points(points: float, figure: str, example: float) -> float:
    """Return the points of a ``figure`` that an export may lose; raises ``InputError`` for what is none."""
    if not 0 <= points <= 100:
        raise InputError(f"tolerance {points:g}: give points of {figure} from 0 to 100, such as {example:g}")
    return points


class LossSettings(Protocol):
    """The settings of a recipe that a loss may follow."""

    @property
    def label_smoothing(self) -> float:
        """The share of each target that is spread over all classes."""

    @property
    def balance(self) -> str:
        """``weights`` where classes of uneven size are to weigh the same."""


class Task(Protocol):
    """What is learned of a picture.

    A task has no state: it is found by its name, which ``recipe.json`` and ``model.json`` carry. Only ``loss`` and
    ``sums`` may import torch. ``samples`` are pictures with the class folder that they lie in.
    """

    @property
    def name(self) -> str:
        """What it is called, such as ``classification``."""

    @property
    def metric(self) -> Metric:
        """What tells the better of two networks; ``loss`` decides where there are too few pictures for it."""

    @property
    def answers(self) -> Answers:
        """What turns a network's outputs into an answer to a person."""

    def outputs(self, classes: Sequence[str]) -> int:
        """Count the numbers that the network's last layer gives for a picture."""

    def annotated(self, samples: Sequence[Sample], root: Path) -> tuple[Sample, ...]:
        """Give each sample its ``target``, where that is more than its class folder says; ``root`` is DATA."""

    def targets(self, samples: Sequence[Sample], outputs: int) -> Any:
        """Return an array of what the loss compares the outputs for these samples with, N×…."""

    def mix(self, first: Any, second: Any, share: float) -> Any:
        """Return the targets of pictures that are ``share`` of the ``first`` and else of the ``second`` ones."""

    def loss(self, samples: Sequence[Sample], outputs: int, settings: LossSettings) -> nn.Module:
        """Build the loss of training on ``samples``: from outputs and targets, N×…, to their mean."""

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Sum up over a batch what is shown while training beside the loss, by name."""

    def evaluation(
        self, classes: Sequence[str], images: Sequence[str], samples: Sequence[Sample], outputs: Any
    ) -> Evaluation:
        """Measure the outputs for ``samples``, N×…, whose pictures are called ``images``; of a detector its boxes.

        Raises ``FaultFound`` where an output is not finite.
        """

    def tolerance(self, asked: float | None, precision: str) -> float:
        """Return what an export may lose, by default or as ``asked``; raises ``InputError`` for what is none."""

    def compare(self, comparison: Comparison) -> Verdict:
        """Judge an exported file."""

    def divergence(self, wanted: Floats, given: Floats, scores: bool) -> tuple[float, float]:
        """Say how far outputs, or ``scores``, of a quantized network are from those of float.

        Both are N×… for the same pictures. Returns a distance, 0 for the same ones, and the share of pictures with the
        same answer.
        """

    @property
    def has_device_code(self) -> bool:
        """Whether ``mobilenets.exports.use`` has code that reads the outputs of an exported file."""
