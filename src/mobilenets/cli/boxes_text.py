"""What ``evaluate`` and ``train`` print of a detector's figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mobilenets.base.text import printable, say_boxes
from mobilenets.cli.text import interval, percent, sentence, table


def headline_of_boxes(result: Mapping[str, Any]) -> str:
    """AP with its intervals, by size, and what people see at the threshold."""
    pictures = result["images"]
    lines = [f"{pictures} pictures with {say_boxes(result['boxes'])} ({result['evaluated_on']})"]
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


def paired_boxes(result: Mapping[str, Any]) -> str:
    """AP and AP50 of two detectors, the differences, and what they say."""
    names = [printable(one["model"]) for one in result["models"]]
    lines = [f"{result['images']} pictures with {say_boxes(result['boxes'])} ({result['evaluated_on']})"]
    rows = [
        [name, words, _percent(one[key]), interval(one[f"{key}_interval"])]
        for name, one in zip(names, result["models"], strict=True)
        for words, key in (("AP", "ap"), ("AP50", "ap50"))
    ]
    lines.append(table(rows, {2}))
    for words, key in (("AP", "change"), ("AP50", "ap50_change")):
        if result[key] is not None:
            ends = result[f"{key}_interval"]
            shown = interval(None) if ends is None else f"95 % interval {100 * ends[0]:+.2f} to {100 * ends[1]:+.2f}"
            lines.append(f"second minus first, {words}  {100 * result[key]:+.2f} points   {shown}")
    if result["better"] is None:
        verdict = "No difference can be told."
    else:
        better, worse = names[::-1] if result["better"] == "second" else names
        verdict = f"{better} is better than {worse}."
    return "\n".join([*lines, "", verdict, *map(sentence, result["notes"])])


def _percent(fraction: float | None, digits: int = 2) -> str:
    if fraction is None:
        return "–"
    return percent(fraction) if digits == 2 else f"{100 * fraction:.{digits}f} %"
