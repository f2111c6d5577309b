"""What int8 loses, and what ``mobilenets quantize`` wins back, with a scale for each channel or weight tensor.

    python benchmarks/quantization.py --fashion DATA                          # writes pictures to train and test on
    mobilenets train DATA --out RUN …
    python benchmarks/quantization.py RUN=DATA … --out FOLDER [--scales tensor channel] [--epochs 2]

``--fashion`` writes part of Fashion-MNIST (Debian's dataset-fashion-mnist, or a download): 6,000 pictures to learn
from, 1,000 for validation, and all 10,000 test pictures. Then every run is trained further, and a line a run and scale
is printed in Markdown, measured on the test pictures, which chose nothing. What is done is kept in FOLDER: stopped, the
same command goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from PIL import Image

import mobilenets
from mobilenets.base.cache import cache_folder
from mobilenets.bench.hardware import hardware, versions
from mobilenets.datasets.known import KNOWN
from mobilenets.datasets.sources import SOURCES
from mobilenets.models.device import pick_device

HEAD = (
    "| run | scales | in float | float | int8 before | int8 after | regained | after, from float | after, from before |"
)
PARTS = {"train": ("train", 0, 6000), "validation": ("train", 50_000, 51_000), "test": ("validation", 0, 10_000)}


def write(folder: Path) -> None:
    known = KNOWN["fashion_mnist"]
    found = SOURCES["fashion_mnist"](known.files, None, cache_folder() / "fashion_mnist", lambda *_: None)
    for half, (name, start, end) in PARTS.items():
        part = getattr(found, name)
        for number in range(start, end):
            place = folder / half / known.classes[int(part.labels[number])].replace("/", "-")
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(part.pixels[number]).save(place / f"{number:05}.png")


def row(name: str, scale: str, found: dict[str, Any]) -> str:
    top1 = {model["name"]: f"{100 * model['top1']:.2f} %" for model in found["models"]}
    regained = found["regained"]

    def change(key: str) -> str:
        low, high = (100 * end for end in found[key]["change_interval"])
        return f"{100 * found[key]['change']:+.2f} ({low:+.2f} to {high:+.2f}), p = {found[key]['p_value']:.2g}"

    cells = [
        f"{name}, {found['images']} pictures",
        f"per {scale}",
        ", ".join(found["float_blocks"]) or "–",
        *(top1[key] for key in ("float", "int8 before", "int8 after")),
        "–" if regained is None else f"{regained:.0%}",
        change("after"),
        change("change"),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN=DATA")
    parser.add_argument("--fashion", type=Path, metavar="DATA")
    parser.add_argument("--out", type=Path, default=Path("quantization"))
    parser.add_argument("--scales", nargs="+", choices=("channel", "tensor"), default=["channel", "tensor"])
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    if options.fashion is not None:
        write(options.fashion)
    print(f"<!-- {hardware(pick_device('cpu'))} {versions()} -->")
    print(HEAD)
    print("| --- " * HEAD.count(" |") + "|")
    options.out.mkdir(parents=True, exist_ok=True)
    for pair in options.runs:
        run, _, data = pair.partition("=")
        for scale in options.scales:
            place = options.out / f"{Path(run).name}-{scale}"
            done = place / "quantize.json"
            if not done.exists():
                mobilenets.quantize(run, data, out=place, epochs=options.epochs, per_tensor=scale == "tensor")
            print(row(Path(run).name, scale, json.loads(done.read_text())), flush=True)


if __name__ == "__main__":
    main()
