"""Pictures put together of cut-outs, whose boxes are exact because they are taken from what is seen of each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image

from mobilenets.pictures.boxes import Boxes

SEEN = 128  # of 255: opaque enough to belong to a thing
MOST_HIDDEN = 0.6


class Piece(NamedTuple):
    """A cut-out with alpha (RGBA), its class, and where its left top corner lies: it may stick out."""

    image: Image.Image
    label: int
    left: int
    top: int


def compose(ground: Image.Image, pieces: Iterable[Piece]) -> tuple[Image.Image, Boxes]:
    """Lay pieces on a ground, one over the other, and give the picture with the boxes of what is seen of each.

    A piece is left away where more than ``MOST_HIDDEN`` of it, or of one below it, would not be seen.
    """
    picture = ground.convert("RGB")
    owner = np.full((picture.height, picture.width), -1, np.int16)
    laid: list[Piece] = []
    opaque: list[int] = []
    for piece in pieces:
        mask = np.asarray(piece.image.getchannel("A")) >= SEEN
        whole = int(mask.sum())
        left, top = max(0, -piece.left), max(0, -piece.top)
        mask = mask[top : max(top, picture.height - piece.top), left : max(left, picture.width - piece.left)]
        if not whole or mask.sum() < (1 - MOST_HIDDEN) * whole:
            continue
        y, x = piece.top + top, piece.left + left
        under = owner[y : y + mask.shape[0], x : x + mask.shape[1]]
        hides = np.bincount(under[mask] + 1, minlength=len(laid) + 1)[1:]
        now = np.bincount(owner.ravel() + 1, minlength=len(laid) + 1)[1:]
        if any(after < (1 - MOST_HIDDEN) * before for after, before in zip(now - hides, opaque, strict=True)):
            continue
        under[mask] = len(laid)
        picture.paste(piece.image, (piece.left, piece.top), piece.image)
        laid.append(piece)
        opaque.append(whole)
    corners = []
    for place in range(len(laid)):
        down, across = np.nonzero(owner == place)
        corners.append((across.min(), down.min(), across.max() + 1, down.max() + 1))
    return picture, Boxes.of(corners, [piece.label for piece in laid])
