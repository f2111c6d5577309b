from __future__ import annotations

import numpy as np

from mobilenets.exports.check.gate import probes


def test_probes_are_colourful_and_the_same() -> None:
    one, other = probes(40), probes(40)
    assert [picture.tobytes() for picture in one] == [picture.tobytes() for picture in other]
    for picture in one:
        pixels = np.asarray(picture).astype(int)
        assert pixels.shape == (40, 40, 3)
        assert np.abs(pixels[..., 0] - pixels[..., 2]).mean() > 10
