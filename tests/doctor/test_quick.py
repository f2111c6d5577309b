from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilenets.datasets.folder import Sample
from mobilenets.doctor import quick
from mobilenets.doctor.hashes import Thumbnails, thumbnail
from mobilenets.doctor.quick import Looking, conflicts, in_words, leaks


def picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC)


def small(*made: tuple[str, Image.Image]) -> Thumbnails:
    return Thumbnails.of(((content, thumbnail(image)) for content, image in made), len(made))


MIRRORED = Image.Transpose.FLIP_LEFT_RIGHT
TRAINING = small(*((f"t{seed}", picture(seed)) for seed in range(8)))
MEASURED = small(
    ("new", picture(20)),
    ("t3", picture(3)),
    ("m", picture(5).transpose(MIRRORED)),
    ("c", picture(6).crop((2, 2, 43, 43))),
)
NAMES = [Path(name) for name in ("new", "same", "mirrored", "part")]
PARTNERS = [Path(f"train/{seed}") for seed in range(8)]


def test_every_measured_picture_with_a_copy_is_named_once() -> None:
    found = leaks(MEASURED, NAMES, TRAINING, PARTNERS)
    said = [(pair.path.name, pair.partner.name, pair.how) for pair in found.pairs]
    assert said == [("same", "3", "same file"), ("mirrored", "5", "mirrored"), ("part", "6", "cropped")]
    assert (found.limited, len(found.near), in_words(found.near)) == (None, 2, "1 mirrored, 1 cropped")


@pytest.mark.parametrize(
    "whole, cropped, names, limited",
    [(1000, 31, ["same", "mirrored"], "not for crops"), (31, 31, ["same"], "only for the same files")],
)
def test_many_pictures_are_compared_less_and_that_is_said(
    whole: int, cropped: int, names: list[str], limited: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick, "MOST_WHOLE", whole)
    monkeypatch.setattr(quick, "MOST_CROPPED", cropped)
    found = leaks(MEASURED, NAMES, TRAINING, PARTNERS)
    assert [pair.path.name for pair in found.pairs] == names
    assert found.limited is not None and found.limited.startswith(limited)


@pytest.mark.parametrize("most, places", [(1000, [(1, 2), (3, 0)]), (1, [(3, 0)])])
def test_copies_with_two_labels(most: int, places: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "MOST_WHOLE", most)
    made = small(
        ("a", picture(0)),
        ("b", picture(1)),
        ("c", picture(1).transpose(MIRRORED)),
        ("a", picture(0)),
        ("a", picture(0)),
    )
    samples = [Sample(Path(str(place)), label) for place, label in enumerate((0, 0, 1, 1, 0))]
    found = [(int(pair.path.name), int(pair.partner.name)) for pair in conflicts(made, samples)]
    assert found == places


def test_thumbnails_are_made_of_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    looking = Looking()
    samples = [Sample(Path(str(seed)), 0) for seed in range(3)]
    monkeypatch.setattr(quick, "MOST_PICTURES", 2)
    for seed, sample in enumerate(samples):
        looking(sample, picture(seed))
    made = looking.of(samples, {sample.path: sample.path.name for sample in samples})
    assert made.contents == ("0", "1", "2") and made.shown.tolist() == [True, True, False]
    np.testing.assert_array_equal(made.luma[1], thumbnail(picture(1)).luma)
