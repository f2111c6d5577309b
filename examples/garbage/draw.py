"""Draw a stand-in for the garbage data set, for anyone who does not have it: clip-art, not photos of garbage.

    python examples/garbage/draw.py DIR [--pictures 40] [--size 160] [--seed 0]

The 26 kinds come from the colour emoji font, from Tux Paint's stamps and from simple drawings (``drawings/``), put at
some angle, size and light on some background. It shows that everything runs. Accuracy on it says nothing about real
rubbish.

Writes DIR/train/<folder>/*.jpg, DIR/validation/<folder>/*.jpg, DIR/classes.json, DIR/contact.png (to be looked at) and,
last, DIR/sources.json: which emoji, stamps and drawings went where. Training and validation share none of them. The
classes are uneven, as in folders of phone photos. The same seed draws the same pictures.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from drawings import DRAWINGS, SIDE, Pen
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont

HERE = Path(__file__).resolve().parent
SPLITS = ("train", "validation")
PACKAGES = "apt-get install fonts-noto-color-emoji tuxpaint-stamps-default fonts-wqy-microhei"

# For each folder what its pictures show, in training | in validation: emoji, stamps (with a /) and drawings.
SOURCES = {
    "00_00": "🧴 plastic_water plastic_jug | plastic_soda",
    "00_01": "🎩 👒 🧢 clothes/hats/sombrero.png clothes/hats/green_fedora.png clothes/hats/feathered_hat.png"
    " | clothes/hats/blue_fedora.png clothes/hats/tophat.png clothes/t_baseballcap.png",
    "00_02": "📰 news_folded news_rolled | 🗞 news_front",
    "00_03": "🥫 can_soda can_crushed | can_slim",
    "00_04": "🥛 🍷 🥃 🫙 glass_tumbler | 🍸 household/dishes/glass.png glass_goblet",
    "00_05": "🍾 bottle_wine bottle_medicine | bottle_beer",
    "00_06": "📦 card_sheet card_open | card_box",
    "00_07": "🏀 basketball_drawn | sports/basketball.png",
    "00_08": "📄 📝 🧾 paper_crumpled | 📃 paper_stack",
    "00_09": "🍴 🔧 🔩 🔪 metal_pot household/tools/wrench_plumbers.png | 🥄 household/tools/wrench_adjustable.png"
    " household/dishes/cartoon/pressure_cooker.png",
    "01_00": "🥢 chopsticks_joined | chopsticks_apart chopsticks_sleeve",
    "01_01": "lighter_disposable lighter_petrol lighter_long | lighter_round",
    "01_02": "🧹 broom_straw broom_plastic | broom_whisk",
    "01_03": "🪞 mirror_wall mirror_hand | mirror_stand",
    "01_04": "🪥 toothbrush_side toothbrush_top | toothbrush_kinked",
    "01_05": "👕 👖 🧦 🧣 clothes/t_tshirt.png clothes/t_jacket.png cloth_rag"
    " | 👚 🩳 clothes/t_poloshirt.png clothes/t_pants.png",
    "01_06": "🐚 🦪 animals/shellfish/abalone.png shell_scallop shell_turret"
    " | animals/shellfish/murray-mussel.png shell_banded",
    "01_07": "🥣 🍚 bowl_plain bowl_rings | 🍜 bowl_blue",
    "02_00": "🪣 paint_closed paint_pail | paint_open",
    "02_01": "🔋 🪫 battery_cell battery_block | battery_stout battery_pair",
    "02_02": "lamp_tube lamp_spiral lamp_ring | lamp_folded lamp_twin",
    "02_03": "💊 pills_blister pills_tablets | pills_capsules pills_strip",
    "03_00": "orange_spiral orange_pieces orange_cups | orange_star",
    "03_01": "🥬 🌿 food/vegetables/lettuce.png leaf_spinach leaf_lettuce"
    " | food/vegetables/redlettuce.png leaf_cabbage",
    "03_02": "egg_cup egg_bits egg_halves | egg_cracked",
    "03_03": "🍌 banana_splayed banana_pair | banana_fallen",
}
# Things of no class, that lie about in some pictures.
OTHERS = "🧸 🚗 🐸 🖊 🧩 ⭐ 🍎 🪑 🐟 🎈 🌵 🎲 🧁 🚲 🕶 ⏰"

# How many training pictures a class has, as a share of the mean: a few common kinds, many rare ones.
UNEVEN = np.linspace(np.sqrt(0.35), np.sqrt(1.9), len(SOURCES)) ** 2
UNEVEN /= UNEVEN.mean()


@dataclass(frozen=True)
class Shelf:
    """Where the pictures of things come from."""

    font: Path
    stamps: Path

    @cached_property
    def _font(self) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(self.font, 109)  # the one size of this bitmap font

    def thing(self, source: str, rng: np.random.Generator) -> Image.Image:
        """Picture a source, cut out: RGBA without empty borders."""
        if source in DRAWINGS:
            pen = Pen(rng)
            DRAWINGS[source](pen)
            image = pen.image
        elif "/" in source:
            image = Image.open(self.stamps / source).convert("RGBA")
        else:
            image = Image.new("RGBA", (150, 150))
            ImageDraw.Draw(image).text((4, 4), source, font=self._font, embedded_color=True)
        if (where := image.getbbox()) is None:
            raise SystemExit(f"{self.font} has no {source}: it is too old")
        return image.crop(where)


def kind(source: str) -> str:
    """Say what a source is, as ``sources.json`` has it."""
    return ("drawing " if source in DRAWINGS else "stamp " if "/" in source else "emoji ") + source


def sources(folder: str) -> dict[str, list[str]]:
    """Give the sources of a class by split."""
    parts = SOURCES[folder].split("|")
    return {split: part.split() for split, part in zip(SPLITS, parts, strict=True)}


def _noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> np.ndarray:
    """Smooth noise from 0 to 1 with about so many bumps across."""
    wide, high = size
    coarse = Image.fromarray(rng.integers(0, 256, (cells, max(2, cells * wide // high)), dtype=np.uint8))
    return np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / 255


def background(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Draw something to lie on: a plain or shaded surface, boards, cloth, tiles, stone, gravel, a lawn."""
    wide, high = size
    across, down = np.meshgrid(np.linspace(0, 1, wide), np.linspace(0, 1, high))
    angle = rng.uniform(0, np.pi)
    along, beside = np.cos(angle) * across + np.sin(angle) * down, np.cos(angle) * down - np.sin(angle) * across
    surface = rng.choice(["plain", "boards", "cloth", "tiles", "stone", "gravel", "lawn"])
    color = rng.uniform(60, 235, 3) * 0.22 + rng.uniform(60, 235) * 0.78
    pattern = 0.06 * along
    if surface == "boards":
        color = np.array([178, 134, 90]) * rng.uniform(0.55, 1.25)
        rows = beside * rng.uniform(3, 7)
        grain = np.sin(60 * beside + 5 * _noise(rng, size, 4)) * 0.04 + 0.06 * _noise(rng, size, 30)
        pattern = grain + 0.12 * np.sin(np.floor(rows) * 12.9) - 0.3 * (rows % 1 < 0.04)
    elif surface == "cloth":
        count = rng.uniform(6, 40)
        warp, weft = (np.sign(np.sin(count * 6 * way)) for way in (along, beside))
        pattern = 0.09 * warp + rng.choice([0, 0.09]) * weft
    elif surface == "tiles":
        count = rng.uniform(2, 5)
        joint = ((along * count) % 1 < 0.05) | ((beside * count) % 1 < 0.05)
        pattern = 0.08 * _noise(rng, size, 6) - rng.uniform(0.15, 0.4) * joint
    elif surface == "stone":
        pattern = 0.35 * np.abs(_noise(rng, size, 5) - 0.5) + 0.2 * _noise(rng, size, 14)
    elif surface == "gravel":
        pattern = 0.4 * (_noise(rng, size, 40) - 0.5) + 0.2 * (_noise(rng, size, 12) - 0.5)
    elif surface == "lawn":
        color = np.array([88, 132, 58]) * rng.uniform(0.7, 1.3)
        pattern = 0.55 * (_noise(rng, size, 50) - 0.5) + 0.25 * (_noise(rng, size, 8) - 0.5)
    pixels = np.clip(color * (1 + pattern[..., None]), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(float(rng.choice([0, 0.6, 2]))))


def _put(
    scene: Image.Image, thing: Image.Image, rng: np.random.Generator, share: float, stray: float, turn: float
) -> None:
    """Lay a thing on the scene: so large a share of it, up to ``stray`` off its middle, turned by about ``turn`` °."""
    short = min(scene.size)
    if rng.random() < 0.5:
        thing = thing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = share * short / max(thing.size)
    stretch = rng.uniform(0.9, 1.1)
    sides = (max(2, round(thing.width * scale * stretch)), max(2, round(thing.height * scale / stretch)))
    thing = thing.resize(sides, Image.Resampling.LANCZOS)
    thing = thing.rotate(rng.normal(0, turn / 2), Image.Resampling.BICUBIC, expand=True)
    middle = [side / 2 + rng.uniform(-stray, stray) * side for side in scene.size]
    x, y = round(middle[0] - thing.width / 2), round(middle[1] - thing.height / 2)
    shadow = Image.new("L", scene.size)
    away = rng.uniform(-0.04, 0.05, 2) * short
    shadow.paste(thing.getchannel("A"), (x + round(away[0]), y + round(abs(away[1])) + 1))
    shadow = shadow.filter(ImageFilter.GaussianBlur(short * rng.uniform(0.008, 0.03)))
    dark = rng.uniform(0.25, 0.6)
    scene.paste((20, 18, 15), mask=shadow.point(lambda value: int(value * dark)))
    scene.paste(thing, (x, y), thing)


def _recolour(thing: Image.Image, source: str, rng: np.random.Generator) -> Image.Image:
    """Vary the colours a little; Tux Paint's white clothes are dyed."""
    alpha, colors = thing.getchannel("A"), thing.convert("RGB")
    if source.startswith("clothes/t_"):
        tint = np.array(Pen(rng).color(saturation=0.5, value=0.95))
        colors = ImageChops.multiply(colors, Image.new("RGB", thing.size, tuple(tint.tolist())))
    hue, saturation, value = colors.convert("HSV").split()
    shift = round(rng.normal(0, 3))
    colors = Image.merge("HSV", (hue.point(lambda part: (part + shift) % 256), saturation, value)).convert("RGB")
    colors = ImageEnhance.Color(colors).enhance(rng.uniform(0.7, 1.2))
    colors.putalpha(alpha)
    return colors


def _soil(thing: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Put stains on a thing."""
    pen = Pen(rng)
    pen.image = thing.resize((SIDE, SIDE))
    for brown in ((92, 66, 38), (70, 62, 50), (120, 90, 50)):
        pen.blobs(int(rng.integers(1, 4)), (0.05, 0.15), brown, rng.uniform(0.45, 0.8))
    return pen.image.resize(thing.size)


def _light(scene: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Light the scene and take it with a phone: brightness, colour cast, falling off, out of focus, noise."""
    pixels = np.asarray(scene, dtype=float)
    high, wide, _ = pixels.shape
    cast, (right, down) = rng.uniform(0.93, 1.07, 3), rng.uniform(-0.2, 0.2, 2)
    slope = right * np.linspace(-1, 1, wide)[None, :] + down * np.linspace(-1, 1, high)[:, None]
    pixels = (pixels - 128) * rng.uniform(0.75, 1.15) + 128 + rng.uniform(-30, 25)
    pixels = pixels * cast * (1 + slope[..., None])
    lit = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    lit = lit.filter(ImageFilter.GaussianBlur(max(0, rng.normal(0.2, 0.5)) * min(scene.size) / 160))
    noisy = np.asarray(lit, dtype=np.float32) + rng.normal(0, rng.uniform(0, 9), (high, wide, 1))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def picture(shelf: Shelf, folder: str, source: str, size: int, rng: np.random.Generator) -> Image.Image:
    """Draw one picture whose shorter side is ``size``."""
    long = round(size * rng.choice([1, 1, 4 / 3, 4 / 3, 3 / 2]))
    scene = background(rng, (size, long) if rng.random() < 0.5 else (long, size))
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        other = shelf.thing(str(rng.choice(OTHERS.split())), rng)
        _put(scene, other, rng, rng.uniform(0.15, 0.3), 0.5, 180)
    thing = _recolour(shelf.thing(source, rng), source, rng)
    if folder == "01_05":
        thing = _soil(thing, rng)
    _put(scene, thing, rng, rng.uniform(0.5, 1.0), rng.choice([0.06, 0.12, 0.22]), rng.choice([20, 60, 180]))
    return _light(scene, rng)


def encode(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Save as a phone does: JPEG of some quality; some lie on their side, and EXIF says so."""
    exif = Image.Exif()
    if rng.random() < 0.15:
        image, exif[0x0112] = image.transpose(Image.Transpose.ROTATE_90), 6  # to be turned clockwise when shown
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(45, 95)), exif=exif)
    return file.getvalue()


def counts(pictures: int, validation: int) -> dict[str, dict[str, int]]:
    """Give the number of pictures by folder and split, for that mean number of training pictures a class."""
    order = np.random.default_rng(26).permutation(len(SOURCES))
    return {
        folder: {"train": max(2, round(pictures * float(UNEVEN[place]))), "validation": validation}
        for folder, place in zip(SOURCES, order, strict=True)
    }


def draw(
    root: Path, shelf: Shelf, numbers: dict[str, dict[str, int]], size: int, seed: int
) -> Iterator[tuple[str, str, int]]:
    """Draw the whole set, ``numbers`` as ``counts`` gives them; tells each folder, split and count when done."""
    report = {}
    for place, (folder, number) in enumerate(numbers.items()):
        for split, own in sources(folder).items():
            into = root / split / folder
            into.mkdir(parents=True)
            for n in range(number[split]):
                rng = np.random.default_rng([seed, place, SPLITS.index(split), n])
                image = picture(shelf, folder, own[n % len(own)], size, rng)
                (into / f"{n:04d}.jpg").write_bytes(encode(image, rng))
            yield folder, split, number[split]
        parts = {split: [kind(source) for source in own] for split, own in sources(folder).items()}
        report[folder] = {**parts, "disjoint": not set(parts["train"]) & set(parts["validation"]), "pictures": number}
    (root / "classes.json").write_bytes((HERE / "classes.json").read_bytes())
    contact(root).save(root / "contact.png")
    whole = {"note": "Clip-art, not photos: a stand-in.", "seed": seed, "size": size, "classes": report}
    (root / "sources.json").write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def find(*patterns: str) -> Path | None:
    """Find a font file by its name."""
    usual = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
    roots = [Path(folder).expanduser() for folder in usual]
    return next((path for pattern in patterns for root in roots for path in sorted(root.rglob(pattern))), None)


def contact(root: Path) -> Image.Image:
    """Show every class: titles, six training pictures, then four of validation."""
    chinese = find("wqy-microhei.ttc", "wqy-zenhei.ttc", "NotoSansCJK-Regular.ttc", "DroidSansFallback*.ttf")
    font = ImageFont.truetype(chinese, 15) if chinese else ImageFont.load_default(15)
    labels = json.loads((HERE / "classes.json").read_text(encoding="utf-8"))
    cell, title, columns = 76, 170, 2
    rows = -(-len(SOURCES) // columns)
    wide = title + 10 * cell + 24
    sheet = Image.new("RGB", (wide * columns, rows * cell + 30), "white")
    pen = ImageDraw.Draw(sheet)
    for column in range(columns):
        pen.text((column * wide + title, 6), "train", "#666666", font)
        pen.text((column * wide + title + 6 * cell + 10, 6), "validation", "#666666", font)
    for place, (folder, label) in enumerate(labels["classes"].items()):
        left, top = place // rows * wide, place % rows * cell + 30
        color = labels["groups"][label["group"]]["color"]
        names = [label["names"]["zh"]] if chinese else []
        for line, text in enumerate([f"{folder}  {label['group']}", *names, label["names"]["en"]]):
            pen.text((left + 6, top + 6 + line * 20), text, color, font)
        for split, start, most in (("train", 0, 6), ("validation", 6 * cell + 10, 4)):
            for n, path in enumerate(sorted((root / split / folder).iterdir())[:most]):
                image = Image.open(path)
                upright = image.transpose(Image.Transpose.ROTATE_270) if image.getexif().get(0x0112) == 6 else image
                upright.thumbnail((cell - 4, cell - 4))
                sheet.paste(upright, (left + title + start + n * cell, top + 2))
    return sheet


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw a stand-in for the garbage data set: clip-art, not photos.")
    parser.add_argument("dir", type=Path, metavar="DIR", help="folder to write; it must not exist, or be empty")
    parser.add_argument("--pictures", type=int, default=40, help="training pictures a class, on average (40)")
    parser.add_argument("--validation", type=int, help="validation pictures a class (0.3 of --pictures)")
    parser.add_argument("--size", type=int, default=160, help="shorter side of a picture in pixels (160)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other pictures (0)")
    parser.add_argument("--font", type=Path, help="NotoColorEmoji.ttf, if it is not in a usual place")
    parser.add_argument("--stamps", type=Path, default=Path("/usr/share/tuxpaint/stamps"), help="Tux Paint's stamps")
    asked = parser.parse_args()
    font = asked.font or find("NotoColorEmoji*.ttf")
    if font is None or not font.is_file():
        sys.exit(f"the colour emoji font is not here; on Debian and Ubuntu type: {PACKAGES}")
    if not (asked.stamps / "sports/basketball.png").is_file():
        sys.exit(f"Tux Paint's stamps are not here; on Debian and Ubuntu type: {PACKAGES}")
    validation = max(2, round(asked.pictures * 0.3)) if asked.validation is None else asked.validation
    if min(asked.pictures, validation) < 1 or asked.size < 32 or asked.seed < 0:
        sys.exit("give --pictures and --validation of 1 or more, --size of 32 or more and --seed of 0 or more")
    if asked.dir.exists() and (not asked.dir.is_dir() or any(asked.dir.iterdir())):
        sys.exit(f"{asked.dir} is not an empty folder; give another")
    numbers = counts(asked.pictures, validation)
    done, total = 0, sum(sum(number.values()) for number in numbers.values())
    for folder, _, number in draw(asked.dir, Shelf(font, asked.stamps), numbers, asked.size, asked.seed):
        done += number
        print(f"\r{done} of {total} pictures ({folder})", end="", file=sys.stderr, flush=True)
    print(f"\n{total} drawn pictures, a stand-in for photos; look at {asked.dir / 'contact.png'}", file=sys.stderr)


if __name__ == "__main__":
    main()
