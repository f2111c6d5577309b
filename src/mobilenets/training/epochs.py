"""A line per epoch, aligned below one head."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from mobilenets.base.progress import duration

log = logging.getLogger("mobilenets")

HEADS = ("epoch", "train loss", "top-1", "val. loss", "val. top-1", "pictures/s", "time left")


@dataclass
class EpochTable:
    """Logs the epochs of one stage, up to ``last``; ``epochs`` is how many the run will have at most."""

    epochs: int
    last: int
    _seconds: list[float] = field(default_factory=list, init=False)

    def add(self, row: Mapping[str, float], seconds: float, best: bool) -> None:
        """Log a row of the history; ``seconds`` are those of this epoch, ``best`` marks the best one so far."""
        count = f"{row['epoch']:.0f}/{self.epochs}"
        # "100.0 %" and "12 min 00 s" are longer than their heads.
        widths = [max(len(HEADS[0]), len(f"{self.epochs}/{self.epochs}")), 10, 7, 9, 10, 10, 11]
        if not self._seconds:
            log.info("%s", self._aligned(HEADS, widths), extra={"style": "head"})
        self._seconds.append(seconds)
        left = duration(fmean(self._seconds) * (self.epochs - row["epoch"]))
        cells = (
            count,
            f"{row['train_loss']:.3f}",
            f"{100 * row['train_top1']:.1f} %",
            f"{row['validation_loss']:.3f}",
            f"{100 * row['validation_top1']:.1f} %",
            f"{row['images_per_second']:.0f}",
            left if self.last >= self.epochs else "–",  # the next stage's epochs take another time
        )
        line = self._aligned(cells, widths) + ("  best so far" if best else "")
        log.info("%s", line, extra={"style": "best"} if best else None)

    @staticmethod
    def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
        return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
