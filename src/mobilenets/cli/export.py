"""``mobilenets export``."""

from __future__ import annotations

import signal
import sys
import threading
from argparse import Namespace
from pathlib import Path
from typing import Any

from mobilenets.base.shell import quote
from mobilenets.base.text import say_boxes
from mobilenets.cli.options import given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import percent, printable, size
from mobilenets.exports.catalog import FORMATS

_SETTINGS = (
    *("precision", "data", "pixels", "camera", "probabilities", "nms", "per_tensor", "batch", "tolerance"),
    "web_runtime",
)


def _arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="run folder")
    add(
        "--out",
        metavar="DIR",
        help="folder to write: the file and its model.json (default: exported-FORMAT in the run folder)",
    )
    add("--format", default="onnx", metavar="NAME", help=f"{', '.join(FORMATS)} (default: onnx)")
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument(
        "--int8",
        dest="precision",
        action="store_const",
        const="int8",
        default="float32",
        help="8-bit weights and activations, calibrated on the training pictures of --data",
    )
    precision.add_argument("--float16", dest="precision", action="store_const", const="float16", help="16-bit weights")
    add(
        "--data",
        metavar="DATA",
        help="labelled pictures to check the file on (default: those the run held out for validation)",
    )
    add(
        "--pixels",
        action="store_true",
        help="the file takes resized and cropped uint8 pixels and normalises them itself",
    )
    add(
        "--camera",
        action="store_true",
        help="the file takes one upright picture of any size in uint8 pixels, and resizes and crops it itself "
        "(onnx, openvino)",
    )
    add("--probabilities", action="store_true", help="the file outputs probabilities instead of logits")
    add("--nms", action="store_true", help="a detector's file outputs finished boxes (onnx, openvino)")
    add(
        "--per-tensor",
        action="store_true",
        help="int8 for chips that know nothing else: one scale for each weight tensor, no block in float "
        "(onnx, openvino, web)",
    )
    add("--batch", type=int, metavar="N", help="pictures per batch (default: any number)")
    add(
        "--tolerance",
        type=float,
        metavar="POINTS",
        help="largest loss of top-1 accuracy allowed, in percentage points (default: 0.05 for float, 0.5 for int8); "
        "of a detector of AP (0.1 for float32, 0.3 for float16, 1.5 for int8)",
    )
    add(
        "--web-runtime",
        metavar="FOLDER",
        help="for --format web: folder of the unpacked npm package onnxruntime-web (default: from node_modules, or "
        "downloaded with npm)",
    )


def _run(options: Namespace) -> int:
    """Exit status 1 when the file did not pass, and none was written."""
    from mobilenets.verbs.export import export

    # So that what was written aside is taken away, as with Ctrl-C.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    settings = given(options, *_SETTINGS)
    result = export(options.model, options.out, options.format, **settings)
    print_result(options, result, exported)
    return int(not result["passed"])


def exported(result: dict[str, Any]) -> str:
    """The figures of the gate, then the file and what to type next, or why there is none."""
    first = (
        f"{result['format']} {result['precision']} in {result['runtime']}, {result['images']} pictures "
        f"({result['evaluated_on']})"
    )
    return "\n".join([first, *(_boxes(result) if "ap_exported" in result else _classes(result)), *_outcome(result)])


def _boxes(result: dict[str, Any]) -> list[str]:
    figures = ["none" if result[key] is None else percent(result[key]) for key in ("ap_exported", "ap_reference")]
    return [
        f"AP  {figures[0]}, the model's {figures[1]}",
        f"{say_boxes(result['boxes'])} beside the model's, which overlap by at least {result['least_overlap']:.3f}, "
        f"scores differ by at most {result['max_difference']:.2g}; "
        f"{result['boxes_without_partner']} are found by one of both",
    ]


def _classes(result: dict[str, Any]) -> list[str]:
    from mobilenets.measure.paired import most_different, said_of_pair  # NumPy, which --help does without

    images = result["images"]
    # What is no number, which is a fault, is no figure.
    difference = max(result["max_difference"], result["probe_difference"] or 0.0)
    lines = [
        f"top-1  {percent(result['top1_exported'])}, the model's {percent(result['top1_reference'])}: "
        f"{said_of_pair(result)}",
        f"largest difference in a probability  {difference:.2g}",
    ]
    if result["same_answers"] == images:
        lines.append(
            f"on new pictures, at most {100 * most_different(images):.2g} % get another answer (95 % confidence)"
        )
    worst = result["worst_class"]
    if worst is not None:
        lines.append(
            f"class that lost most  {printable(worst['class'])}: {percent(worst['reference'])} to "
            f"{percent(worst['exported'])} of {worst['images']}"
        )
    return lines


def _outcome(result: dict[str, Any]) -> list[str]:
    if result["passed"]:
        folder = quote(str(Path(result["file"]).parent))
        following = f"mobilenets predict {folder} photo.jpg"
        if result["format"] == "web":
            following = f"python -m http.server --bind 127.0.0.1 --directory {folder} 8000"
        return [f"passed: {result['file']}, {size(result['bytes'])}", f"Next:  {following}"]
    lines = [f"failed, nothing was written: {fault}" for fault in result["faults"]]
    if result["layer"] is not None:
        lines.append(f"the difference starts at {result['layer']['layer']} ({result['layer']['decibels']:.0f} dB)")
    if result["advice"] is not None:
        lines.append(f"training for int8 may win it back:  {result['advice']}")
    return lines


VERB = Verb(
    "export",
    "convert a model for a phone, browser or server, and check it on your pictures",
    "mobilenets export run --format onnx --int8 --data photos",
    _arguments,
    _run,
)
