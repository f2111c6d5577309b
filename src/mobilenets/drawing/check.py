"""What `check` found, as one HTML file that opens without a network: pictures and their copies side by side."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilenets.base.text import say_boxes
from mobilenets.datasets.boxes.entries import BAD, Fault
from mobilenets.datasets.folder import Sample, relative
from mobilenets.datasets.split import clusters
from mobilenets.doctor.problems import KINDS, Finding, counted, said
from mobilenets.drawing.boxes import Drawn, color_of, draw_boxes, words_of
from mobilenets.drawing.page import address_of
from mobilenets.drawing.page import write_page as fill
from mobilenets.drawing.style import LIGHT
from mobilenets.errors import InputError
from mobilenets.pictures.boxes import Boxes
from mobilenets.pictures.decode import decode, decode_scaled

SHOWN = 30  # of each kind; the rest is counted
TOGETHER = 8  # pictures of one cluster
THUMBNAIL = 160  # pixels
BOXED = 320  # pixels of a picture with boxes
SAMPLE = 24  # pictures with their boxes


@dataclass
class _Tile:
    """One picture, or several copies of one, with what is said of them."""

    paths: list[str]
    details: list[str]
    score: float | None
    more: int = 0
    pictures: list[tuple[str, str | None]] = field(default_factory=list)


@dataclass(frozen=True)
class Boxed:
    """A set of boxes: its classes, its pictures with the boxes that can be used, and what is wrong with the others."""

    classes: Sequence[str]
    samples: Sequence[Sample]
    faults: Sequence[Fault]


def write_page(
    path: Path,
    root: Path,
    findings: Sequence[Finding],
    result: Mapping[str, Any],
    examples: Mapping[str, Sequence[str]],
    boxed: Boxed | None = None,
) -> None:
    """Write the page to ``path``, whole or not at all.

    ``findings`` are in the order to be shown; ``result`` is that of ``check``: its ``headlines``, ``notes``,
    ``classes`` with their numbers, ``images`` and ``fixes``; ``examples`` some pictures of each class, shown where the
    class itself is at fault; ``boxed`` what is drawn on pictures. At most ``SHOWN`` of each kind are shown, and the
    rest is counted, so that the file stays small whatever was found.
    """
    counts = counted(findings)
    sections = []
    for kind in counts:
        tiles: list[_Tile]
        if boxed is not None and kind == BAD:
            tiles = _fault_tiles(boxed, root)
        else:
            tiles = _tiles([one for one in findings if one.kind == kind], examples)
            for tile in tiles[:SHOWN]:
                tile.pictures = [(name, _picture(root / name)) for name in tile.paths]
        about = KINDS[kind].what_to_do if kind in KINDS else ""
        sections.append((kind, said(kind, counts[kind]), about, tiles[:SHOWN], len(tiles) - SHOWN))
    if boxed is not None:
        tiles = _sample_tiles(boxed, root)
        sections.append(("sample", "Pictures with their boxes", "Some of all, as they will be learned.", tiles, 0))
    fill(
        path,
        "check.html",
        title=f"Check of {root.resolve().name}",
        headlines=result["headlines"],
        notes=result["notes"],
        counts={kind: said(kind, number) for kind, number in counts.items()},
        sections=sections,
        classes=result["classes"],
        counted="Pictures" if boxed is None else "Boxes",
        images=result["images"],
        fixes=result["fixes"],
    )


def _sample_tiles(boxed: Boxed, root: Path) -> list[_Tile]:
    """Pictures from all over the set, with their boxes."""
    having = [sample for sample in boxed.samples if len(sample.target)] or list(boxed.samples)
    every = max(1, len(having) // SAMPLE)
    tiles = []
    for sample in having[every // 2 :: every][:SAMPLE]:
        name, words = relative(sample.path, root), say_boxes(len(sample.target))
        tiles.append(_Tile([name], [words], None, 0, [(name, _boxed_picture(sample.path, boxed, sample.target, ()))]))
    return tiles


def _fault_tiles(boxed: Boxed, root: Path) -> list[_Tile]:
    """A tile for every picture with faults, which are drawn on it; faults that belong to no picture come last."""
    targets = {sample.path: sample.target for sample in boxed.samples}
    together: dict[str, list[Fault]] = defaultdict(list)
    for fault in boxed.faults:
        together[fault.picture or f"{fault.path}\0{fault.detail}"].append(fault)
    tiles: list[_Tile] = []
    # Those left out before those mended; many of one picture first.
    for some in sorted(together.values(), key=lambda some: (all(one.used for one in some), -len(some))):
        name = some[0].picture
        details = [f"{one.path}, {one.detail.removesuffix(f' (in {name})')}" for one in some]
        tile = _Tile([name] if name else [], details[:6], None, max(0, len(details) - 6))
        if name and len(tiles) < SHOWN:
            tile.pictures = [(name, _boxed_picture(root / name, boxed, targets.get(root / name), some))]
        tiles.append(tile)
    return tiles


def _boxed_picture(path: Path, boxed: Boxed, boxes: Boxes | None, faults: Sequence[Fault]) -> str | None:
    """A picture made small with its boxes, and with the faults dashed; None where it cannot be shown."""
    try:
        decoded = decode_scaled(path, lambda width, height: min(width, height) / BOXED)
    except Exception:  # whatever is wrong with it stands elsewhere on the page
        return None
    small, (width, height) = decoded.image.convert("RGB"), decoded.whole
    small.thumbnail((BOXED, BOXED), Image.Resampling.LANCZOS, reducing_gap=None)
    share = (small.width / width, small.height / height)
    drawn = [
        Drawn(
            _at(one.corners, share), words_of(re.split("[:,]", one.detail)[1].strip()[:24]), LIGHT.orange, dashed=True
        )
        for one in faults
        if one.corners is not None and ":" in one.detail
    ]
    if boxes is not None:
        words = ["" if faults else words_of(boxed.classes[label]) for label in boxes.labels]
        drawn += [
            Drawn(_at(corners, share), word, color_of(int(label)))
            for corners, word, label in zip(boxes.corners, words, boxes.labels, strict=True)
        ]
    # Less than twice as large: it is made no smaller.
    return address_of(draw_boxes(small, drawn, least=BOXED), 2 * BOXED, quality=80)


def _at(corners: Sequence[float] | npt.NDArray[np.float32], share: tuple[float, float]) -> list[float]:
    # Swapped ones the right way round; those far outside are drawn at the edge.
    left, top, right, bottom = (min(max(float(side), -1e6), 1e6) * share[n % 2] for n, side in enumerate(corners))
    return [min(left, right), min(top, bottom), max(left, right), max(top, bottom)]


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
        return address_of(decode(path, lambda width, height: min(width, height) / THUMBNAIL), THUMBNAIL, quality=80)
    except (InputError, OSError, ValueError):
        return None
