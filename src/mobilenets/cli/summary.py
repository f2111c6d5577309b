"""``mobilenets summary``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from mobilenets.cli.options import SIZE, given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import listed, table


def _arguments(parser: Parser) -> None:
    from mobilenets.models.catalog import CATALOG

    add = parser.add_argument
    add("name", metavar="NAME", help=listed(CATALOG))
    add("--width", type=float, default=1.0, metavar="W", help="width multiplier (default: 1)")
    add("--size", **SIZE, help="input size in pixels per side (default: the network's)")
    add("--classes", type=int, metavar="K", help="classes (default: 1000; 80 of a detector)")
    add(
        "--task",
        default="classification",
        choices=("classification", "detection"),
        help="detection: SSDLite on the network, at 320 pixels",
    )
    add(
        "--variant",
        default="auto",
        choices=("auto", "standard", "small"),
        help="auto (the default): the variant for small pictures up to 64 pixels, standard above",
    )
    add(
        "--table",
        metavar="FILE",
        help="JSON file with your own layer table: rows of t, c, n, s (expansion factor, channels, repeats, stride)",
    )
    add("--diagram", metavar="FILE", help="draw the network into FILE (.png or .svg)")


def _run(options: Namespace) -> int:
    from mobilenets.verbs.summary import summary

    settings = given(options, "size", "classes", "task", "variant", "table", "diagram")
    result = summary(options.name, options.width, **settings)
    print_result(options, result, summarised)
    return 0


def summarised(result: dict[str, Any]) -> str:
    """One line per layer, and the totals."""
    rows = [["layer", "kind", "output", "parameters", "MACs"]]
    for layer in result["layers"]:
        shape = " × ".join(map(str, layer["output"]))
        rows.append([layer["name"], layer["kind"], shape, f"{layer['parameters']:,}", f"{layer['macs']:,}"])
    rows.append(["total", "", "", f"{result['parameters']:,}", f"{result['macs']:,}"])
    ssd = "SSDLite on " if "anchors" in result else ""
    head = (
        f"{ssd}{result['name']} ({result['variant']}), width {result['width']:g}, {result['size']} × {result['size']} "
        f"pixels, {result['classes']} classes"
    )
    totals = f"{result['parameters'] / 1e6:.2f} M parameters, {result['macs'] / 1e6:.1f} M multiply-accumulates"
    totals += f", {result['anchors']:,} anchors" if ssd else ""
    return f"{head}\n\n{table(rows, {3, 4})}\n\n{totals}"


VERB = Verb(
    "summary",
    "show a network's layers, parameters and multiply-accumulates",
    "mobilenets summary mobilenet_v2 --width 0.5 --diagram v2.png",
    _arguments,
    _run,
)
