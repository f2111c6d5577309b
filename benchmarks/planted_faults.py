"""Ten faults of each kind among some 650 real pictures, and how many of them ``mobilenets check`` finds.

    python benchmarks/planted_faults.py FOLDER [--seed N]

The pictures are the stamps of Tux Paint (Debian: tuxpaint-stamps-default), on white, and crops of the two photographs
that come with scikit-learn. They are written to FOLDER, as JPEG, with the faults among them; the check is written
beside it. Prints recall and precision of each kind, and what was found that was not planted.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from drawn import STAMPS, encoded, on_white, png
from PIL import Image, ImageFilter
from report import arguments
from sklearn.datasets import load_sample_images

OF_EACH = 10
CROPS, CROP = 60, 200  # of each photograph; pixels
LARGE = 128  # pixels; faults are planted in pictures of that size
TONES = ("white", "black", "grey", "#3060a0", "#fafafa", "#101010", "red", "#808000", "#cccccc", "#f0e0d0")
Make = Callable[[Image.Image, int], "Image.Image | bytes"]


def real_pictures(rng: np.random.Generator) -> Iterator[tuple[str, Image.Image]]:
    for path in sorted(STAMPS.rglob("*.png")):
        picture = Image.open(path).convert("RGBA")
        if min(picture.size) >= 64:
            yield path.relative_to(STAMPS).parts[0], on_white(picture)
    for name, photo in zip(("china", "flower"), load_sample_images().images, strict=True):
        for _ in range(CROPS):
            top, left = (int(rng.integers(0, side - CROP)) for side in photo.shape[:2])
            yield name, Image.fromarray(photo[top : top + CROP, left : left + CROP])


def cut_off(picture: Image.Image, n: int) -> bytes:
    content = encoded(picture, 90)
    return content[: len(content) * (30 + 6 * n) // 100]


def huge(picture: Image.Image, n: int) -> bytes:
    return png(12_000 + n, 10_100, 8, zlib.compress(b"\0"))


def dark(picture: Image.Image, n: int) -> Image.Image:
    return Image.fromarray((np.asarray(picture) * (0.03 + 0.01 * n)).astype(np.uint8))


def white(picture: Image.Image, n: int) -> Image.Image:
    return Image.fromarray((255 - (255 - np.asarray(picture)) * (0.06 + 0.005 * n)).astype(np.uint8))


def blurred(picture: Image.Image, n: int) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur((3 + 0.5 * n) * max(1, min(picture.size) / 256)))


def strip(picture: Image.Image, n: int) -> Image.Image:
    width, height = picture.size
    box = (width, height // (5 + n % 3)) if width > height else (width // (5 + n % 3), height)
    return picture.crop((0, 0, *box))


FAULTS: dict[str, tuple[str, Make]] = {
    "empty": ("unreadable", lambda picture, n: b""),
    "cut off": ("unreadable", cut_off),
    "damaged header": ("unreadable", lambda picture, n: b"\xff\xd8\xff\xe0" + bytes(range(256)) * (n + 2)),
    "web page": ("not_an_image", lambda picture, n: b"<!doctype html><html><body>404</body></html>" + b" " * n),
    "archive": ("not_an_image", lambda picture, n: b"PK\3\4" + bytes([n]) * 900),
    "huge": ("too_large", huge),
    "blank": ("blank", lambda picture, n: Image.new("RGB", picture.size, TONES[n])),
    "dark": ("dark", dark),
    "overexposed": ("overexposed", white),
    "blurred": ("blurred", blurred),
    "strip": ("odd_aspect", strip),
    "turned": ("orientation", lambda picture, n: picture),
    "tiny": ("tiny_picture", lambda picture, n: picture.resize((8 + n % 4, 8 + n % 4))),
}


def write(folder: Path, seed: int) -> dict[str, set[str]]:
    """Write all pictures; returns the paths that were spoiled, by the kind that should be found."""
    rng = np.random.default_rng(seed)
    pictures = list(real_pictures(rng))
    order = rng.permutation(len(pictures)).tolist()
    large = [place for place in order if min(pictures[place][1].size) >= LARGE]
    planted: dict[str, set[str]] = defaultdict(set)
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, (kind, make) in FAULTS.items():
        for n in range(OF_EACH):
            place = large.pop()
            order.remove(place)
            path = folder / pictures[place][0] / f"{name}-{n}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            made = make(pictures[place][1], n)
            if isinstance(made, bytes):
                path.write_bytes(made)
            else:
                made.save(path, quality=90, **({"exif": turned} if name == "turned" else {}))
            planted[kind].add(path.relative_to(folder).as_posix())
    for n, place in enumerate(order):
        path = folder / pictures[place][0] / f"real-{n:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures[place][1].save(path, quality=90)
    print(f"{len(pictures)} pictures, {len(order)} of them as they are")
    return planted


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out = options.folder.with_name(f"{options.folder.name}-checked")
    for place in (options.folder, out):
        shutil.rmtree(place, ignore_errors=True)
    planted = write(options.folder, options.seed)
    command = [sys.executable, "-m", "mobilenets", "check", str(options.folder), "--out", str(out), "--json"]
    result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)
    found: dict[str, set[str]] = defaultdict(set)
    for problem in result["problems"]:
        found[problem["kind"]].add(problem["path"])
    print("kind            planted  found  recall  listed  precision  not planted")
    for kind, paths in planted.items():
        hit = len(paths & found[kind])
        shares = f"{hit / len(paths):7.2f}  {len(found[kind]):6}  {hit / max(1, len(found[kind])):9.2f}"
        print(f"{kind:15} {len(paths):7}  {hit:5} {shares}  {', '.join(sorted(found[kind] - paths)) or '-'}")
    for kind in found.keys() - planted.keys():
        print(f"{kind:15} {len(found[kind])} found, none planted")


if __name__ == "__main__":
    main()
