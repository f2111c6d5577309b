"""How many planted copies are found among real pictures, how many are wrongly named, and how long that takes.

    apt-get install tuxpaint-stamps-default fonts-noto-color-emoji unicode-data
    python benchmarks/copies.py planted WORK          # 2,000 stamps and emoji, 40 copies of each kind
    python benchmarks/copies.py many WORK --pictures 100000
    python benchmarks/copies.py folder DATA           # what is found in pictures of your own
    python benchmarks/copies.py classes WORK          # the stamps and emoji in folders by what they show, no copies

The pictures are taken as they come, and some are copies already: stamps that come mirrored too, b and d, hands that
point left and right. benchmarks/copies-alike.txt has these pairs, judged by eye. What is found besides is laid side by
side in WORK/others.png.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from drawn import STAMPS, drawn_emoji, emoji_table, on_white, soft
from PIL import Image, ImageDraw
from report import arguments

from mobilenets.bench.latency import peak_mb
from mobilenets.datasets.folder import Sample, pictures_below
from mobilenets.doctor.copies import Pair, find_copies

PICTURES, EACH = 2000, 40
TONES = ("1F3FB", "1F3FF")
ALIKE = Path(__file__).with_name("copies-alike.txt")


def stamp(path: Path) -> Image.Image:
    """Open a stamp on white, no larger than 256 pixels."""
    layer = Image.open(path).convert("RGBA")
    layer.thumbnail((256, 256))
    return on_white(layer)


def emoji(tones: bool) -> list[tuple[str, Image.Image]]:
    """Draw every emoji of the table once that the font has; with ``tones`` in all skin tones, alone and together."""
    found = []
    for one in emoji_table():
        if not tones and (len(one.points) > 2 or any(TONES[0] <= point <= TONES[1] for point in one.points)):
            continue
        layer = drawn_emoji(one.points, (136, 128), (0, 0))
        if layer is not None:
            found.append((f"emoji-{'-'.join(one.points)}", on_white(layer)))
    return found


def resized(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    share = rng.uniform(0.4, 0.9)
    return picture.resize((max(24, round(picture.width * share)), max(24, round(picture.height * share))))


def mirrored(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def rotated(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return picture.transpose(Image.Transpose.ROTATE_90 if rng.random() < 0.5 else Image.Transpose.ROTATE_270)


def cropped(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Cut out 85 % of each side, anywhere."""
    width, height = round(picture.width * 0.85), round(picture.height * 0.85)
    left, top = (
        int(rng.integers(0, whole - part + 1)) for whole, part in zip(picture.size, (width, height), strict=True)
    )
    return picture.crop((left, top, left + width, top + height))


KINDS: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image] | None] = {
    "exact": None,
    "resized": resized,
    "mirrored": mirrored,
    "rotated": rotated,
    "cropped": cropped,
}


def plant(work: Path, seed: int, tones: bool = False, pictures: int = PICTURES) -> dict[str, tuple[str, str]]:
    """Draw the pictures and plant copies; returns of each copy its kind and what it is a copy of."""
    rng = np.random.default_rng(seed)
    stamps = sorted(STAMPS.rglob("*.png"))
    drawn = [("-".join(path.relative_to(STAMPS).with_suffix("").parts), stamp(path)) for path in stamps]
    more = emoji(tones)
    chosen = sorted(rng.permutation(len(more))[: max(0, pictures - len(drawn))])
    drawn = [*drawn, *(more[place] for place in chosen)][:pictures]
    folder = work / "pictures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = []
    for number, (name, picture) in enumerate(drawn):
        file = folder / f"{name}.{'jpg' if number % 2 else 'png'}"
        picture.save(file, quality=90) if number % 2 else picture.save(file)
        names.append(file.name)
    planted: dict[str, tuple[str, str]] = {}
    for number, place in enumerate(rng.permutation(len(drawn))[: EACH * len(KINDS)]):
        kind = list(KINDS)[number // EACH]
        change = KINDS[kind]
        copy = folder / f"copy-{number:03d}-{kind}.jpg"
        if change is None:
            shutil.copy(folder / names[place], copy)
        else:
            with Image.open(folder / names[place]) as source:
                change(source.convert("RGB"), rng).save(copy, quality=int(rng.integers(50, 91)))
        planted[copy.name] = (kind, names[place])
    (work / "planted.json").write_text(json.dumps(planted, indent=1))
    return planted


def kind_of(pair: Pair) -> str:
    """Bring what is said of a pair to the kinds that were planted."""
    if pair.kind == "exact":
        return "exact"
    if "cropped" in pair.how:
        return "cropped"
    turned = "rotated" if "rotated" in pair.how else "mirrored"
    return "resized" if pair.how == "same picture" else turned


def judged(found: list[Pair], planted: dict[str, tuple[str, str]], alike: set[frozenset[str]]) -> dict[str, object]:
    """Count per kind: what was planted and found; and what was found and is neither planted nor known to be alike."""
    # Of files with the same bytes only the first is compared further.
    first = {pair.path.name: pair.partner.name for pair in found if pair.kind == "exact"}
    named = {frozenset((pair.path.name, pair.partner.name)): pair for pair in found}
    true = {}
    for copy, (kind, source) in planted.items():
        true[frozenset((copy, source if kind == "exact" else first.get(source, source)))] = kind
    result: dict[str, object] = {}
    for kind in KINDS:
        wanted = [both for both, made in true.items() if made == kind]
        hits = sum(both in named for both in wanted)
        said = [both for both, pair in named.items() if kind_of(pair) == kind]
        # A copy is also a copy of what was alike before: of its source's true partners.
        wrong = [both for both in said if both not in true and frozenset(origins(both, planted)) not in alike]
        wrong = [] if kind == "exact" else wrong  # the same bytes are the same picture
        result[kind] = {
            "planted": len(wanted),
            "found": hits,
            "recall": hits / max(1, len(wanted)),
            "said": len(said),
            "wrong": len(wrong),
            "precision": 1 - len(wrong) / max(1, len(said)),
        }
    return result


def origins(both: frozenset[str], planted: dict[str, tuple[str, str]]) -> set[str]:
    return {Path(planted[name][1] if name in planted else name).stem for name in both}


def sheet(found: list[Pair], out: Path, most: int = 120) -> None:
    """Lay pairs side by side, with how and how sure."""
    across, cell = 6, 96
    rows = -(-min(len(found), most) // across)
    page = Image.new("RGB", (across * (2 * cell + 16), max(1, rows) * (cell + 16)), "#dddddd")
    pen = ImageDraw.Draw(page)
    for number, pair in enumerate(found[:most]):
        left, top = number % across * (2 * cell + 16), number // across * (cell + 16)
        for side, path in enumerate((pair.path, pair.partner)):
            with Image.open(path) as picture:
                shown = picture.convert("RGB")
                if max(shown.size) < cell:
                    shown = shown.resize((cell, cell), Image.Resampling.NEAREST)
                shown.thumbnail((cell, cell))
                page.paste(shown, (left + side * (cell + 2), top))
        pen.text((left, top + cell + 2), f"{pair.how} {pair.score:.3f}", "black")
    page.save(out)


def cost(began: float, cpu: float) -> dict[str, float]:
    return {
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_rss_mb": round(peak_mb()),
    }


def samples_of(folder: Path) -> list[Sample]:
    return [Sample(path, 0) for path in pictures_below(folder)]


def run_planted(asked: argparse.Namespace) -> dict[str, object]:
    planted = plant(asked.work, asked.seed, asked.tones)
    began, cpu = time.monotonic(), time.process_time()
    found = find_copies(samples_of(asked.work / "pictures"))
    spent = cost(began, cpu)
    lines = ALIKE.read_text(encoding="utf-8").splitlines() if ALIKE.is_file() else []
    alike = {frozenset(line.split("\t")) for line in lines}
    true = {frozenset((copy, source)) for copy, (_, source) in planted.items()}
    others = [pair for pair in found if frozenset((pair.path.name, pair.partner.name)) not in true]
    others = [
        p
        for p in others
        if p.kind == "near" and frozenset(origins(frozenset((p.path.name, p.partner.name)), planted)) not in alike
    ]
    sheet(others, asked.work / "others.png")
    lines = [f"{pair.path.name}\t{pair.partner.name}\t{pair.how}\t{pair.score:.4f}" for pair in others]
    (asked.work / "others.tsv").write_text("\n".join(lines))
    return {"kinds": judged(found, planted, alike), "others": len(others), **spent}


def run_many(asked: argparse.Namespace) -> dict[str, object]:
    """Draw many small pictures, each another: soft blobs of colour on a ground; one in a hundred has a copy."""
    folder = asked.work / f"many-{asked.pictures}"
    if not folder.is_dir():
        rng = np.random.default_rng(asked.seed)
        for number in range(asked.pictures):
            if number % 1000 == 0:
                (folder / str(number // 1000)).mkdir(parents=True)
            picture = soft(rng, (8, 8), (64, 64))
            picture.save(folder / str(number // 1000) / f"{number}.jpg", quality=80)
            if number % 100 == 0:
                picture.resize((48, 48)).save(folder / str(number // 1000) / f"{number}-copy.jpg", quality=70)
    samples = samples_of(folder)
    began, cpu = time.monotonic(), time.process_time()
    found = find_copies(samples, crops=asked.crops)
    right = sum(p.path.stem.removesuffix("-copy") == p.partner.stem.removesuffix("-copy") for p in found)
    return {
        "pictures": len(samples),
        "planted": -(-asked.pictures // 100),
        "found": len(found),
        "right": right,
        **cost(began, cpu),
    }


def run_classes(asked: argparse.Namespace) -> dict[str, object]:
    """Save stamps by their folder and emoji by their group, those with at least 20 pictures."""
    groups = {
        f"emoji-{'-'.join(one.points)}": f"emoji-{one.group.replace(' & ', '-').lower()}" for one in emoji_table()
    }
    stamps = [(path.relative_to(STAMPS).parts[0], path) for path in sorted(STAMPS.rglob("*.png"))]
    chosen = np.random.default_rng(asked.seed).permutation(len(more := emoji(False)))[: PICTURES - len(stamps)]
    drawn = [*((name, stamp(path)) for name, path in stamps), *((groups[more[k][0]], more[k][1]) for k in chosen)]
    counts = Counter(name for name, _ in drawn)
    for number, (name, picture) in enumerate(drawn):
        if counts[name] >= 20:
            (asked.work / name).mkdir(parents=True, exist_ok=True)
            picture.save(asked.work / name / f"{number:04d}.png")
    return {name: count for name, count in counts.items() if count >= 20}


def run_folder(asked: argparse.Namespace) -> dict[str, object]:
    samples = samples_of(asked.work)
    began, cpu = time.monotonic(), time.process_time()
    found = find_copies(samples, crops=asked.crops)
    spent = cost(began, cpu)
    if asked.out is not None:
        sheet(found, asked.out)
    said = Counter(f"{pair.kind}: {pair.how}" for pair in found)
    return {"pictures": len(samples), "pairs": dict(said), **spent}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("what", choices=("planted", "many", "folder", "classes"))
    parser.add_argument("work", type=Path, metavar="WORK|DATA")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--no-crops", dest="crops", action="store_false", help="do not look for crops")
    parser.add_argument("--tones", action="store_true", help="with emoji in all skin tones, which are alike by nature")
    parser.add_argument("--out", type=Path, help="of folder: a PNG with the pairs side by side")
    asked = parser.parse_args()
    run = {"planted": run_planted, "many": run_many, "folder": run_folder, "classes": run_classes}[asked.what]
    print(json.dumps(run(asked), indent=1))


if __name__ == "__main__":
    main()
