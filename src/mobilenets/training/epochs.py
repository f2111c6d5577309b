"""A line per epoch: in the log, aligned below one head, and in ``history.csv``; and who else is told of each."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from statistics import fmean

from mobilenets.base.notes import log
from mobilenets.base.progress import duration
from mobilenets.measure.metric import Metric
from mobilenets.training.checkpoint import State

HISTORY = "history.csv"

# "100.0 %" and "12 min 00 s" are longer than their heads.
CELL, TIME = 7, 11


@dataclass
class EpochTable:
    """Logs the epochs of one stage, up to ``last``; ``epochs`` is how many the run will have at most.

    Where that is ``moving``, as with ``--minutes``, it is not said: the time left is.
    """

    epochs: int
    last: int
    metric: Metric
    moving: bool = False
    _seconds: list[float] = field(default_factory=list, init=False)

    def add(self, row: Mapping[str, float], seconds: float, best: bool) -> None:
        """Log a row of the history; ``seconds`` are those of this epoch, ``best`` marks the best one so far."""
        of = "" if self.moving else f"/{self.epochs}"
        cells = {"epoch": f"{row['epoch']:.0f}{of}", **self._figures(row)}
        widths = [max(len(head), CELL) for head in cells]
        widths[0] = max(len("epoch"), len(f"{self.epochs}{of}"))
        if not self._seconds:
            log.info("%s", self._aligned([*cells, "time left"], [*widths, TIME]), extra={"style": "head"})
        self._seconds.append(seconds)
        left = duration(fmean(self._seconds) * (self.epochs - row["epoch"]))
        cells["time left"] = left if self.last >= self.epochs else "–"  # the next stage's epochs take another time
        line = self._aligned(list(cells.values()), [*widths, TIME]) + ("  best so far" if best else "")
        log.info("%s", line, extra={"style": "best"} if best else None)

    def _figures(self, row: Mapping[str, float]) -> dict[str, str]:
        """Give the cells by their heads: the losses, and the metric beside each where it is another."""
        cells = {}
        for part, short in (("train", ""), ("validation", "val. ")):
            cells[f"{short or 'train '}loss"] = f"{row[f'{part}_loss']:.3f}"
            value = row.get(f"{part}_{self.metric.name}")
            if value is not None and self.metric.name != "loss":
                cells[short + self.metric.words] = self.metric.shown(value)
        return cells | {"pictures/s": f"{row['images_per_second']:.0f}"}

    @staticmethod
    def _aligned(cells: list[str], widths: list[int]) -> str:
        return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def history_csv(history: Sequence[Mapping[str, float]]) -> str:
    """Write the history as CSV, one line an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in history)
    return text.getvalue()


# Takes how a training has come so far, after an epoch whose checkpoint is written; what it raises ends the training.
Watcher = Callable[[State], None]

_watcher: ContextVar[Watcher | None] = ContextVar("mobilenets_watcher", default=None)


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Tell ``watcher`` of every epoch of the trainings in the block."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def epoch_done(state: State) -> None:
    """Tell the watcher, if there is one."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(state)
