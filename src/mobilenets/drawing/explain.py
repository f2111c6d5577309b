"""What a network looked at: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391, section 3) on its last map."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from PIL import Image

from mobilenets.measure.evaluate import to_tensor
from mobilenets.drawing.lettering import caption_below
from mobilenets.models.architecture import Architecture
from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing

COLORS = "inferno"  # dark to light in even steps, also for colour-blind readers and in print
SHARE = 0.6  # of the colours; the rest is the picture
SHOWN_SIZE = 320  # pixels: smaller networks' pictures are enlarged to at least this


def gradcam(
    network: Network, picture: npt.NDArray[np.float32], index: int | None = None
) -> tuple[npt.NDArray[np.float32], int]:
    """Show where the evidence for a class lies.

    ``picture`` is preprocessed, float32 H×W×3; ``index`` is the class, by default the most probable. Each channel of
    the body's last map counts by the gradient of the class's logit (equation 1), and what speaks against the class
    is cut off (equation 2). Under global pooling the gradient is the same at every place, so its mean need not be
    taken; under a flat head it is not, and the mean would lose what the head knows of places (HiResCAM, Draelos and
    Carin 2020, arXiv 2011.08891, section 3).

    Returns the map, enlarged bilinearly to float32 H×W from 0 to 1, and the class. A map that is the same everywhere
    says nothing of places, and comes out as zeros. The network, which needs a classifier, is left in evaluation mode.
    """
    network.eval()
    place = next(network.parameters()).device
    with torch.no_grad():
        maps = network.body(to_tensor(picture[None], place)).float()
    # The head alone is differentiated: the body's gradients are not needed.
    maps.requires_grad_()
    with torch.enable_grad():
        logits = network.answer(network.pool(maps))[0]
    chosen = int(logits.argmax()) if index is None else index
    [gradient] = torch.autograd.grad(logits[chosen], maps)
    evidence = torch.relu((gradient * maps.detach()).sum(1)[0]).cpu().numpy()
    low, high = evidence.min(), evidence.max()
    # Rounding alone must not draw a pattern.
    if high - low <= 1e-5 * high:
        return np.zeros(picture.shape[:2], np.float32), chosen
    rows, columns = (_spread(cell_centres(network.architecture), side) for side in picture.shape[:2])
    heat: npt.NDArray[np.float32] = (rows @ ((evidence - low) / (high - low)) @ columns.T).astype(np.float32)
    return heat, chosen


def cell_centres(architecture: Architecture) -> npt.NDArray[np.float64]:
    """Give the pixel in the middle of what each cell of the last map sees, along one side of the input.

    The way of padding decides: with ``symmetric`` the first cell's middle is pixel 0. A map stretched evenly over the
    picture, as is usual, would lie half a cell beside what it is about.
    """
    plan = architecture.plan()
    first, step = plan.cells()
    return first + step * np.arange(plan.maps.side, dtype=np.float64)


def has_places(architecture: Architecture) -> bool:
    """Say whether the last map has more than one cell, so that it can tell one place from another."""
    return len(cell_centres(architecture)) > 1


def explain_picture(
    network: Network,
    preprocessing: Preprocessing,
    image: Image.Image,
    index: int | None = None,
    caption: str | None = None,
) -> Image.Image:
    """Draw what the network looked at over the picture as it saw it: the lighter, the more it counted.

    ``image`` is upright RGB, as ``decode`` gives it, and stays as it is; ``index`` is the class, by default the most
    probable; ``caption`` is written below. Returns RGB, at least 320 pixels wide.
    """
    seen = preprocessing.fit(image)
    heat, _ = gradcam(network, preprocessing.normalise(np.asarray(seen)), index)
    drawn = overlay(seen, heat)
    return drawn if caption is None else caption_below(drawn, caption)


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
