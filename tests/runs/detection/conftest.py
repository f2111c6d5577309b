"""A drawn set: coloured shapes on noise, with exact boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mobilenets.datasets.boxes.write import write_coco
from mobilenets.pictures.boxes import Boxes

CLASSES = ("disc", "square")
COLOURS = ((230, 60, 40), (40, 90, 230))
Draw = Callable[..., Path]


def draw_set(folder: Path, count: int = 20, side: int = 64, seed: int = 0) -> Path:
    """Draw pictures with one to three shapes."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    names, truths = [], []
    for number in range(count):
        image = Image.fromarray(rng.integers(90, 140, (side, side, 3), np.uint8))
        boxes, labels = [], []
        for _ in range(int(rng.integers(1, 4))):
            label, width = int(rng.integers(2)), int(rng.integers(side // 5, side // 2))
            x, y = (int(part) for part in rng.integers(0, side - width, 2))
            box = (x, y, x + width, y + width)
            if any(x < b[2] and b[0] < box[2] and y < b[3] and b[1] < box[3] for b in boxes):
                continue
            paint = ImageDraw.Draw(image)
            (paint.ellipse if label == 0 else paint.rectangle)((x, y, x + width - 1, y + width - 1), COLOURS[label])
            boxes.append(box)
            labels.append(label)
        name = f"{number:03}.png"
        image.save(folder / name)
        names.append(name)
        truths.append(Boxes.of(boxes, labels))
    write_coco(folder / "instances_all.json", CLASSES, zip(names, [(side, side)] * count, truths, strict=True))
    return folder


@pytest.fixture(scope="session")
def draw_shapes() -> Draw:
    """Give ``draw_set``."""
    return draw_set


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a small set, to be read only."""
    return draw_set(tmp_path_factory.mktemp("drawn") / "shapes")
