"""What a network looked at, over the picture: the evidence that its ONNX file gives (Grad-CAM) as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image

from mobilenets.drawing.lettering import caption_below
from mobilenets.errors import InputError
from mobilenets.runtime.predictor import EnginePredictor

Floats: TypeAlias = npt.NDArray[np.float32]

COLORS = "inferno"  # dark to light in even steps, also for colour-blind readers and in print
SHARE = 0.6  # of the colours; the rest is the picture
SHOWN_SIZE = 320  # pixels: smaller networks' pictures are enlarged to at least this


def explain_picture(
    predictor: EnginePredictor, image: Image.Image, index: int | None = None, caption: str | None = None
) -> Image.Image:
    """Draw what the network looked at over the picture as it saw it: the lighter, the more it counted.

    ``predictor`` is that of an ONNX file that gives ``evidence`` (see ``Exported``), and ``image`` upright RGB, as
    ``decode`` gives it. ``index`` is the class, by default the most probable; ``caption`` is written below.

    Returns RGB, at least 320 pixels wide. Raises ``InputError`` where the file gives another number of places than its
    description.
    """
    assert predictor.file is not None
    engine: Any = predictor.engine
    [evidence] = engine.evidence(predictor.prepare_image(image)[None], index)
    places = len(predictor.file.evidence)
    if evidence.shape != (places, places):
        cells = " × ".join(map(str, evidence.shape))
        raise InputError(f"{predictor.file.file} gives evidence at {cells} places, but model.json describes {places}")
    seen = predictor.bundle.preprocessing.fit(image)
    drawn = overlay(seen, heat_map(evidence, predictor.file.evidence, seen.width))
    return drawn if caption is None else caption_below(drawn, caption)


def heat_map(evidence: Floats, centres: Sequence[float], side: int) -> Floats:
    """Enlarge evidence h×h bilinearly to side×side, from 0 to 1.

    ``centres`` are the pixels in the middle of what each cell sees. Evidence that is the same everywhere says nothing
    of places, and comes out as zeros.
    """
    low, high = evidence.min(), evidence.max()
    # Rounding alone must not draw a pattern.
    if high - low <= 1e-5 * high:
        return np.zeros((side, side), np.float32)
    spread = _spread(np.asarray(centres), side)
    return np.asarray(spread @ ((evidence - low) / (high - low)) @ spread.T, np.float32)


def overlay(seen: Image.Image, heat: npt.NDArray[np.float32]) -> Image.Image:
    """Lay a map from 0 to 1 in colours over a picture of the same size, enlarged by a whole factor if it is small."""
    factor = -(-SHOWN_SIZE // seen.width)
    size = (seen.width * factor, seen.height * factor)
    # Grey, so that the colours are the map's alone; its pixels stay visible as squares.
    grey = np.asarray(seen.convert("L").resize(size, Image.Resampling.NEAREST), np.float32)[..., None]
    smooth = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR))
    colored = _table()[np.rint(smooth * 255).astype(np.uint8)]
    return Image.fromarray(np.rint(SHARE * colored + (1 - SHARE) * grey).astype(np.uint8))


def _spread(centres: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    """The weights, side×cells, that interpolate values at ``centres`` linearly to every pixel."""
    weights = [np.interp(np.arange(side), centres, cell) for cell in np.eye(len(centres))]
    return np.stack(weights, axis=1)


@cache
def _table() -> npt.NDArray[np.float32]:
    """The colour map as 256×3 values from 0 to 255."""
    return np.asarray(colormaps[COLORS](np.arange(256))[:, :3] * 255, np.float32)
