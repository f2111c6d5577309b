"""What ``evaluate`` and ``train`` print of a detector's figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mobilenets.base.text import printable
from mobilenets.cli.text import interval, percent, table


def headline_of_boxes(result: Mapping[str, Any]) -> str:
    """AP with its intervals, by size, and what people see at the threshold."""
    pictures, boxes = result["images"], result["boxes"]
    lines = [f"{pictures} pictures with {boxes} boxes ({result['evaluated_on']})"]
    for name, key in (("AP50", "ap50"), ("AP  ", "ap")):
        lines.append(f"{name}  {_percent(result[key])}   {interval(result[f'{key}_interval'])}")
    sizes = ", ".join(f"{size} {_percent(result[f'ap_{size}'])}" for size in ("small", "medium", "large"))
    lines.append(f"AP75  {_percent(result['ap75'])}   AP by size: {sizes}")
    lines.append(
        f"shown from a score of {result['threshold']:.2f}: {_percent(result['precision'])} of the boxes are right "
        f"({result['false_alarms']} false alarms), {_percent(result['recall'])} of the objects are found "
        f"({result['missed']} missed)"
    )
    return "\n".join(lines)


def box_scores(rows: Mapping[str, Mapping[str, Any]], names: Mapping[str, str] | None = None) -> str:
    """One line per class: its pictures, boxes, AP, precision and recall."""
    lines = [["class", "pictures", "boxes", "AP", "AP50", "precision", "recall"]]
    for name, score in rows.items():
        figures = [_percent(score[key], 1) for key in ("ap", "ap50", "precision", "recall")]
        shown = printable(name if names is None else names[name])
        lines.append([shown, str(score["images"]), str(score["boxes"]), *figures])
    return table(lines, {1, 2, 3, 4, 5, 6})


def _percent(fraction: float | None, digits: int = 2) -> str:
    if fraction is None:
        return "–"
    return percent(fraction) if digits == 2 else f"{100 * fraction:.{digits}f} %"
