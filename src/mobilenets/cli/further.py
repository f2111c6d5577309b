"""Arguments of the verbs that go on from a run: prune, sparsify, quantize and shrink."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mobilenets.cli.notes import without_repeated
from mobilenets.cli.options import DATA, check_order
from mobilenets.cli.parser import Parser
from mobilenets.cli.train import resumable


def add_run(parser: Parser, data: str = "data") -> None:
    """Add RUN, and the pictures as ``data`` or ``--data``."""
    parser.add_argument("model", metavar="RUN", help="run folder of a classifier")
    needed: dict[str, Any] = {"required": True} if data.startswith("-") else {}
    parser.add_argument(data, metavar="DATA", help=f"the pictures that it was trained on: {DATA}", **needed)


def add_training(parser: Parser, out: str, of: str = "training") -> None:
    """Add what is written, by default ``out``, and how long and where it is trained."""
    add = parser.add_argument
    add("--out", metavar="DIR", help=f"run folder to write (default: {out})")
    add("--epochs", type=int, metavar="N", help=f"epochs of {of} (default: a quarter of the run's)")
    add("--device", default="auto", metavar="NAME", help="where it is trained: auto, cpu, cuda (default: auto)")


def add_threads(parser: Parser) -> None:
    """Add the threads that a picture's time is measured with."""
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the measurement (default: 1)")


@contextmanager
def going_on(options: Namespace, verb: str, flag: str = "") -> Iterator[None]:
    """Refuse RUN and DATA the wrong way round, and say at Ctrl-C or a full disk that the same command goes on.

    ``flag`` is what stands before DATA: ``--data ``.
    """
    check_order(options.model, options.data, verb, flag)
    with without_repeated(options.json), resumable("run the same command again", Path(options.model)):
        yield
