"""``mobilenets prune``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from mobilenets.cli.compare import paired
from mobilenets.cli.notes import without_repeated
from mobilenets.cli.options import DATA, check_order, given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import percent, printable, table
from mobilenets.cli.train import resumable


def _arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("model", metavar="RUN", help="run folder of a classifier")
    add("data", metavar="DATA", help=f"the pictures that it was trained on: {DATA}")
    add("--to", type=float, default=0.7, metavar="SHARE", help="share of its time that is left (default: 0.7)")
    add("--out", metavar="DIR", help="run folder to write (default: RUN-pruned-70 for 0.7)")
    add("--steps", type=int, default=2, metavar="N", help="rounds of pruning and training (default: 2)")
    add("--epochs", type=int, metavar="N", help="epochs of each round (default: a quarter of the run's)")
    add("--threads", type=int, default=1, metavar="N", help="threads of the measurement (default: 1)")
    add("--device", default="auto", metavar="NAME", help="where it is trained: auto, cpu, cuda (default: auto)")


def _run(options: Namespace) -> int:
    from mobilenets.verbs.prune import prune

    check_order(options.model, options.data, "prune")
    settings = given(options, "to", "out", "steps", "epochs", "threads", "device")
    with without_repeated(options.json), resumable("run the same command again", Path(options.model)):
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
            f"a picture: {before:.2f} ms before and {after:.2f} ms after, {percent(result['share'])} "
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
