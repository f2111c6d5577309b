from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mobilenets.datasets.folder import Sample
from mobilenets.datasets.split import clusters
from mobilenets.doctor.copies import Pair, find_copies
from mobilenets.doctor.hashes import thumbnails
from mobilenets.doctor.quick import leaks
from mobilenets.errors import InputError

TURN = Image.Transpose


def scene(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """Draw boxes and discs on a ground of two colours: no two seeds alike."""
    rng = np.random.default_rng(seed)
    ground = Image.fromarray(rng.integers(60, 230, (3, 3, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(ground)
    for _ in range(7):
        left, top = rng.integers(0, size[0] - 15), rng.integers(0, size[1] - 15)
        across, down = rng.integers(8, 40, 2)
        shape = pen.rectangle if rng.random() < 0.5 else pen.ellipse
        shape(
            (int(left), int(top), int(left + across), int(top + down)), tuple(int(v) for v in rng.integers(0, 256, 3))
        )
    return ground


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("scenes")
    for seed in range(30):
        scene(seed).save(place / f"{seed:02}.png")
    return place


def samples(*paths: Path) -> list[Sample]:
    return [Sample(path, 0) for path in paths]


def among(folder: Path, *more: Path) -> list[Sample]:
    return samples(*sorted(folder.glob("*.png")), *more)


def named(pairs: list[Pair]) -> list[tuple[str, str, str, str]]:
    return [(pair.path.name, pair.partner.name, pair.kind, pair.how) for pair in pairs]


def test_scenes_are_no_copies_of_one_another(folder: Path) -> None:
    assert find_copies(among(folder)) == []


@pytest.mark.parametrize(
    "turn, how",
    [
        (None, "same picture"),
        (TURN.FLIP_LEFT_RIGHT, "mirrored"),
        (TURN.FLIP_TOP_BOTTOM, "mirrored upside down"),
        (TURN.ROTATE_180, "rotated 180°"),
        (TURN.ROTATE_90, "rotated 90°"),
        (TURN.ROTATE_270, "rotated 90°"),
        (TURN.TRANSPOSE, "mirrored and rotated 90°"),
        (TURN.TRANSVERSE, "mirrored and rotated 90°"),
    ],
)
@pytest.mark.parametrize("crop", [False, True])
def test_copies_are_found_and_named(turn: TURN | None, how: str, crop: bool, folder: Path, tmp_path: Path) -> None:
    picture = scene(7, (192, 144))
    if crop:
        # 85 % of each side, not in a corner and not in the middle.
        picture = picture.crop((5, 12, 168, 134))
        how = "cropped" if turn is None else f"cropped, {how}"
    picture = picture if turn is None else picture.transpose(turn)
    picture.resize((picture.width // 2, picture.height // 2)).save(tmp_path / "copy.jpg", quality=60)
    # The scene itself is drawn twice as large, so that its lines lie elsewhere between the pixels.
    scene(7, (192, 144)).save(tmp_path / "whole.png")
    others = [path for path in sorted(folder.glob("*.png")) if path.name != "07.png"]
    found = find_copies(samples(*others, tmp_path / "copy.jpg", tmp_path / "whole.png"))
    assert named(found) == [("copy.jpg", "whole.png", "near", how)]
    assert 0.98 < found[0].score <= 1


def test_crops_can_be_left_out(tmp_path: Path) -> None:
    scene(3).save(tmp_path / "a.png")
    scene(3).crop((0, 0, 82, 61)).save(tmp_path / "b.png")
    both = samples(tmp_path / "a.png", tmp_path / "b.png")
    assert named(find_copies(both)) == [("a.png", "b.png", "near", "cropped")]
    assert find_copies(both, crops=False) == []


def test_the_same_file_is_exact_and_only_the_first_is_searched(folder: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes((folder / "04.png").read_bytes())
    scene(4).transpose(TURN.FLIP_LEFT_RIGHT).save(tmp_path / "c.png")
    found = find_copies(among(folder, *sorted(tmp_path.glob("*.png"))))
    assert named(found) == [
        ("04.png", "c.png", "near", "mirrored"),
        ("a.png", "04.png", "exact", "same file"),
        ("b.png", "04.png", "exact", "same file"),
    ]
    first = clusters((pair.path, pair.partner) for pair in found)
    assert {path.name for path in first} == {"04.png", "a.png", "b.png", "c.png"}
    assert set(first.values()) == {min(first)}


def test_against_others_every_picture_with_a_copy_is_named(folder: Path, tmp_path: Path) -> None:
    scene(1).transpose(TURN.FLIP_LEFT_RIGHT).save(tmp_path / "one.png")
    (tmp_path / "one-again.png").write_bytes((tmp_path / "one.png").read_bytes())
    scene(2).crop((9, 7, 91, 68)).save(tmp_path / "part.png")
    scene(50, (192, 144)).save(tmp_path / "whole.png")
    scene(51).save(tmp_path / "other.png")
    (tmp_path / "same.png").write_bytes((folder / "05.png").read_bytes())
    held = [tmp_path / f"{name}.png" for name in ("one", "one-again", "part", "whole", "other", "same")]
    part = tmp_path / "training.png"
    scene(50, (192, 144)).crop((20, 10, 183, 132)).save(part)
    learned = [sample.path for sample in among(folder, part)]
    found = leaks(thumbnails(held), held, thumbnails(learned), learned).pairs
    assert named(found) == [
        ("one.png", "01.png", "near", "mirrored"),
        ("one-again.png", "01.png", "near", "mirrored"),
        ("part.png", "02.png", "near", "cropped"),
        ("whole.png", "training.png", "near", "cropped"),
        ("same.png", "05.png", "exact", "same file"),
    ]


def test_what_is_changed_in_one_place_is_another_picture(tmp_path: Path) -> None:
    scene(8).save(tmp_path / "a.png")
    other = scene(8)
    ImageDraw.Draw(other).ellipse((30, 20, 54, 44), (250, 20, 20))
    other.save(tmp_path / "b.png")
    assert find_copies(samples(tmp_path / "a.png", tmp_path / "b.png")) == []


def test_blank_and_unreadable_pictures_have_exact_copies_only(tmp_path: Path) -> None:
    for name, level in (("a", 10), ("b", 10), ("c", 11), ("d", 250)):
        Image.new("RGB", (40, 40), (level, level, level)).save(tmp_path / f"{name}.png")
    for name in ("x", "y"):
        (tmp_path / f"{name}.png").write_bytes(b"no picture")
    found = find_copies(samples(*sorted(tmp_path.glob("*.png"))))
    assert named(found) == [("b.png", "a.png", "exact", "same file"), ("y.png", "x.png", "exact", "same file")]


def test_what_is_alike_by_nature_is_not_taken_for_copies() -> None:
    """Handwritten digits of 8×8 pixels: a mirrored one is often as near to another as two of one kind are."""
    from sklearn.datasets import load_digits

    from mobilenets.doctor.confirm import matches
    from mobilenets.doctor.hashes import Thumbnails, thumbnail

    pixels = (load_digits().images[:600] * 255 / 16).round().astype(np.uint8)
    planted = [np.ascontiguousarray(one[:, ::-1]) for one in pixels[:10]]
    made = [thumbnail(Image.fromarray(one)) for one in (*pixels, *planted)]
    small = Thumbnails.of(((f"{place:032x}", one) for place, one in enumerate(made)), len(made))
    found = matches(small)
    right = {(place, 600 + place) for place in range(10)}
    assert right <= {(match.one, match.other) for match in found}
    assert len(found) <= 15


def test_thumbnails_once_made_are_used(folder: Path, tmp_path: Path) -> None:
    scene(4).transpose(TURN.ROTATE_90).save(tmp_path / "z.png")
    every = among(folder, tmp_path / "z.png")
    small = thumbnails([sample.path for sample in every])
    gone = [Sample(tmp_path / "gone" / sample.path.name, 0) for sample in every]
    assert named(find_copies(gone, small=small)) == [("04.png", "z.png", "near", "rotated 90°")]


def test_the_answer_does_not_depend_on_threads(folder: Path, tmp_path: Path) -> None:
    scene(9).resize((60, 45)).save(tmp_path / "z.jpg", quality=70)
    every = among(folder, tmp_path / "z.jpg")
    assert find_copies(every, workers=1) == find_copies(every, workers=4)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        find_copies(samples(tmp_path / "none.png"))
