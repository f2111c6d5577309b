"""``history.csv``: one line per epoch."""

from __future__ import annotations

import csv
import io

HISTORY = "history.csv"


def history_csv(history: list[dict[str, float]]) -> str:
    """Write the history as CSV, one line an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in history)
    return text.getvalue()
