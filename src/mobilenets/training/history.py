"""``history.csv``: one line per epoch."""

from __future__ import annotations

import csv
import io

HISTORY = "history.csv"
COLUMNS = [
    "epoch",
    "lr",
    "train_loss",
    "train_top1",
    "validation_loss",
    "validation_top1",
    "validation_top5",
    "images_per_second",
]


def history_csv(history: list[dict[str, float]]) -> str:
    """Write the history as CSV, one line an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{row[name]:.6g}" for name in COLUMNS} for row in history)
    return text.getvalue()
