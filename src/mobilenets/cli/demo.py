"""``mobilenets demo``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mobilenets.base.shell import quote
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.train import resumable, trained


def _arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--out", default="demo", metavar="DIR", help="folder to write (default: demo)")
    add(
        "--task",
        default="classification",
        choices=("classification", "detection"),
        help="what to show: handwritten digits told apart, or drawn shapes found (default: classification)",
    )
    add("--resume", action="store_true", help="continue a demo that was stopped")


def _run(options: Namespace) -> int:
    from mobilenets.verbs.demo import demo

    task = "" if options.task == "classification" else f"--task {options.task} "
    again = f"mobilenets demo {task}--out {quote(options.out)} --resume"
    with resumable(again, Path(options.out)):
        result = demo(options.out, task=options.task, resume=options.resume)
    print_result(options, result, trained)
    return 0


VERB = Verb(
    "demo",
    "train, measure and report on pictures that come with the package, offline",
    "mobilenets demo --out demo",
    _arguments,
    _run,
)
