"""``mobilenets benchmark``."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from mobilenets.base.shell import quote
from mobilenets.cli.options import MODEL, SEVERAL, add_measuring, given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import machine, milliseconds, printable, size, table


def _arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("models", metavar="MODEL", nargs="*", help=MODEL)
    add(
        "--runtime",
        dest="runtimes",
        **SEVERAL,
        metavar="NAME",
        help="torch, onnxruntime, openvino, … (default: every installed one)",
    )
    add("--threads", type=int, **SEVERAL, metavar="N", help="threads (default: one per core)")
    add("--batch", dest="batches", type=int, **SEVERAL, metavar="N", help="pictures per batch (default: 1 8 32)")
    add_measuring(parser)
    add("--out", metavar="DIR", help="also write benchmark.json and benchmark.png there")
    add(
        "--device-script",
        metavar="FILE.py",
        help="write a script that runs the same measurement on another device (needs Python, NumPy and a runtime)",
    )


def _run(options: Namespace) -> int:
    from mobilenets.bench.models import write_device_script
    from mobilenets.verbs.benchmark import benchmark

    if options.device_script is not None:
        written = write_device_script(options.device_script)
        print(printable(f"on the device: python {quote(written.name)} model.onnx"), file=sys.stderr)
    if options.models or options.device_script is None:
        settings = given(options, "runtimes", "threads", "seconds", "out")
        settings |= {} if options.batches is None else {"batches": options.batches}
        print_result(options, benchmark(options.models, **settings), benchmarked)
    elif options.json:
        print("[]")
    return 0


def benchmarked(rows: list[dict[str, Any]]) -> str:
    """The machine, then a line for every model, runtime, number of threads and batch."""
    columns = ["model", "runtime", "precision", "threads", "batch", "p50 ms", "p95 ms", "p99 ms", "pictures/s"]
    lines = [[*columns, "peak MB", "load ms", "file"]]
    for row in rows:
        lines.append(
            [
                # Resizing is in its time.
                printable(row["model"]) + (" (480×640)" if row["geometry"] == "inside" else ""),
                f"{row['runtime']} {row['runtime_version'].split('-')[0]}",
                row["precision"],
                str(row["threads"]),
                str(row["batch"]),
                *(milliseconds(row[key]) for key in ("p50_ms", "p95_ms", "p99_ms")),
                f"{row['images_per_second']:.1f}",
                f"{row['peak_rss_mb']:.0f}",
                f"{row['load_ms']:.0f}",
                size(row["bytes"]),
            ]
        )
    return f"{printable(machine(rows[0]['machine']))}\n\n{table(lines, set(range(3, 12)))}"


VERB = Verb(
    "benchmark",
    "measure latency, throughput and memory on this machine, by runtime, threads and batch size",
    "mobilenets benchmark run exported --threads 1 2 --out figures",
    _arguments,
    _run,
)
