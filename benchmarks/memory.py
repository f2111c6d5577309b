"""Whether training holds more memory with every epoch, or with more data.

    python benchmarks/memory.py [--pictures 200] [--epochs 10] [--size 96] [--model mobilenet_v2]

Draws photos of 64 to 640 pixels into a folder of its own, and trains on them in a process of its own for 10 epochs,
then on ten times as many for one. Prints the resident memory at the end of each epoch, in MB of 10^6 bytes, and of
both runs the peak and the seconds of an epoch.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from drawn import encoded, soft
from report import arguments, heads, row


def draw(folder: Path, count: int) -> None:
    """Draw ``count`` photos of noise in blocks, 64 to 640 pixels a side, in two classes."""
    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.jpg").write_bytes(encoded(soft(rng, (9, 9), rng.integers(64, 641, 2)), 85))


def resident() -> float:
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def train(data: Path, out: Path, settings: dict[str, Any]) -> None:
    """Train in this process, and print what was resident after each epoch, and the peak."""
    import mobilenets
    from mobilenets.bench.latency import peak_mb
    from mobilenets.training.loop import Training

    held: list[float] = []
    close = Training._close_epoch

    def closed(self: Any, *words: Any) -> None:
        close(self, *words)
        held.append(resident())

    Training._close_epoch = closed  # type: ignore[method-assign]
    mobilenets.train(data, out, **settings)
    print(json.dumps({"held": held, "peak": peak_mb()}))


def measured(data: Path, out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).resolve()), "--be", str(data), str(out), json.dumps(settings)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    rows = list(csv.DictReader((out / "history.csv").read_text().splitlines()))
    speeds = [float(row["images_per_second"]) for row in rows]
    return found | {"speed": sum(speeds) / len(speeds)}


def main() -> None:
    if sys.argv[1:2] == ["--be"]:
        return train(Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4]))
    parser = arguments(__doc__)
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    settings = {name: getattr(options, name) for name in ("model", "size", "batch")}
    settings |= {"weights": "none", "device": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        draw(place / "few", options.pictures)
        draw(place / "many", 10 * options.pictures)
        few = measured(place / "few", place / "run-few", settings | {"epochs": options.epochs})
        many = measured(place / "many", place / "run-many", settings | {"epochs": 1})
    print(heads(f"{options.pictures} pictures, epoch", "MB after it"))
    for number, held in enumerate(few["held"], 1):
        print(row(number, f"{held:.0f}"))
    print(f"\n{heads('pictures', 'peak MB', 'pictures/s')}")
    for count, run in ((options.pictures, few), (10 * options.pictures, many)):
        print(row(count, f"{run['peak']:.0f}", f"{run['speed']:.1f}"))
    return None


if __name__ == "__main__":
    main()
