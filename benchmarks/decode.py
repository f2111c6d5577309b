"""What JPEG's scaled decoding changes, and what it saves.

    python benchmarks/decode.py [--photos FOLDER] [--interpolation bicubic]

Pictures of 12 megapixels, encoded in several ways, are decoded whole and at 1/2, 1/4 and 1/8 of their sides, and both
are brought to the same size. Printed are the largest difference in levels of 255 and, in brackets, the mean of the
worst picture, by how many times larger than that size the smaller decoding still was ("factor"); then the times on one
thread.

Photographs are two of scikit-learn's, and those in FOLDER: laid side by side with their mirror pictures, as they are
(then every pixel is as sharp as a picture made small), and first enlarged twice and four times, which is nearer to what
a camera gives. Drawn are noise, checkerboards, lines, and a zone plate, the worst that there is for resizing.
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from report import arguments, heads, load, machine, row
from sklearn.datasets import load_sample_images

from mobilenets.bench.networks import medians
from mobilenets.pictures.decode import decode
from mobilenets.pictures.preprocess import Preprocessing

WIDTH, HEIGHT = 4000, 3000
SHARES = (2, 4, 8)
FACTORS = (2, 3, 4, 5, 6, 8)
SECONDS = 3.0  # of each way


def wide_gamut() -> bytes:
    """The sRGB profile with the primaries of Display P3, which phones write."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {b"rXYZ": (33759, 15807, -69), b"gXYZ": (19135, 45369, 2745), b"bXYZ": (10296, 4369, 51383)}
    for place in range(struct.unpack_from(">I", content, 128)[0]):
        name, offset, _ = struct.unpack_from(">4sII", content, 132 + 12 * place)
        if name in primaries:
            struct.pack_into(">3i", content, offset + 8, *primaries[name])
    return bytes(content)


ENCODINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "4:4:4, quality 95": ("RGB", {"quality": 95, "subsampling": 0}),
    "4:2:2, quality 90": ("RGB", {"quality": 90, "subsampling": 1}),
    "4:2:0, quality 90": ("RGB", {"quality": 90, "subsampling": 2}),
    "4:2:0, quality 70, progressive": ("RGB", {"quality": 70, "subsampling": 2, "progressive": True}),
    "grey, quality 90": ("L", {"quality": 90}),
    "CMYK, quality 90": ("CMYK", {"quality": 90}),
    "Display P3, 4:2:0, quality 90": ("RGB", {"quality": 90, "subsampling": 2, "icc_profile": wide_gamut()}),
}


def mosaic(picture: Image.Image, times: int) -> Image.Image:
    pixels = np.asarray(picture.resize((picture.width * times, picture.height * times), Image.Resampling.BICUBIC))
    pixels = np.concatenate([pixels, pixels[:, ::-1]], 1)
    pixels = np.concatenate([pixels, pixels[::-1]])
    rows, columns = -(-HEIGHT // len(pixels)), -(-WIDTH // pixels.shape[1])
    return Image.fromarray(np.tile(pixels, (rows, columns, 1))[:HEIGHT, :WIDTH].copy())


def photographs(folder: Path | None) -> Iterator[tuple[str, Image.Image]]:
    found = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    found += [decode(path) for path in sorted(folder.iterdir())] if folder is not None else []
    for times, name in ((1, "as they are"), (2, "enlarged twice"), (4, "enlarged four times")):
        for photo in found:
            yield name, mosaic(photo, times)


def drawn() -> Iterator[tuple[str, Image.Image]]:
    rng = np.random.default_rng(0)
    yield "noise", Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    yield "noise", Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH), np.uint8)).convert("RGB")
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for cell in (1, 3, 5, 13, 40):
        yield "checkerboards", Image.fromarray(((x // cell + y // cell) % 2 * 255).astype(np.uint8)).convert("RGB")
    yield "lines", Image.fromarray(((x + 0.3 * y) % 7 < 1) * np.uint8(255)).convert("RGB")
    rings = 127.5 + 127.5 * np.cos(((x - WIDTH / 2) ** 2 + (y - HEIGHT / 2) ** 2) * np.pi / WIDTH)
    yield "zone plate", Image.fromarray(rings.astype(np.uint8)).convert("RGB")


def encoded(picture: Image.Image, encoding: str) -> bytes:
    mode, options = ENCODINGS[encoding]
    file = io.BytesIO()
    picture.convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def scaled(content: bytes, share: int) -> Image.Image:
    """Decode at 1/share of the sides, also where ``decode`` would not."""
    with Image.open(io.BytesIO(content)) as picture:
        picture.draft(None, (WIDTH // share, HEIGHT // share))
        return decode(picture)


def differences(content: bytes, interpolation: str) -> Iterator[tuple[int, int, float]]:
    """Give factor, largest difference and mean difference."""
    whole = decode(content)

    @cache
    def fitted(wanted: Preprocessing) -> np.ndarray:
        return np.asarray(wanted.fit(whole)).astype(int)

    for share in SHARES:
        smaller = scaled(content, share)
        assert smaller.size == (WIDTH // share, HEIGHT // share)
        for factor in FACTORS:
            wanted = Preprocessing(round(HEIGHT / share / factor), "stretch", interpolation=interpolation)
            apart = np.abs(np.asarray(wanted.fit(smaller)) - fitted(wanted))
            yield factor, int(apart.max()), float(apart.mean())


def compare(pictures: Iterator[tuple[str, Image.Image]], encodings: list[str], interpolation: str) -> None:
    found: dict[tuple[str, str], dict[int, list[tuple[int, float]]]] = {}
    for name, picture in pictures:
        for encoding in encodings:
            row = found.setdefault((name, encoding), {factor: [] for factor in FACTORS})
            for factor, most, mean in differences(encoded(picture, encoding), interpolation):
                row[factor].append((most, mean))
    for (name, encoding), row in found.items():
        cells = (f"{max(most for most, _ in row[one])} ({max(mean for _, mean in row[one]):.2f})" for one in FACTORS)
        print(row(name, encoding, *cells), flush=True)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="more photographs")
    parser.add_argument("--interpolation", default="bicubic", choices=["bilinear", "bicubic", "lanczos"])
    options = parser.parse_args()
    print(f"<!-- {machine()} -->")
    print(heads("", "factor:", *FACTORS, numbers=len(FACTORS)), flush=True)
    compare(photographs(options.photos), list(ENCODINGS), options.interpolation)
    compare(drawn(), ["4:4:4, quality 95", "4:2:0, quality 90"], options.interpolation)
    print()
    print(heads("4000 × 3000, decoded and brought to", "whole, ms", "scaled, ms", "decoded at"))
    picture = mosaic(Image.fromarray(load_sample_images().images[0]), 2)
    for encoding in ("4:2:0, quality 90", "4:2:0, quality 70, progressive", "Display P3, 4:2:0, quality 90"):
        content = encoded(picture, encoding)
        for size in (224, 160, 96):
            how = Preprocessing(size)
            ways = [
                lambda how=how, content=content: how.fit(decode(content)),
                lambda how=how, content=content: how.fit(decode(content, how.surplus)),
            ]
            whole, smaller = medians(ways, SECONDS, lambda _: None)
            share = WIDTH // decode(content, how.surplus).width
            at = f"1/{share}" if share > 1 else "whole"
            print(row(f"{size}, {encoding}", f"{whole:.0f}", f"{smaller:.0f}", at))
    print(f"\nload average {load():.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
