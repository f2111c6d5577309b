from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mobilenets.datasets.folder import Sample
from mobilenets.doctor.files import BLURRED, Look, judge, look_at_all, sharpness


def photo(seed: int = 0, size: tuple[int, int] = (200, 160)) -> Image.Image:
    """Draw discs in colours on a slope of light: edges, and no noise."""
    rng = np.random.default_rng(seed)
    height, width = size[1], size[0]
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x / width * 120 + 40] * 3, -1)
    for _ in range(6):
        at, radius = rng.uniform(0.2, 0.8, 2) * (height, width), min(size) * rng.uniform(0.05, 0.2)
        pixels[(y - at[0]) ** 2 + (x - at[1]) ** 2 < radius**2] = rng.uniform(0, 255, 3)
    return Image.fromarray(pixels.astype(np.uint8))


def seen(folder: Path, pictures: dict[str, Image.Image], **saving: object) -> tuple[dict[str, Look], dict[str, str]]:
    """The looks, and the kind of the first thing found of each picture, by name; ten usual ones stand beside them."""
    for number in range(10):
        photo(100 + number).save(folder / f"usual-{number}.png")
    for name, picture in pictures.items():
        picture.save(folder / name, **saving)  # type: ignore[arg-type]
    all_ = look_at_all([Sample(path, 0) for path in sorted(folder.iterdir())], folder)
    findings, _ = judge(all_.looks, folder)
    return {path.name: one for path, one in all_.looks.items()}, {one.path: one.kind for one in findings}


def test_what_is_wrong_with_each(tmp_path: Path) -> None:
    usual = photo()
    dark = Image.fromarray((np.asarray(usual) * 0.1).astype(np.uint8))
    white = Image.fromarray((255 - (255 - np.asarray(usual)) * 0.1).astype(np.uint8))
    _, kinds = seen(
        tmp_path,
        {
            "usual.png": usual,
            "blank.jpg": Image.new("RGB", (90, 90), "teal"),
            "clear.png": Image.new("LA", (90, 90), (255, 0)),
            "dark.png": dark,
            "white.png": white,
            "blurred.png": usual.filter(ImageFilter.GaussianBlur(4)),
            "strip.png": photo(1, (400, 90)),
            "tiny.png": photo(2).resize((12, 10)),
        },
    )
    assert kinds == {
        "blank.jpg": "blank",
        "clear.png": "blank",
        "dark.png": "dark",
        "white.png": "overexposed",
        "blurred.png": "blurred",
        "strip.png": "odd_aspect",
        "tiny.png": "tiny_picture",
    }


def test_what_is_meant_so_passes(tmp_path: Path) -> None:
    """White on black, an icon on white, a faint drawing, a sharp subject before a blurred background."""
    mask = np.zeros((160, 200), bool)
    mask[40:60, 30:120] = True
    white_on_black = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))
    icon = Image.fromarray(np.where(mask[..., None], (240, 230, 120), 255).astype(np.uint8))
    soft = photo(3).filter(ImageFilter.GaussianBlur(6))
    soft.paste(photo(4).crop((60, 60, 120, 120)), (60, 60))
    _, kinds = seen(tmp_path, {"digit.png": white_on_black, "icon.png": icon, "subject.png": soft})
    assert kinds == {}


def test_what_a_fifth_has_in_common_is_its_nature(tmp_path: Path) -> None:
    dark = Image.fromarray((np.asarray(photo()) * 0.1).astype(np.uint8))
    for number in range(4):
        dark.save(tmp_path / f"{number}.png")
        photo(number).save(tmp_path / f"usual-{number}.png")
    looks = look_at_all([Sample(path, 0) for path in sorted(tmp_path.iterdir())], tmp_path).looks
    assert judge(looks, tmp_path) == (
        [],
        ["4 of 8 pictures are nearly black: taken as the nature of this set, and not listed"],
    )


def test_orientation_and_size_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    looks, kinds = seen(tmp_path, {"turned.jpg": photo()}, exif=exif)
    one = looks["turned.jpg"]
    assert (one.orientation, one.width, one.height, one.format) == (6, 160, 200, "JPEG RGB")
    assert kinds == {"turned.jpg": "orientation"}


@pytest.mark.parametrize("contrast", [1.0, 0.3])
def test_sharpness_follows_blur_and_not_contrast(contrast: float) -> None:
    usual = Image.fromarray((np.asarray(photo()) * contrast + 30).astype(np.uint8))
    found = [sharpness(np.asarray(usual.filter(ImageFilter.GaussianBlur(radius)))) or 0 for radius in (0, 1, 2, 4)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.9 and found[1] > BLURRED > found[3]


def test_nothing_to_judge_sharpness_by() -> None:
    assert sharpness(np.full((50, 50, 3), 9, np.uint8)) is None
    assert sharpness(np.zeros((5, 5, 3), np.uint8)) is None


def test_files_that_do_not_decode(tmp_path: Path) -> None:
    photo().save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "page.jpg").write_bytes(b"<!doctype html><html></html>")
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (30_000).to_bytes(4) * 2 + b"\x08\0\0\0\0"
    Image.new("L", (2, 2)).save(tmp_path / "huge.png")
    png = (tmp_path / "huge.png").read_bytes()
    import zlib

    (tmp_path / "huge.png").write_bytes(header + zlib.crc32(header[12:]).to_bytes(4) + png[33:])
    done: list[int] = []
    all_ = look_at_all([Sample(path, 0) for path in sorted(tmp_path.iterdir())], tmp_path, 2, done.append)
    assert {one.path: one.kind for one in all_.findings} == {
        "cut.jpg": "unreadable",
        "empty.jpg": "unreadable",
        "page.jpg": "not_an_image",
        "huge.png": "too_large",
    }
    assert [path.name for path in all_.looks] == ["whole.jpg"]
    assert (len(all_.small), sum(done), all_.small.shown.sum()) == (5, 5, 1)
