"""Do probabilities mean what they say, before and after calibration, and in every exported file?

    python benchmarks/calibration.py DATA RUN [--every N] [--train "OPTIONS"] [--formats onnx …] [--precisions int8 …]

Half of DATA's validation pictures become a test half, in a copy made of links beside RUN, so that nothing is fitted on
the pictures that are measured; of all pictures every N-th is taken. RUN is trained where it does not exist. Prints a
table in Markdown: expected calibration error and loss on the test half, before and after, and of every file exported
from the run.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import report

import mobilenets
from mobilenets.cli import main as command
from mobilenets.datasets.layout import find_data
from mobilenets.errors import InputError
from mobilenets.exports.catalog import FORMATS, find_format

HEAD = ("set", "answered by", "precision", "pictures", "top-1", "calibration error", "by chance", "loss")


def with_test(data: Path, place: Path, every: int) -> Path:
    """Link DATA's pictures into a copy whose validation pictures are halved, every second one into ``test``."""
    layout = find_data(data, lambda name: name)
    if layout.validation is None:
        raise InputError(f"{data}: give a folder with train/ and validation/")
    for half, folder in (("train", layout.train), ("validation", layout.validation)):
        for kind in sorted(path for path in folder.iterdir() if path.is_dir()):
            for number, picture in enumerate(sorted(kind.iterdir())[::every]):
                into = place / ("test" if half == "validation" and number % 2 else half) / kind.name
                into.mkdir(parents=True, exist_ok=True)
                (into / picture.name).symlink_to(picture.resolve())
    if (data / "classes.json").exists():
        (place / "classes.json").symlink_to((data / "classes.json").resolve())
    return place


def row(name: str, engine: str, precision: str, found: dict[str, Any], chance: float | None = None) -> str:
    return report.row(
        name,
        engine,
        precision,
        found["images"],
        f"{100 * found['top1']:.1f} %",
        f"{100 * found['ece']:.2f} %",
        "" if chance is None else f"{100 * chance:.2f} %",
        f"{found['loss']:.4f}",
    )


def main() -> int:
    parser = report.arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--formats", nargs="*", default=list(FORMATS))
    parser.add_argument("--precisions", nargs="+", default=["float32", "int8"])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--train", default="", metavar="OPTIONS")
    options = parser.parse_args()
    halved, run = options.run.with_name(f"{options.run.name}-data"), options.run
    if not halved.exists():
        with_test(options.data, halved, options.every)
    if not run.exists() and command(["train", str(halved), "--out", str(run), *shlex.split(options.train)]):
        return 1
    name, metrics = options.data.name, json.loads((run / "metrics.json").read_bytes())
    known = metrics["calibration"]
    print(f"temperature {known['temperature']:g}, from {known['pictures']} pictures\n\n{report.heads(*HEAD)}")
    before = metrics | {"ece": known["ece_before"], "loss": known["loss_before"]}
    print(row(name, "the run, before", "float32", before))
    print(row(name, "the run, after", "float32", metrics, known["ece_by_chance"]))
    print(row(name, "the run, ONNX Runtime", "float32", mobilenets.evaluate(run, halved)), flush=True)
    for form in options.formats:
        for precision in options.precisions:
            try:
                find_format(form, precision)
            except InputError as error:
                print(f"{form}, {precision}: {error}", file=sys.stderr)
                continue
            with tempfile.TemporaryDirectory() as place:
                out = Path(place) / "out"
                if mobilenets.export(run, out, form, precision=precision, data=halved)["passed"]:
                    print(row(name, form, precision, mobilenets.evaluate(out, halved)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
