"""``mobilenets quantize``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from mobilenets.base.shell import quote
from mobilenets.cli.further import add_run, add_training, going_on
from mobilenets.cli.options import given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import interval, percent, printable, sentence, size, table


def _arguments(parser: Parser) -> None:
    add_run(parser)
    add_training(parser, "RUN-int8")
    add = parser.add_argument
    add("--lr", type=float, default=1e-4, metavar="RATE", help="peak learning rate (default: 1e-4)")
    add(
        "--per-tensor",
        action="store_true",
        help="one scale for each weight tensor and no block in float, as `export --per-tensor`",
    )


def _run(options: Namespace) -> int:
    """Exit status 1 when the int8 file did not pass the gate."""
    from mobilenets.verbs.quantize import quantize

    settings = given(options, "out", "epochs", "lr", "per_tensor", "device")
    with going_on(options, "quantize"):
        result = quantize(options.model, options.data, **settings)
    print_result(options, result, quantized)
    return int(not result["export"]["passed"])


def quantized(result: dict[str, Any]) -> str:
    """What int8 lost before and after, how sure that is, and where the run and its file are."""
    rows = [[one["name"], "top-1", percent(one["top1"]), interval(one["top1_interval"])] for one in result["models"]]
    lines = [f"{result['images']} pictures ({result['evaluated_on']})", table(rows, {2}), ""]
    for name, words in (
        ("before", "int8 before, from float"),
        ("after", "int8 after, from float"),
        ("change", "int8 after, from before"),
    ):
        low, high = result[name]["change_interval"]
        lines.append(
            f"{words}  {100 * result[name]['change']:+.2f} points   95 % interval {100 * low:+.2f} to "
            f"{100 * high:+.2f}   p = {result[name]['p_value']:.2g}"
        )
    regained, gate, trained = result["regained"], result["export"], result["as_trained"]
    lines += [
        "",
        "int8 had lost nothing before: the plain export is as good"
        if regained is None
        else "what int8 had lost before may be chance: the plain export may be as good"
        if result["before"]["change_interval"][1] >= 0
        else f"regained of what int8 had lost: {percent(regained)}",
        f"the file answers as the trained network on {trained['same_answers']} of {trained['images']} pictures",
        *(sentence(note) for note in result["notes"]),
        f"the trained model is a run: {printable(result['run'])}",
    ]
    if gate["passed"]:
        lines.append(f"its int8 file passed the check: {printable(gate['file'])}, {size(gate['bytes'])}")
        return "\n".join([*lines, f"Next:  mobilenets predict {quote(str(Path(gate['file']).parent))} photo.jpg"])
    return "\n".join([*lines, *(f"its int8 file was not written: {fault}" for fault in gate["faults"])])


VERB = Verb(
    "quantize",
    "train a network further for int8, where the plain export loses too much",
    "mobilenets quantize run photos",
    _arguments,
    _run,
)
