"""``mobilenets sparsify``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from mobilenets.cli.compare import paired
from mobilenets.cli.further import add_run, add_threads, add_training, going_on
from mobilenets.cli.options import given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import percent, printable, size
from mobilenets.training.recipe import PATTERNS


def _arguments(parser: Parser) -> None:
    add_run(parser)
    add = parser.add_argument
    add("--sparsity", type=float, metavar="SHARE", help="share of the weights that become 0 (default: 0.75)")
    add("--pattern", default="none", choices=PATTERNS, help="2:4: two of every four, in place of a share")
    add_training(parser, "RUN-sparse-75 for 0.75")
    add_threads(parser)


def _run(options: Namespace) -> int:
    from mobilenets.verbs.sparsify import sparsify

    settings = given(options, "sparsity", "pattern", "out", "epochs", "threads", "device")
    with going_on(options, "sparsify"):
        result = sparsify(options.model, options.data, **settings)
    print_result(options, result, sparsified)
    return 0


def sparsified(result: dict[str, Any]) -> str:
    """What became 0, whether it is as good as before, and what the zeros are worth."""
    weights, left_out = sum(all_ for all_, _ in result["layers"].values()), result["left_out"]
    (before, after), (zipped, smaller) = result["milliseconds"], result["zipped"]
    lines = [
        f"{percent(result['zeros'] / weights)} of {weights:,} weights in {len(result['layers'])} layers are 0"
        + (f"; left out, because {result['pattern']} does not fit: {', '.join(left_out)}" if left_out else ""),
        "",
        paired(result["compare"]),
        "",
        f"the weights: {size(result['bytes'][1])} as before; zipped {size(zipped)} before and {size(smaller)} after",
        f"a picture: {before:.3g} ms before and {after:.3g} ms after (ONNX Runtime, {result['threads']} "
        f"thread{'s' * (result['threads'] > 1)}), which computes with zeros as with any number",
        f"the sparse model is a run: {printable(result['run'])}",
    ]
    return "\n".join(lines)


VERB = Verb(
    "sparsify",
    "make a trained network smaller when zipped: its smallest weights become 0 while the others learn on",
    "mobilenets sparsify run photos --sparsity 0.75",
    _arguments,
    _run,
)
