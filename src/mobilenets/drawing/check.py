"""What `check` found, as one HTML file that opens without a network: pictures and their copies side by side."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from mobilenets.doctor.pairs import clusters
from mobilenets.doctor.problems import KINDS, Finding, counted, said
from mobilenets.drawing.page import write_page as fill
from mobilenets.errors import InputError
from mobilenets.pictures.decode import decode

SHOWN = 30  # of each kind; the rest is counted
TOGETHER = 8  # pictures of one cluster
THUMBNAIL = 160  # pixels


@dataclass
class _Tile:
    """One picture, or several copies of one, with what is said of them."""

    paths: list[str]
    details: list[str]
    score: float | None
    more: int = 0
    pictures: list[tuple[str, str | None]] = field(default_factory=list)


def write_page(
    path: Path,
    root: Path,
    findings: Sequence[Finding],
    headlines: Sequence[str],
    notes: Sequence[str],
    classes: Mapping[str, int],
    examples: Mapping[str, Sequence[str]],
) -> None:
    """Write the page to ``path``, whole or not at all.

    ``findings`` are in the order to be shown; ``headlines`` are the worst of them, in sentences; ``classes`` have their
    numbers of pictures; ``examples`` some pictures of each class, shown where the class itself is at fault. At most
    ``SHOWN`` of each kind are shown, and the rest is counted, so that the file stays small whatever was found.
    """
    counts = counted(findings)
    sections = []
    for kind in counts:
        tiles = _tiles([one for one in findings if one.kind == kind], examples)
        for tile in tiles[:SHOWN]:
            tile.pictures = [(name, _picture(root / name)) for name in tile.paths]
        about = KINDS[kind].what_to_do if kind in KINDS else ""
        sections.append((kind, said(kind, counts[kind]), about, tiles[:SHOWN], len(tiles) - SHOWN))
    fill(
        path,
        "check.html",
        title=f"Check of {root.resolve().name}",
        headlines=headlines,
        notes=notes,
        counts={kind: said(kind, number) for kind, number in counts.items()},
        sections=sections,
        classes=classes,
        images=sum(classes.values()),
    )


def _tiles(findings: Sequence[Finding], examples: Mapping[str, Sequence[str]]) -> list[_Tile]:
    """Put copies of one picture into one tile; every other finding has its own."""
    joined = clusters((one.path, one.partner) for one in findings if one.partner)
    together: dict[str, list[Finding]] = defaultdict(list)
    for one in findings:
        together[joined.get(one.path, one.path) if one.partner else f"{one.path}\0{one.detail}"].append(one)
    tiles = []
    for some in together.values():
        paths = list(dict.fromkeys(name for one in some for name in (one.path, one.partner) if name))
        details = list(dict.fromkeys(one.detail for one in some))[:3]
        if len(paths) == 1 and paths[0] in examples:
            paths, details = list(examples[paths[0]]), [f"{paths[0]}: {details[0]}"]
        scores = [one.score for one in some if one.score is not None]
        tiles.append(_Tile(paths[:TOGETHER], details, max(scores, default=None), len(paths) - TOGETHER))
    return tiles


def _picture(path: Path) -> str | None:
    """A picture, made small, as a data address; None where it cannot be shown."""
    try:
        small = decode(path, lambda width, height: min(width, height) / THUMBNAIL).convert("RGB")
    except (InputError, OSError, ValueError):
        return None
    if max(small.size) > THUMBNAIL:
        small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS, reducing_gap=None)
    buffer = io.BytesIO()
    # JPEG would smear what is tiny to begin with.
    form = "png" if max(small.size) <= 64 else "jpeg"
    small.save(buffer, form, quality=80)
    return f"data:image/{form};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
