"""``mobilenets prune``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from mobilenets.cli.compare import paired
from mobilenets.cli.further import add_run, add_threads, add_training, going_on
from mobilenets.cli.options import given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import percent, printable, table


def _arguments(parser: Parser) -> None:
    add_run(parser)
    add = parser.add_argument
    add("--to", type=float, default=0.7, metavar="SHARE", help="share of its time that is left (default: 0.7)")
    add("--steps", type=int, default=2, metavar="N", help="rounds of pruning and training (default: 2)")
    add_training(parser, "RUN-pruned-70 for 0.7", "each round")
    add_threads(parser)


def _run(options: Namespace) -> int:
    from mobilenets.verbs.prune import prune

    settings = given(options, "to", "out", "steps", "epochs", "threads", "device")
    with going_on(options, "prune"):
        result = prune(options.model, options.data, **settings)
    print_result(options, result, pruned)
    return 0


def pruned(result: dict[str, Any]) -> str:
    """What it cost and what it costs now, what left, and whether it is as good as before."""
    (before, after), (macs, fewer) = result["milliseconds"], result["macs"]
    rows = [["channels", "before", "after"]]
    rows += [[name, str(was), str(now)] for name, (was, now) in result["channels"].items() if now < was]
    threads = f"{result['threads']} thread{'s' * (result['threads'] > 1)}"
    return "\n".join(
        [
            table(rows, {1, 2}),
            "",
            paired(result["compare"]),
            "",
            f"a picture: {before:.3g} ms before and {after:.3g} ms after, {percent(result['share'])} "
            f"(ONNX Runtime, {threads}); {macs / 1e6:,.1f} and {fewer / 1e6:,.1f} million multiply-accumulates",
            f"the pruned model is a run: {printable(result['run'])}",
        ]
    )


VERB = Verb(
    "prune",
    "make a trained network faster: take out the channels that are worth least for their time, and train the rest",
    "mobilenets prune run photos --to 0.7",
    _arguments,
    _run,
)
