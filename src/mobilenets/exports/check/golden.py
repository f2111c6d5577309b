"""What a port of the file to another language is checked with: pictures, their pixels, and the file's answers."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilenets.datasets.folder import Sample, relative
from mobilenets.datasets.loader import evenly
from mobilenets.pictures.decode import decode
from mobilenets.runtime.exported import DrawnPicture, Golden, file_hash
from mobilenets.runtime.predictor import EnginePredictor

PICTURES = 8
# Of a detector's answer, the surest.
BOXES = 20


def golden_pictures(predictor: EnginePredictor, samples: Sequence[Sample], root: Path) -> tuple[Golden, ...]:
    """Describe a few pictures of as many classes as there are, with what the file answers."""
    places = evenly(len(samples), PICTURES)
    golden = []
    for place in places:
        path = samples[place].path
        # Decoded whole, as a port will, and as the hash of the pixels says.
        pixels, outputs = _pixels_and_outputs(predictor, decode(path))
        rows, columns = (np.arange(1, 8, 2) * side // 8 for side in pixels.shape[:2])
        grid = tuple(
            (int(red), int(green), int(blue)) for red, green, blue in pixels[np.ix_(rows, columns)].reshape(-1, 3)
        )
        hashed = sha256(pixels.tobytes()).hexdigest()
        golden.append(Golden(relative(path, root), file_hash(path), hashed, outputs, grid))
    return tuple(golden)


def drawn_picture(predictor: EnginePredictor) -> DrawnPicture:
    """Describe a picture that others can draw, half as large again as the input, with what the file answers."""
    height = predictor.bundle.preprocessing.size * 3 // 2
    width = height + 1
    y, x, channel = np.ogrid[:height, :width, :3]
    picture = Image.fromarray(((x * x * (channel + 1) + 3 * y * (x + 5 * channel)) >> 5 & 255).astype(np.uint8))
    pixels, outputs = _pixels_and_outputs(predictor, picture)
    return DrawnPicture(width, height, crc32(pixels.tobytes()), outputs)


def _pixels_and_outputs(
    predictor: EnginePredictor, image: Image.Image
) -> tuple[npt.NDArray[np.uint8], tuple[float, ...]]:
    """Give the pixels that the file is to be given, before they become numbers, and what it answers."""
    exported = predictor.bundle.export
    assert exported is not None
    prepared = predictor.prepare_image(image)
    inside = exported.geometry == "inside"
    pixels = np.asarray(image if inside else predictor.bundle.preprocessing.fit(image))
    if predictor.places:
        [found] = predictor.detections([prepared])
        rows = np.column_stack([found.corners, found.scores, found.labels])[:BOXES]
        return pixels, tuple(float(value) for value in rows.ravel())
    [outputs] = predictor.engine(prepared[None])
    return pixels, tuple(float(value) for value in outputs)
