"""Draw a set of pictures with boxes: Tux Paint's stamps of 20 kinds, put on photographs. Not photos of these things.

    apt-get install tuxpaint-stamps-default gnome-backgrounds mate-backgrounds plasma-workspace-wallpapers
    python examples/detection/draw.py DIR [--pictures 3000] [--seed 0]

It shows that detection runs, and compares trainings. Accuracy on it says nothing about anything else: the cut-outs are
few, their edges are clean, and nothing stands where it would in the world. The boxes are exact, because they are taken
from what is seen of each cut-out. Training and validation share no cut-out and no background.

Writes DIR/images/train/*.jpg, DIR/images/validation/*.jpg (a fifth), DIR/annotations/instances_*.json (COCO),
DIR/contact.jpg (to be looked at) and DIR/sources.json: which stamps and backgrounds went where. The same seed draws the
same pictures.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from mobilenets.base.cores import cores
from mobilenets.datasets.boxes.compose import Piece, compose
from mobilenets.datasets.boxes.write import write_coco
from mobilenets.datasets.write import new_folder
from mobilenets.pictures.boxes import Boxes

PACKAGES = "apt-get install tuxpaint-stamps-default gnome-backgrounds mate-backgrounds plasma-workspace-wallpapers"
STAMPS = Path("/usr/share/tuxpaint/stamps")
GROUNDS = (Path("/usr/share/backgrounds"), Path("/usr/share/wallpapers"))
HALVES = ("train", "validation")
# What each kind is drawn from; - leaves files out.
KINDS = {
    "apple": "food/fruit/apple_* food/fruit/cartoon/apple.png",
    "ball": "sports/*ball.png sports/soccer.png sports/cartoon/volleyball.png -sports/rugby*",
    "bird": "animals/birds/*.png -animals/birds/*penguin*",
    "car": "vehicles/auto/[bs]* vehicles/emergency/sedan_police.png vehicles/race/*.png",
    "citrus": "food/fruit/orange* food/fruit/mandarine.png food/fruit/lemon.png food/fruit/cartoon/orange.png",
    "coin": "symbols/money/*/coins/*.png symbols/money/japanese/*.png",
    "cow": "animals/mammals/bovines/bison.png animals/mammals/bovines/bull.png animals/mammals/bovines/cow*.png "
    "animals/mammals/bovines/yak.png animals/mammals/bovines/zebu.png",
    "deer": "animals/mammals/deer/*.png animals/mammals/bovines/indian_blackbuck.png",
    "fish": "animals/fish/*fish.png animals/fish/*groper.png animals/fish/coraltrout.png animals/fish/moonwrasse.png",
    "flower": "plants/flowers/*.png",
    "guitar": "hobbies/music/string/*.png",
    "hat": "clothes/hats/*.png clothes/t_baseballcap.png seasonal/newyears/party-hat.png "
    "seasonal/christmas/santahat.png",
    "horse": "animals/mammals/equines/*.png",
    "house": "town/houses/cartoon/*.png",
    "insect": "animals/insects/*.png -animals/insects/Brown_slug.png",
    "mushroom": "plants/mushrooms/*.png food/vegetables/mushroom.png",
    "rodent": "animals/mammals/rodents/*.png",
    "sheep": "animals/mammals/bovines/ram.png animals/mammals/bovines/sheep*.png animals/mammals/bovines/*goat.png",
    "sign": "town/roadsigns/*.png -town/roadsigns/stoplight* -town/roadsigns/traffic_cone.png",
    "truck": "vehicles/auto/truck.png vehicles/garbagetruck.png vehicles/construction/dumper.png "
    "vehicles/emergency/firetruck.png vehicles/emergency/cartoon/*.png vehicles/construction/cartoon/*.png",
}
CLASSES = tuple(KINDS)
HELD_OUT = 0.2  # of the pictures
HELD_STAMPS = 0.3  # of each kind's cut-outs, at least one
SIDES = (480, 360)  # pixels; one picture in three stands upright
GROUND = 1600  # pixels of the longer side that backgrounds are kept at
MOST = 7  # cut-outs in a picture
EMPTY = 0.03  # of the pictures show nothing
LEAST, LARGEST = 0.08, 0.75  # of the picture's shorter side, for the longer side of a cut-out


class Shelf(NamedTuple):
    """The files of one half: cut-outs by kind, and backgrounds."""

    stamps: dict[str, tuple[Path, ...]]
    grounds: tuple[Path, ...]


def shelves(stamps: Path, grounds: Sequence[Path]) -> dict[str, Shelf]:
    """Share cut-outs and backgrounds out between the halves, by a hash of their names."""
    found = {kind: _stamps(stamps, words) for kind, words in KINDS.items()}
    few = [kind for kind, files in found.items() if len(files) < 2]
    pictures = sorted(_grounds(grounds), key=_drawn)
    if few or len(pictures) < 4:
        lacking = f"stamps of {', '.join(few)}" if few else "photographs to put them on"
        sys.exit(f"too few {lacking} are here; on Debian and Ubuntu type: {PACKAGES}")
    cut = max(1, round(HELD_OUT * len(pictures)))
    held = {kind: max(1, round(HELD_STAMPS * len(files))) for kind, files in found.items()}
    return {
        "train": Shelf({kind: files[held[kind] :] for kind, files in found.items()}, tuple(pictures[cut:])),
        "validation": Shelf({kind: files[: held[kind]] for kind, files in found.items()}, tuple(pictures[:cut])),
    }


def _grounds(tops: Sequence[Path]) -> list[Path]:
    """One file of each background, whatever sizes and lights it comes in; none that is of one colour and a logo."""
    found: dict[str, Path] = {}
    for top in tops:
        for path in sorted(top.rglob("*.*")):
            if path.suffix in (".jpg", ".jpeg", ".png", ".webp") and not {"desktop", "screenshot"} & {
                *path.parts,
                path.stem,
            }:
                plasma = "contents" in path.parts
                name = (
                    path.parts[path.parts.index("contents") - 1]
                    if plasma
                    else re.sub(r"(_\d+x\d+|-[ld])$", "", path.stem)
                )
                found.setdefault(name.casefold(), path)
    return list(found.values())


def _stamps(top: Path, words: str) -> tuple[Path, ...]:
    wanted = {path for word in words.split() if word[0] != "-" for path in top.glob(word) if path.suffix == ".png"}
    refused = {path for word in words.split() if word[0] == "-" for path in top.glob(word[1:])}
    return tuple(sorted((path for path in wanted - refused if "_mirror" not in path.name), key=_drawn))


def _drawn(path: Path) -> bytes:
    return hashlib.sha256(f"{path.parent.name}/{path.name}".encode()).digest()


@functools.lru_cache(maxsize=256)
def opened(path: Path) -> Image.Image:
    """A cut-out with alpha, cut to what is opaque of it; or a background."""
    with Image.open(path) as image:
        if any(path.is_relative_to(top) for top in GROUNDS):
            image.draft("RGB", (GROUND, GROUND))
            image.thumbnail((GROUND, GROUND))
            return image.convert("RGB")
        whole = image.convert("RGBA")
    return whole.crop(whole.getchannel("A").point(lambda value: 255 * (value >= 128)).getbbox())


def draw(shelf: Shelf, seed: int, number: int) -> tuple[Image.Image, Boxes]:
    """Draw one picture of a half."""
    rng = np.random.default_rng((seed, number))
    size = SIDES if rng.random() < 2 / 3 else SIDES[::-1]
    ground = _ground(rng, opened(shelf.grounds[int(rng.integers(len(shelf.grounds)))]), size)
    many = 0 if rng.random() < EMPTY else int(rng.integers(1, MOST + 1))
    sides = min(size) * np.exp(rng.uniform(math.log(LEAST), math.log(LARGEST), many))
    pieces = []
    for side in sorted(sides.tolist(), reverse=True):  # small things lie before large ones
        label = int(rng.integers(len(CLASSES)))
        files = shelf.stamps[CLASSES[label]]
        image = _cut_out(rng, opened(files[int(rng.integers(len(files)))]), side)
        # Up to a fifth of it may lie outside.
        left = rng.uniform(-0.2 * image.width, size[0] - 0.8 * image.width)
        top = rng.uniform(-0.2 * image.height, size[1] - 0.8 * image.height)
        pieces.append(Piece(image, label, round(left), round(top)))
    picture, boxes = compose(ground, pieces)
    return _photographed(rng, picture), boxes


def _ground(rng: np.random.Generator, whole: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Any part of a background, mirrored or not."""
    share = rng.uniform(0.4, 1.0) * min(whole.width / size[0], whole.height / size[1])
    width, height = round(size[0] * share), round(size[1] * share)
    left, top = int(rng.integers(whole.width - width + 1)), int(rng.integers(whole.height - height + 1))
    part = whole.resize(size, Image.Resampling.BILINEAR, (left, top, left + width, top + height), reducing_gap=2.0)
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


def _cut_out(rng: np.random.Generator, image: Image.Image, side: float) -> Image.Image:
    """A cut-out at its size, mirrored or not, a little turned, and in a light of its own."""
    share = side / max(image.size)
    turned = image.resize([max(4, round(length * share)) for length in image.size], Image.Resampling.LANCZOS)
    if rng.random() < 0.5:
        turned = turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned = turned.rotate(rng.uniform(-20, 20), Image.Resampling.BICUBIC, expand=True)
    alpha = turned.getchannel("A")
    lit = ImageEnhance.Brightness(turned.convert("RGB")).enhance(rng.uniform(0.6, 1.3))
    lit = ImageEnhance.Contrast(lit).enhance(rng.uniform(0.7, 1.2))
    lit = ImageEnhance.Color(lit).enhance(rng.uniform(0.6, 1.3))
    # Light from one side.
    ramp = Image.linear_gradient("L").rotate(rng.uniform(0, 360)).resize(turned.size)
    lit = Image.composite(lit, lit.point(lambda value: value * 0.7), ramp.point(lambda value: 128 + value // 2))
    lit.putalpha(alpha)
    return lit


def _photographed(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """A picture as a camera gives it: not quite sharp, with noise, and of one light."""
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.0)))
    pixels = np.asarray(picture, np.float32) * (rng.uniform(0.7, 1.15) * rng.uniform(0.93, 1.07, 3))
    pixels += rng.normal(0, rng.uniform(1, 8), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _save(task: tuple[Shelf, int, int, Path]) -> tuple[tuple[int, int], Boxes]:
    shelf, seed, number, path = task
    picture, boxes = draw(shelf, seed, number)
    picture.save(path, quality=90)
    return picture.size, boxes


def contact(folder: Path, pictures: Sequence[tuple[str, tuple[int, int], Boxes]]) -> Image.Image:
    """Show some pictures with their boxes on one sheet."""
    sheet = Image.new("RGB", (4 * SIDES[0], 3 * SIDES[0]), "white")
    for place, (name, _, boxes) in enumerate(pictures[:12]):
        picture = Image.open(folder / name)
        pen = ImageDraw.Draw(picture)
        for corners, label in zip(boxes.corners.tolist(), boxes.labels.tolist(), strict=True):
            pen.rectangle(corners, outline="#ff7f0e", width=2)
            pen.text(
                (corners[0] + 4, corners[1] + 2), CLASSES[label], fill="white", stroke_width=2, stroke_fill="black"
            )
        sheet.paste(picture, (place % 4 * SIDES[0], place // 4 * SIDES[0]))
    return sheet


def write(out: Path, pictures: int, seed: int, halves: dict[str, Shelf], workers: int) -> None:
    """Draw and write the set; numbers below those held out are for validation."""
    held_out = max(1, round(HELD_OUT * pictures))
    numbers = {"train": range(held_out, pictures), "validation": range(held_out)}
    with new_folder(out) as whole, ProcessPoolExecutor(workers) as pool:
        for half, shelf in halves.items():
            (whole / "images" / half).mkdir(parents=True)
            names = [f"images/{half}/{place:05d}.jpg" for place in range(1, len(numbers[half]) + 1)]
            tasks = [(shelf, seed, number, whole / name) for number, name in zip(numbers[half], names, strict=True)]
            listed = []
            for name, (size, boxes) in zip(names, pool.map(_save, tasks, chunksize=16), strict=True):
                listed.append((name, size, boxes))
                print(f"\r{len(listed)} of {len(names)} pictures of {half}", end="", file=sys.stderr, flush=True)
            print(file=sys.stderr)
            about = "Tux Paint's stamps on photographs, drawn by examples/detection/draw.py of mobilenets"
            write_coco(whole / "annotations" / f"instances_{half}.json", CLASSES, listed, about)
            if half == "train":
                contact(whole, listed).save(whole / "contact.jpg", quality=85)
        used = {
            half: {
                "stamps": {kind: [path.name for path in files] for kind, files in shelf.stamps.items()},
                "backgrounds": [str(path) for path in shelf.grounds],
            }
            for half, shelf in halves.items()
        }
        (whole / "sources.json").write_text(json.dumps(used, indent=2) + "\n", "utf-8")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw a set with boxes: stamps on photographs, not photos of things.")
    parser.add_argument("dir", type=Path, metavar="DIR", help="folder to write; it must not exist, or be empty")
    parser.add_argument("--pictures", type=int, default=3000, help="how many in all (3000)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other pictures (0)")
    parser.add_argument("--stamps", type=Path, default=STAMPS, help="Tux Paint's stamps")
    parser.add_argument("--workers", type=int, default=cores(), help="processes that draw (one a core)")
    asked = parser.parse_args()
    if asked.pictures < 2 or asked.seed < 0 or asked.workers < 1:
        sys.exit("give --pictures of 2 or more, --seed of 0 or more and --workers of 1 or more")
    write(asked.dir, asked.pictures, asked.seed, shelves(asked.stamps, GROUNDS), asked.workers)
    print(f"{asked.pictures} drawn pictures; look at {asked.dir / 'contact.jpg'}", file=sys.stderr)


if __name__ == "__main__":
    main()
