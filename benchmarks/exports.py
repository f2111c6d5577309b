"""What exporting costs: every format in every precision that is installed here, through the gate.

    python benchmarks/exports.py RUN=DATA … [--formats onnx …] [--precisions int8 …]

Prints a table in Markdown, a line an export: what the gate found, on the pictures that the model never learned from.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import report

import mobilenets
from mobilenets.errors import InputError
from mobilenets.exports.catalog import FORMATS, find_format

HEAD = (
    *("model", "format", "precision", "MB", "top-1"),
    *("change, points", "95 % interval", "probability differs by", "passes"),
)


def row(run: str, found: dict[str, Any]) -> str:
    low, high = (100 * end for end in found["top1_change_interval"])
    same = found["pictures_lost"] == found["pictures_gained"] == 0
    return report.row(
        f"{run}, {found['images']} pictures",
        found["format"],
        found["precision"],
        f"{found['bytes'] / 1e6:.2f}",
        f"{100 * found['top1_exported']:.2f} %",
        "0, the same pictures right" if same else f"{100 * found['top1_change']:+.2f}",
        "–" if same else f"{low:+.2f} to {high:+.2f}",
        f"{max(found['max_difference'], found['probe_difference']):.2g}",
        "yes" if found["passed"] else "no",
    )


def main() -> int:
    parser = report.arguments(__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN=DATA")
    parser.add_argument("--formats", nargs="+", default=[name for name in FORMATS if name != "web"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "float16", "int8"])
    options = parser.parse_args()
    print(f"<!-- {report.machine()} -->")
    print(report.heads(*HEAD))
    for pair in options.runs:
        run, _, data = pair.partition("=")
        for name in options.formats:
            for precision in FORMATS[name].precisions:
                if precision not in options.precisions:
                    continue
                try:
                    find_format(name, precision)
                except InputError as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    continue
                with tempfile.TemporaryDirectory() as place:
                    found = mobilenets.export(run, Path(place) / "out", name, precision=precision, data=data)
                print(row(Path(run).name, found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
