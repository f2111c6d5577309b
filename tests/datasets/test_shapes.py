from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilenets.datasets.shapes import SHAPES, SIDE, draw
from mobilenets.datasets.write import write_folders
from mobilenets.errors import InputError


def test_shapes_as_folders(tmp_path: Path) -> None:
    written = write_folders("shapes", tmp_path / "shapes")
    assert (written.train, written.validation, written.size) == (150, 0, SIDE)
    assert written.classes == tuple(sorted(SHAPES))
    for shape in SHAPES:
        assert len(list((tmp_path / "shapes" / shape).glob("*.png"))) == 25
    with Image.open(tmp_path / "shapes/star/00001.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), draw("star", 0))
    with pytest.raises(InputError, match="are drawn and have no archive"):
        write_folders("shapes", tmp_path / "other", archive=tmp_path)


def test_no_two_are_alike_and_each_is_seen() -> None:
    pictures = [draw(shape, seed) for shape in SHAPES for seed in range(4)]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    for picture in pictures:
        # Something stands out from the ground that surrounds it.
        assert np.abs(picture.astype(float) - np.median(picture, (0, 1))).mean() > 5
