"""The way from files to batches alone: ours, a plain Pillow loop, and Keras's loader.

    python benchmarks/data_path.py [--pictures 100] [--epochs 2] [--rounds 1] [--keras PYTHON]

Phone-size JPEGs (3024 × 4032, quality 90, 4:2:0) are drawn into a temporary folder: a few are encoded, the others are
copies of them with other bytes in a comment. Each way makes batches of 32 at 224 × 224, float32, every picture cropped
and mirrored at random, in a process of its own, taking turns; of each, the median over the rounds, by epoch, and its
peak memory. PYTHON is an interpreter that has Keras and TensorFlow.

- Pillow: open, convert to RGB, a random part of 35 to 100 % resized, mirrored, to float32; one thread, as in a loop.
- Keras: image_dataset_from_directory at 256 × 256, RandomCrop, RandomFlip, Rescaling, prefetch, with its own threads.
- ours: the loader of training, augmentation "photo" without colour, as many threads as cores, its cache as by default.

A picture costs the same however many there are, as long as what ours keeps of each (0.6 MB) fits its cache, up to
2 GiB: 100 of them take two minutes on two cores, and 2,000 with three rounds some hours, most of which are Pillow's.

Where there is a second core, "pillow" with as many processes as cores would be up to that many times as fast: CPU
seconds a picture are printed too.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from report import arguments, heads, load, row

SIZE, BATCH = 224, 32
WIDTH, HEIGHT = 3024, 4032
DISTINCT = 4


def draw(folder: Path, count: int) -> None:
    import numpy as np
    from PIL import Image

    for label in ("a", "b"):
        (folder / label).mkdir()
    contents = []
    for seed in range(min(DISTINCT, count)):
        rng = np.random.default_rng(seed)
        soft = Image.fromarray(rng.integers(0, 256, (12, 9, 3), np.uint8)).resize((WIDTH, HEIGHT), Image.BICUBIC)
        pixels = np.asarray(soft, np.float32)
        for cell, depth in ((30, 40), (3, 9)):  # edges, and what is fine
            layer = rng.normal(0, depth, (HEIGHT // cell, WIDTH // cell)).astype(np.float32)
            pixels = pixels + np.asarray(Image.fromarray(layer).resize((WIDTH, HEIGHT), Image.BILINEAR))[..., None]
        file = io.BytesIO()
        picture = Image.fromarray(np.clip(pixels + rng.normal(0, 2, (HEIGHT, WIDTH, 1)), 0, 255).astype(np.uint8))
        picture.save(file, "JPEG", quality=90, subsampling=2)
        contents.append(file.getvalue())
    for number in range(count):
        content = contents[number % len(contents)]
        comment = b"\xff\xfe\x00\x0a%08d" % number
        (folder / "ab"[number % 2] / f"{number:05}.jpg").write_bytes(content[:2] + comment + content[2:])


def with_pillow(folder: Path, epochs: int) -> Iterator[int]:
    import numpy as np
    from PIL import Image

    rng, paths = np.random.default_rng(0), sorted(folder.rglob("*.jpg"))
    yield 0
    for _ in range(epochs):
        order = rng.permutation(len(paths))
        for start in range(0, len(paths), BATCH):
            made = []
            for index in order[start : start + BATCH]:
                image = Image.open(paths[index]).convert("RGB")
                side = int(np.sqrt(rng.uniform(0.35, 1) * image.width * image.height))
                width, height = min(side, image.width), min(side, image.height)
                left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
                image = image.crop((left, top, left + width, top + height)).resize((SIZE, SIZE), Image.BILINEAR)
                if rng.random() < 0.5:
                    image = image.transpose(Image.FLIP_LEFT_RIGHT)
                made.append(np.asarray(image, np.float32) / 255)
            yield len(np.stack(made))


def with_keras(folder: Path, epochs: int) -> Iterator[int]:
    import keras

    data: Any = keras.utils.image_dataset_from_directory(
        folder, image_size=(256, 256), batch_size=BATCH, shuffle=True, seed=0, verbose=False
    )
    change = keras.Sequential(
        [keras.layers.RandomCrop(SIZE, SIZE), keras.layers.RandomFlip("horizontal"), keras.layers.Rescaling(1 / 255)]
    )
    data = data.map(lambda x, y: (change(x, training=True), y), num_parallel_calls=-1).prefetch(2)
    yield 0
    for _ in range(epochs):
        for images, _ in data:
            yield len(images)


def with_ours(folder: Path, epochs: int) -> Iterator[int]:
    from mobilenets.datasets.folder import read_folder
    from mobilenets.datasets.loader import Loader, shuffled
    from mobilenets.pictures.augment.presets import build
    from mobilenets.pictures.cache import PictureCache
    from mobilenets.pictures.preprocess import Preprocessing
    from mobilenets.tasks.classification.task import Classification

    how, samples = Preprocessing(SIZE), read_folder(folder).samples
    augment = build([{"kind": "random_resized_crop", "area": [0.35, 1]}, {"kind": "flip"}], how)
    loader = Loader(samples, 2, how, Classification(), augment, cache=PictureCache())
    yield 0
    for epoch in range(epochs):
        for batch in loader.batches(shuffled([one.label for one in samples], BATCH, 0, epoch), epoch):
            yield len(batch)


WAYS = {"pillow": with_pillow, "keras": with_keras, "ours": with_ours}


def child(way: str, folder: Path, epochs: int) -> None:
    """Run one way and print what each epoch took; loading modules is not counted."""
    import resource

    if way == "draw":
        draw(folder, epochs)
        return
    count = sum(1 for _ in folder.rglob("*.jpg"))
    seconds, cpu, done = [], [], 0
    made = WAYS[way](folder, epochs)
    next(made)
    began, spent = time.perf_counter(), time.process_time()
    for pictures in made:
        done += pictures
        if done >= count * (len(seconds) + 1):
            seconds.append(time.perf_counter() - began)
            cpu.append(time.process_time() - spent)
            began, spent = time.perf_counter(), time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "mib": peak}))


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--keras", metavar="PYTHON")
    parser.add_argument("--child", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]), options.epochs)
        return 0
    ways = {"ours": sys.executable, "pillow": sys.executable} | ({"keras": options.keras} if options.keras else {})
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: a child's peak memory begins with that of its parent.
        drawing = [sys.executable, __file__, "--epochs", str(options.pictures), "--child", "draw", folder]
        subprocess.run(drawing, check=True)
        for _ in range(options.rounds):
            for way, python in ways.items():
                command = [python, __file__, "--epochs", str(options.epochs), "--child", way, folder]
                made = subprocess.run(
                    command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
                ).stdout
                found[way].append(json.loads(made.splitlines()[-1]))
    print(f"{options.pictures} pictures, medians of {options.rounds}; load average {load():.1f}")
    head = ("way", "epoch", "pictures a second", "ours is … times as fast", "CPU ms a picture", "peak MiB")
    print(heads(*head, numbers=5))
    for way, runs in found.items():
        for epoch in range(options.epochs):
            took = statistics.median(run["seconds"][epoch] for run in runs)
            ours = statistics.median(run["seconds"][epoch] for run in found["ours"])
            cpu = statistics.median(run["cpu"][epoch] for run in runs) / options.pictures * 1000
            peak = statistics.median(run["mib"] for run in runs)
            figures = f"{options.pictures / took:.1f}", f"{took / ours:.2f}", f"{cpu:.0f}", f"{peak:.0f}"
            print(row(way, epoch + 1, *figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
