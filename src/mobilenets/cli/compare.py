"""``mobilenets compare``: networks side by side, or two models on the same pictures."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from mobilenets.cli.boxes_text import paired_boxes
from mobilenets.cli.options import SEVERAL, SIZE, add_measuring, check_order, given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import interval, machine, milliseconds, percent, printable, sentence, size, table
from mobilenets.errors import InputError


def _arguments(parser: Parser) -> None:
    from mobilenets.bench.candidates import NAMES, USUAL

    add = parser.add_argument
    add(
        "names",
        metavar="NAME",
        nargs="*",
        help=f"{', '.join(NAMES)} (default: {' '.join(USUAL)}, or none if --runs is set); or two models and a "
        "folder of pictures, RUN RUN DATA: is the second better?",
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
    add("--out", metavar="DIR", help="also write compare.json and compare.png there, with networks also blocks.png")


def _run(options: Namespace) -> int:
    if models := _models(options.names):
        return _run_models(options, *models)
    from mobilenets.verbs.compare import compare

    settings = given(options, "size", "classes", "runs", "threads", "seconds", "out")
    settings |= {} if options.widths is None else {"widths": options.widths}
    print_result(options, compare(options.names, **settings), compared)
    return 0


def _models(names: list[str]) -> list[str]:
    """Return the two models and the pictures that are named in place of networks, or nothing."""
    from mobilenets.bench.candidates import NAMES

    if not names or all(name in NAMES for name in names) or not any(Path(name).exists() for name in names):
        return []
    if len(names) != 3:
        raise InputError("to compare two models, give both and a folder of pictures: mobilenets compare RUN RUN DATA")
    for model in names[:2]:
        check_order(model, names[2], "compare RUN")
    return names


def _run_models(options: Namespace, first: str, second: str, data: str) -> int:
    from mobilenets.verbs.compare_models import compare_models

    if (options.size, options.classes, options.widths, options.runs) != (224, 1000, None, []):
        raise InputError("--size, --width, --classes and --run are for networks by name: leave them out")
    result = compare_models(first, second, data, **given(options, "out", "threads"))
    print_result(options, result, paired)
    return 0


def paired(result: dict[str, Any]) -> str:
    """The top-1 of both, their difference, and what that says."""
    if "ap50_change" in result:
        return paired_boxes(result)
    images, names = result["images"], [printable(one["model"]) for one in result["models"]]
    lines = [f"{images} pictures ({result['evaluated_on']})"]
    rows = [
        [name, "top-1", percent(one["top1"]), interval(one["top1_interval"])]
        for name, one in zip(names, result["models"], strict=True)
    ]
    lines.append(table(rows, {2}))
    low, high = result["change_interval"]
    lines.append(
        f"second minus first  {100 * result['change']:+.2f} points   "
        f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}"
    )
    lines.append(
        f"right: both {result['both_right']}, only the first {result['only_first_right']}, only the second "
        f"{result['only_second_right']}, neither {result['neither_right']}   "
        f"exact McNemar test  p = {result['p_value']:.2g}"
    )
    return "\n".join([*lines, "", *_verdict(result, names), *map(sentence, result["notes"])])


def _verdict(result: dict[str, Any], names: list[str]) -> list[str]:
    """Say which model is better, or what it would take to tell."""
    change, needed, least = (result[key] for key in ("change", "pictures_needed", "smallest_difference"))
    if result["better"] is not None:
        first, second = names if result["better"] == "second" else names[::-1]
        return [f"{second} is better than {first}."]
    said = "No difference can be told"
    if result["same_answers"] == result["images"]:
        return [f"{said}: both gave the same answer to every picture."]
    said += (
        "."
        if needed is None
        else (f": one of {abs(100 * change):.2f} points takes about {needed:,} pictures (80 % power).")
    )
    seen = "" if least is None else f" These {result['images']} tell {100 * least:.1f} points or more."
    return [said + seen]


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
    "compare networks by cost and latency, or two models on the same pictures: is the second better?",
    "mobilenets compare mobilenet_v1 mobilenet_v2 resnet18 --width 0.5 1 --out figures",
    _arguments,
    _run,
)
