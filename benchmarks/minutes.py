"""``train --minutes`` on digits, the garbage stand-in and 3,000 drawn photos: time used, and accuracy.

    python benchmarks/minutes.py [--minutes 1 3 5] [--sets digits garbage photos] [--default] [--busy]

Each run is a process of its own, timed from its start to its end. ``--default`` runs the default recipe as well, which
takes long; ``--busy`` lets another process work at the lowest priority meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from beside import busy
from report import arguments, heads, row

DRAW = Path(__file__).resolve().parents[1] / "examples" / "garbage" / "draw.py"


def make(name: str, folder: Path) -> Path:
    """Write the pictures of a set."""
    if name == "digits":
        command = [sys.executable, "-m", "mobilenets", "fetch", "digits", str(folder)]
    else:
        pictures, size = ("40", "160") if name == "garbage" else ("89", "480")
        command = [sys.executable, str(DRAW), str(folder), "--pictures", pictures, "--size", size]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder


def train(data: Path, run: Path, flags: list[str]) -> tuple[float, float, str]:
    """Train in a process; returns its seconds, accuracy and what it trained."""
    command = [sys.executable, "-m", "mobilenets", "train", str(data), "--out", str(run), *flags]
    environment = os.environ | {"MOBILENETS_CACHE": str(run.with_name(f"{run.name}-cache")), "HF_HUB_OFFLINE": "1"}
    began = time.monotonic()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    metrics, recipe = (json.loads((run / name).read_bytes()) for name in ("metrics.json", "recipe.json"))
    settings = recipe["recipe"]
    what = f"{settings['model']} {settings['width']:g} at {settings['size']}, {metrics['epochs']} epochs"
    return seconds, metrics["top1"], what


def main() -> None:
    """Read the command line, run, and print a row for each run."""
    parser = arguments(__doc__)
    parser.add_argument("--minutes", nargs="+", type=float, default=[1, 3, 5])
    parser.add_argument(
        "--sets", nargs="+", choices=("digits", "garbage", "photos"), default=["digits", "garbage", "photos"]
    )
    parser.add_argument("--default", action="store_true", help="the default recipe as well")
    parser.add_argument("--busy", action="store_true", help="with another process at the lowest priority")
    asked = parser.parse_args()
    print(heads("pictures", "time given", "seconds used", "over", "top-1", "trained"))
    with busy(asked.busy), tempfile.TemporaryDirectory() as folder:
        for name in asked.sets:
            data = make(name, Path(folder) / name)
            more = ["--augment", "digits"] if name == "digits" else []
            for given in [*asked.minutes, *([None] if asked.default else [])]:
                flags = more if given is None else [*more, "--minutes", f"{given:g}"]
                seconds, top1, what = train(data, Path(folder) / f"{name}-{given}", flags)
                over = "–" if given is None else f"{100 * (seconds / (60 * given) - 1):+.1f} %"
                words = "default" if given is None else f"{given:g} min"
                print(row(name, words, f"{seconds:.1f}", over, f"{100 * top1:.1f} %", what), flush=True)


if __name__ == "__main__":
    main()
