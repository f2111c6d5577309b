"""Pictures that show nothing, or hardly: judged one by one, and with what is usual in their set.

The bars are set so that a set that is meant so passes: white digits on black, icons on white, X-rays. What a fifth of
a set has in common is taken for its nature and said in one note.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

from mobilenets.base.text import percent
from mobilenets.datasets.folder import relative
from mobilenets.doctor.files import Look
from mobilenets.doctor.problems import KINDS, Finding

BLANK = 8  # of 255: less span than this in every channel is one colour
DARK = 40  # of 255: nothing is brighter
WHITE = 215  # of 255: nothing is darker, in any channel
BLURRED = 0.48  # of the sharpest edges, see ``files.sharpness``: a Gaussian blur of some 2 pixels of 256
ODD = 4.0  # times as long as high
USUAL = 0.2  # of a set: what so many have in common is no fault


def judge(looks: Mapping[Path, Look], root: Path) -> tuple[list[Finding], list[str]]:
    """Find blank, dark, overexposed, blurred, odd and tiny pictures, and such as EXIF turns upright.

    Returns the findings, and notes on what so many have in common that it must be meant so.
    """
    found: dict[str, list[Finding]] = {}
    typical = statistics.median(min(look.width, look.height) for look in looks.values()) if looks else 0
    for path, look in looks.items():
        for kind, detail in _said(look, typical):
            found.setdefault(kind, []).append(Finding(kind, relative(path, root), detail))
    findings, notes = [], []
    for kind, some in found.items():
        if kind in ("blank", "orientation") or len(some) <= max(1.0, USUAL * len(looks)):
            findings += some
        else:
            share = f"{len(some)} of {len(looks)} {KINDS[kind].many}"
            notes.append(f"{share}: taken as the nature of this set, and not listed")
    return findings, notes


def _said(look: Look, typical: float) -> list[tuple[str, str]]:
    """The kinds that a picture belongs to, with what is seen; of blank, dark and white only the first that fits."""
    said = []
    if look.range < BLANK:
        through = ": what it shows is perhaps in its transparency" if look.transparent else ""
        said.append(("blank", f"one colour all over{through}"))
    elif look.brightest < DARK:
        said.append(("dark", f"nothing in it is brighter than {percent(look.brightest / 255, 0)} of white"))
    elif look.darkest > WHITE:
        said.append(("overexposed", f"nothing in it is darker than {percent(look.darkest / 255, 0)} of white"))
    elif look.sharpness is not None and look.sharpness < BLURRED:
        said.append(
            ("blurred", f"its sharpest edges are {1 / max(look.sharpness, 0.01):.0f} times as wide as sharp ones")
        )
    long, short = max(look.width, look.height), max(1, min(look.width, look.height))
    if long >= ODD * short:
        said.append(
            ("odd_aspect", f"{look.width}×{look.height} pixels: a square crop shows 1/{long / short:.0f} of it")
        )
    if short < 32 and short * 8 <= typical:
        said.append(("tiny_picture", f"{look.width}×{look.height} pixels, where {typical:.0f} are usual"))
    if look.orientation != 1:
        said.append(("orientation", f"EXIF orientation {look.orientation}"))
    return said
