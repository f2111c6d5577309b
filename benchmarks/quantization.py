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

import json
from pathlib import Path
from typing import Any

import report
from drawn import write_fashion

import mobilenets
from mobilenets.bench.hardware import hardware, versions
from mobilenets.models.device import pick_device

HEAD = (
    *("run", "scales", "in float", "float", "int8 before", "int8 after"),
    *("regained", "after, from float", "after, from before"),
)
PARTS = {
    "train": ("train", range(6000)),
    "validation": ("train", range(50_000, 51_000)),
    "test": ("validation", range(10_000)),
}


def row(name: str, scale: str, found: dict[str, Any]) -> str:
    top1 = {model["name"]: f"{100 * model['top1']:.2f} %" for model in found["models"]}
    regained = found["regained"]

    def change(key: str) -> str:
        low, high = (100 * end for end in found[key]["change_interval"])
        return f"{100 * found[key]['change']:+.2f} ({low:+.2f} to {high:+.2f}), p = {found[key]['p_value']:.2g}"

    return report.row(
        f"{name}, {found['images']} pictures",
        f"per {scale}",
        ", ".join(found["float_blocks"]) or "–",
        *(top1[key] for key in ("float", "int8 before", "int8 after")),
        "–" if regained is None else f"{regained:.0%}",
        change("after"),
        change("change"),
    )


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN=DATA")
    parser.add_argument("--fashion", type=Path, metavar="DATA")
    parser.add_argument("--out", type=Path, default=Path("quantization"))
    parser.add_argument("--scales", nargs="+", choices=("channel", "tensor"), default=["channel", "tensor"])
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    if options.fashion is not None:
        write_fashion(options.fashion, PARTS)
    print(f"<!-- {hardware(pick_device('cpu'))} {versions()} -->")
    print(report.heads(*HEAD))
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
