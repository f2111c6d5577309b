"""``mobilenets compare``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from mobilenets.cli.options import SEVERAL, SIZE, add_measuring, given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import machine, milliseconds, percent, printable, size, table


def _arguments(parser: Parser) -> None:
    from mobilenets.bench.candidates import NAMES, USUAL

    add = parser.add_argument
    add(
        "names",
        metavar="NAME",
        nargs="*",
        help=f"{', '.join(NAMES)} (default: {' '.join(USUAL)}, or none if --runs is set)",
    )
    add("--size", default=224, **SIZE, help="input size in pixels per side (default: 224)")
    add(
        "--width",
        dest="widths",
        type=float,
        **SEVERAL,
        metavar="W",
        help="width multipliers of the MobileNets (default: 1)",
    )
    add("--classes", type=int, default=1000, metavar="K", help="classes (default: 1000)")
    add("--run", dest="runs", **SEVERAL, default=[], metavar="RUN", help="run folders to add, with their accuracy")
    add("--threads", type=int, metavar="N", help="threads (default: one per core)")
    add_measuring(parser)
    add("--out", metavar="DIR", help="also write compare.json, compare.png and blocks.png there")


def _run(options: Namespace) -> int:
    from mobilenets.verbs.compare import compare

    settings = given(options, "size", "classes", "runs", "threads", "seconds", "out")
    settings |= {} if options.widths is None else {"widths": options.widths}
    print_result(options, compare(options.names, **settings), compared)
    return 0


def compared(result: dict[str, Any]) -> str:
    """One line per network."""
    lines = [["network", "width", "size", "parameters", "MACs", "float32", "PyTorch ms", "ONNX Runtime ms", "top-1"]]
    for row in result["networks"]:
        top1 = "–"
        if row["top1"] is not None:
            low, high = row["top1_interval"]
            top1 = (
                f"{percent(row['top1'])} ({100 * low:.1f} to {100 * high:.1f}; {row['images']} pictures, {row['data']})"
            )
        lines.append(
            [
                printable(row["run"] or row["name"]),
                f"{row['width']:g}",
                str(row["size"]),
                f"{row['parameters']:,}",
                f"{row['macs']:,}",
                size(row["bytes"]),
                milliseconds(row["latency_ms"]),
                milliseconds(row["onnxruntime_ms"]),
                printable(top1),
            ]
        )
    threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
    about = f"median for one picture, {threads}; {machine(result['machine'])}"
    return f"{table(lines, set(range(1, 8)))}\n\n{printable(about)}"


VERB = Verb(
    "compare",
    "compare networks: parameters, multiply-accumulates, size, latency on this machine, accuracy of runs",
    "mobilenets compare mobilenet_v1 mobilenet_v2 resnet18 --width 0.5 1 --out figures",
    _arguments,
    _run,
)
