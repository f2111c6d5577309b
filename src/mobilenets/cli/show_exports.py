"""What an export came to, as text for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobilenets.base.shell import quote
from mobilenets.cli.show import percent, printable


def exported(result: dict[str, Any]) -> str:
    """The figures of the gate, then the file and what to type next, or why there is none."""
    from mobilenets.measure.paired import most_different, said_of_pair  # NumPy, which --help does without

    images = result["images"]
    lines = [
        f"{result['format']} {result['precision']} in {result['runtime']}, {result['images']} pictures "
        f"({result['evaluated_on']})",
        f"top-1  {percent(result['top1_exported'])}, the model's {percent(result['top1_reference'])}: "
        f"{said_of_pair(result)}",
        f"largest difference in a probability  {max(result['max_difference'], result['probe_difference']):.2g}",
    ]
    if result["same_answers"] == images:
        lines.append(
            f"on new pictures, at most {100 * most_different(images):.2g} % get another answer (95 % confidence)"
        )
    worst = result["worst_class"]
    if worst is not None:
        lines.append(
            f"class that lost most  {printable(worst['class'])}: {percent(worst['reference'])} to "
            f"{percent(worst['exported'])} of {worst['images']}"
        )
    if result["passed"]:
        folder = quote(str(Path(result["file"]).parent))
        following = f"mobilenets predict {folder} photo.jpg"
        if result["format"] == "web":
            following = f"python -m http.server --bind 127.0.0.1 --directory {folder} 8000"
        lines += [f"passed: {result['file']}, {size(result['bytes'])}", f"Next:  {following}"]
    else:
        lines += [f"failed, nothing was written: {fault}" for fault in result["faults"]]
        if result["layer"] is not None:
            lines.append(f"the difference starts at {result['layer']['layer']} ({result['layer']['decibels']:.0f} dB)")
    return "\n".join(lines)


def size(count: int) -> str:
    """Write a number of bytes as people do: 3.50 MB."""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
