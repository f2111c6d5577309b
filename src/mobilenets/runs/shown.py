"""What verbs return, shown as a notebook shows it: the figures and plots of a run, and not a page of numbers."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PLOTS = ("curves.png", "confusion.png")


class Trained(dict[str, Any]):
    """The content of ``metrics.json``, with ``run`` and ``report``: a dictionary, which a notebook shows with plots."""

    def _repr_html_(self) -> str:
        """Say what came out, and show the plots of the run; called by Jupyter for the last value of a cell."""
        name, key = ("AP", "ap") if "ap" in self else ("top-1", "top1")
        score = "–" if self.get(key) is None else f"{100 * self[key]:.1f} %"
        ends = self.get("ap50_interval" if key == "ap" else "top1_interval")
        between = (
            f" (95 % interval{' of AP50' * (key == 'ap')} {100 * ends[0]:.1f} to {100 * ends[1]:.1f})" if ends else ""
        )
        parts = [f"<p><b>{name} {score}</b>{between} on {self['images']} pictures ({self['evaluated_on']})</p>"]
        for title, lines in (("Notes", self["notes"]), ("What would help next", self.get("next_steps", []))):
            if lines:
                parts.append(f"<p>{title}</p><ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>")
        for plot in (Path(self["run"]) / name for name in PLOTS):
            if plot.is_file():
                data = base64.b64encode(plot.read_bytes()).decode()
                parts.append(f'<img alt="{plot.stem}" style="max-width: 48%" src="data:image/png;base64,{data}">')
        return "".join([*parts, f"<p>The report: <code>{html.escape(str(self['report']))}</code></p>"])


class Answers(Iterator[dict[str, Any]]):
    """Answers that are computed while they are asked for: ``for answer in answers``, or ``list(answers)``."""

    def __init__(self, answers: Iterator[dict[str, Any]]) -> None:
        self._answers = answers

    def __next__(self) -> dict[str, Any]:
        return next(self._answers)

    def close(self) -> None:
        """Stop before the end."""
        self._answers.close()  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return "<answers, computed when asked for: list(mobilenets.predict(…)), or for answer in mobilenets.predict(…)>"
