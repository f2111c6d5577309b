"""Logits of a network over batches of pictures: the one loop that training, evaluation and prediction share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from mobilenets.base.progress import progress
from mobilenets.datasets.folder import Sample, relative
from mobilenets.datasets.loader import Batch, Batches, in_order
from mobilenets.measure.metrics import Evaluation
from mobilenets.models.network import Network

EVALUATION_BATCH = 64


def to_tensor(images: npt.NDArray[np.float32], device: torch.device) -> torch.Tensor:
    """Turn N×H×W×3 into N×3×H×W without copying: the memory is already channels_last."""
    return torch.from_numpy(images).to(device, non_blocking=True).permute(0, 3, 1, 2)


@torch.inference_mode()
def logits(network: Network, batches: Iterable[Batch], device: torch.device, start: int = 0) -> npt.NDArray[np.float32]:
    """Return float32 N×classes, in the order of the batches. The network is left in evaluation mode.

    With ``start`` the batches hold what the first ``start`` blocks gave.
    """
    network.eval()
    parts = [network(to_tensor(batch.images, device), start).float().cpu().numpy() for batch in batches]
    return np.concatenate(parts)


def evaluate_samples(
    network: Network,
    pictures: Batches,
    classes: Sequence[str],
    root: Path,
    device: torch.device,
    start: int = 0,
) -> Evaluation:
    """Run every picture of a loader through the network, in order; pictures are named relative to ``root``.

    With ``start`` the loader holds what the first ``start`` blocks gave.
    """
    samples: Sequence[Sample] = pictures.samples
    plan = in_order(len(samples), EVALUATION_BATCH)

    def counted() -> Iterable[Batch]:
        with progress("evaluating", len(samples), "pictures") as shown:
            for batch in pictures.batches(plan):
                yield batch
                shown.advance(len(batch.labels))

    return Evaluation(
        classes=tuple(classes),
        images=tuple(relative(sample.path, root) for sample in samples),
        labels=np.array([sample.label for sample in samples], np.int64),
        logits=logits(network, counted(), device, start),
    )
