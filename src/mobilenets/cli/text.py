"""Pieces of the text that verbs print for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mobilenets.base.text import printable as printable


def percent(fraction: float) -> str:
    """Write a fraction as a percentage."""
    return f"{100 * fraction:.2f} %"


def interval(ends: Sequence[float] | None) -> str:
    """Write the ends of a 95 % interval of fractions; None where there are too few pictures for one."""
    if ends is None:
        return "too few pictures for an interval"
    low, high = ends
    return f"95 % interval {100 * low:.2f} to {100 * high:.2f}"


def listed(names: Iterable[str]) -> str:
    """Name choices: ``a, b or c``."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def size(count: int) -> str:
    """Write a number of bytes as people do: 3.50 MB."""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def milliseconds(value: float | None) -> str:
    """Write a latency with three or four digits."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 1000 else f"{value:.2f}" if value < 100 else f"{value:.1f}"


def machine(about: Mapping[str, Any]) -> str:
    """Name the machine that something was measured on."""
    return f"{about['processor']}, {about['cores']} cores, {about['system']}"


def table(rows: list[list[str]], right: set[int]) -> str:
    """Align columns; those in ``right`` to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def scores(kind: str, rows: Mapping[str, Mapping[str, Any]], names: Mapping[str, str] | None = None) -> str:
    """One line per class, or group: its pictures, precision, recall and F1."""
    keys = ("precision", "recall", "f1")
    lines = [[kind, "pictures", "precision", "recall", "F1"]]
    for name, score in rows.items():
        figures = ["–" if score[key] is None else f"{100 * score[key]:.1f} %" for key in keys]
        lines.append([printable(name if names is None else names[name]), str(score["images"]), *figures])
    return table(lines, {1, 2, 3, 4})


def headline(result: dict[str, Any]) -> str:
    """Top-1, top-5, what always the largest class would have, loss and calibration."""
    lines = []
    # The best five of five classes or fewer are all of them.
    for key in ("top1", "top5") if len(result["classes"]) > 5 else ("top1",):
        lines.append(f"top-{key[-1]}  {percent(result[key])}   {interval(result[f'{key}_interval'])}")
    largest = max(result["classes"], key=lambda name: result["classes"][name]["images"])
    lines.append(f"always answering the largest class, {printable(largest)}:  {percent(result['baseline_top1'])}")
    loss = f"loss   {result['loss']:.4f}"
    if result["loss_interval"]:
        loss += f"    95 % interval {result['loss_interval'][0]:.4f} to {result['loss_interval'][1]:.4f}"
    lines += [loss, f"expected calibration error  {percent(result['ece'])}{_calibration(result.get('calibration'))}"]
    return f"{result['images']} pictures ({result['evaluated_on']})\n" + "\n".join(lines)


def _calibration(found: Mapping[str, Any] | None) -> str:
    """What the temperature of a run did, where it was just fitted."""
    if not found:
        return ""
    if found["temperature"] == 1:
        return f"   not calibrated: {found['why']}"
    return (
        f"   {percent(found['ece_before'])} before calibration (temperature {found['temperature']:g}, from "
        f"{found['pictures']} pictures{', cross-fitted' if found['cross_fitted'] else ''}); by chance "
        f"{percent(found['ece_by_chance'])}"
    )


def leak(result: dict[str, Any]) -> list[str]:
    """Say first, where it is so, that measured pictures have copies in training."""
    copies = result.get("copies")
    if not copies or not copies["images"]:
        return []
    of, without = result["images"], copies["without"]
    if result.get("seen_in_training") == of:  # the training pictures themselves, which a note says
        return []
    line = f"Leak: {copies['images']} of {of} pictures ({percent(copies['share'])}) have a copy in training"
    name, key = ("AP50", "ap50") if "ap50" in without else ("top-1", "top1")
    if without[key] is None:
        return [f"{line}: there is nothing left to measure on"]
    return [
        f"{line} ({copies['how']}); without them {name} is {percent(without[key])}   "
        f"{interval(without[f'{key}_interval'])}, {without['images']} pictures"
    ]


def sentence(note: str) -> str:
    """Write a note as a sentence."""
    if note.endswith((".", "!", "?")):
        return note
    name = "/" in note.partition(" ")[0]  # of a folder, whose case is its own
    return f"{note}." if name else f"{note[:1].upper()}{note[1:]}."
