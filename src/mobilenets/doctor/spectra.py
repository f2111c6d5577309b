"""Thumbnails in frequencies, where turning a picture moves numbers and changes signs, and nothing else.

A thumbnail's DCT-II coefficients C[v, u] (v down, u across) become C[u, v] when the picture is transposed, and change
their sign where v (or u) is odd when it is flipped from top to bottom (or left to right). So all eight orientations
are compared exactly, and |C[v, u]| and |C[u, v]|, as a set, are the same for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from mobilenets.doctor.hashes import COLOUR, SIDE, Bytes

Floats: TypeAlias = npt.NDArray[np.float32]

# Photos have less of a frequency the higher it is. With its root as weight the coarse layout does not drown the rest,
# nor noise what is there.
RISE = 0.5

TINT = 4
"""Frequencies of each chroma channel, each way."""


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay a picture: first transposed, then flipped. ``said`` names it for people."""

    transpose: bool
    rows: bool
    columns: bool
    said: str


ORIENTATIONS = (
    Orientation(False, False, False, "same picture"),
    Orientation(False, False, True, "mirrored"),
    Orientation(False, True, False, "mirrored upside down"),
    Orientation(False, True, True, "rotated 180°"),
    Orientation(True, False, False, "mirrored and rotated 90°"),
    Orientation(True, False, True, "rotated 90°"),
    Orientation(True, True, False, "rotated 90°"),
    Orientation(True, True, True, "mirrored and rotated 90°"),
)


class Windows(NamedTuple):
    """Parts of pictures by their edges, in fractions of the sides from the upper left corner; each 1 or N numbers."""

    top: Floats
    bottom: Floats
    left: Floats
    right: Floats


def window(top: float = 0.0, left: float = 0.0, size: float = 1.0) -> Windows:
    """Give the window of ``size`` times each side that begins at ``top`` and ``left``; by default all of a picture."""
    return Windows(*(np.array([edge], np.float32) for edge in (top, top + size, left, left + size)))


WHOLE = window()


class Spectra(NamedTuple):
    """Pictures in frequencies, N×``dimensions(fine)`` each.

    ``levels`` are the coefficients themselves, of luma, Cb and Cr one after the other, in levels of 0 to 255: the first
    of each channel is its mean. ``unit`` are they without the means, weighted, of length 1; of a picture without
    contrast all is 0.
    """

    unit: Floats
    levels: Floats


def dimensions(fine: int) -> int:
    """Count the numbers of a spectrum of ``fine`` frequencies of luma."""
    return fine * fine + 2 * TINT * TINT


def spectra(luma: Bytes, chroma: Bytes, fine: int, parts: Windows = WHOLE) -> Spectra:
    """Turn thumbnails, or a window of each, into frequencies.

    ``luma`` and ``chroma`` are thumbnails, N×32×32 and N×2×8×8. Of luma ``fine`` frequencies are taken each way, of
    chroma ``TINT``. The means of both are left out of ``unit``: they do not tell one picture from another.
    """
    spans = ((parts.top, parts.bottom), (parts.left, parts.right))
    down, across = (_basis(SIDE, fine, *span) for span in spans)
    light = np.matmul(np.matmul(down, luma.astype(np.float32)), across.swapaxes(1, 2))
    down, across = (_basis(COLOUR, TINT, *span)[:, None] for span in spans)
    colour = np.matmul(np.matmul(down, chroma.astype(np.float32)), across.swapaxes(2, 3))
    # Orthonormal bases: the mean of a picture of n×n pixels comes out n-fold.
    parts_of = (
        light.reshape(-1, fine * fine) / np.float32(SIDE),
        colour.reshape(-1, 2 * TINT * TINT) / np.float32(COLOUR),
    )
    levels = np.concatenate(parts_of, 1)
    unit = levels * weights(fine)
    return Spectra(unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-6), levels)


def changes(one: Floats, other: Floats, fine: int) -> tuple[Floats, Floats]:
    """Say how much two pictures differ where they differ most, of ``levels``, N×``dimensions(fine)`` each.

    Returns for luma, on 8×8 fields, and for chroma, on 4×4, the greatest difference in levels, N each; that luma is
    brighter or darker all over does not count.
    """
    apart = one - other
    light = apart[:, : fine * fine].reshape(-1, fine, fine)[:, :COLOUR, :COLOUR].copy()
    light[:, 0, 0] = 0
    colour = apart[:, fine * fine :].reshape(-1, 2, TINT, TINT)
    fields = (_fields(COLOUR).T @ light @ _fields(COLOUR), _fields(TINT).T @ colour @ _fields(TINT))
    light, colour = (np.abs(field).max((-2, -1), initial=0) for field in fields)
    return light, colour.max(1, initial=0)


@cache
def _fields(count: int) -> Floats:
    """Give the cosines of ``levels`` at the middles of ``count`` fields, ``count``×``count``: frequency, field."""
    wave, middle = np.arange(count)[:, None], (np.arange(count) + 0.5) / count
    return (np.cos(np.pi * wave * middle) * np.where(wave == 0, 1, 2**0.5)).astype(np.float32)


@cache
def weights(fine: int) -> Floats:
    """Give how much each number of a spectrum counts: more with its frequency, and means nothing."""
    parts = []
    for count in (fine, TINT, TINT):
        v, u = np.mgrid[:count, :count]
        far = np.hypot(v, u)
        parts.append(np.where(far > 0, np.maximum(far, 1) ** RISE, 0).ravel())
    return np.concatenate(parts).astype(np.float32)


@cache
def turns(fine: int) -> tuple[npt.NDArray[np.intp], Floats]:
    """Give places and signs, 8×``dimensions(fine)`` each: ``spectrum[places[g]] * signs[g]`` is laid as ``g``."""
    places, signs = [], []
    for g in ORIENTATIONS:
        index, sign, start = [], [], 0
        for count in (fine, TINT, TINT):
            grid = start + np.arange(count * count).reshape(count, count)
            v, u = np.mgrid[:count, :count]
            index.append((grid.T if g.transpose else grid).ravel())
            sign.append(((-1.0) ** (v * g.rows + u * g.columns)).ravel())
            start += count * count
        places.append(np.concatenate(index))
        signs.append(np.concatenate(sign))
    return np.stack(places).astype(np.intp), np.stack(signs).astype(np.float32)


def invariants(spectrum: Floats, fine: int) -> Floats:
    """Make of spectra what is the same in all eight orientations; no two come farther apart than they were.

    N×``dimensions(fine)``: of each pair |C[v, u]|, |C[u, v]| their sum and their difference, by the root of 2.
    """
    places, _ = turns(fine)
    size = np.abs(spectrum)
    other = size[:, places[4]]
    index = np.arange(spectrum.shape[1])
    first, alone = index < places[4], index == places[4]
    halves = np.where(first, size + other, np.abs(size - other)) * np.float32(0.5**0.5)
    return np.where(alone, size, halves)


def _basis(side: int, fine: int, start: Floats, end: Floats) -> Floats:
    """Give ``fine`` cosines over windows of ``side`` pixels, M×``fine``×``side``: DCT-II of the window, orthonormal.

    A pixel's share of a cosine is the cosine's mean over the part of the pixel that lies inside.
    """
    edges = np.clip((np.arange(side + 1, dtype=np.float32) / side - start[:, None]) / (end - start)[:, None], 0, 1)[
        :, None
    ]
    waves = np.arange(1, fine, dtype=np.float32)[:, None]
    rising = np.sin(np.float32(np.pi) * waves * edges) * np.float32(2**0.5 / np.pi) / waves
    return np.diff(np.concatenate([edges, rising], 1), axis=2) * np.float32(side**0.5)
