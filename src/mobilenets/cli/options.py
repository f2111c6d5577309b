"""Arguments that several verbs take."""

from __future__ import annotations

import argparse
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from mobilenets.base.shell import quote
from mobilenets.cli.parser import Parser
from mobilenets.errors import InputError

DATA = "folder with train/ and validation/, or with one folder per class; or of shards, see mobilenets pack"
MODEL = "run folder, or an exported file with its model.json beside it"
SIZE: dict[str, Any] = {"type": int, "metavar": "S"}
SEVERAL: dict[str, Any] = {"action": "extend", "nargs": "+"}


def add_data(parser: Parser) -> None:
    """Add DATA, and how much of shards from elsewhere may be kept."""
    parser.add_argument("data", metavar="DATA", help=DATA)
    kept = "GiB of shards from an address that are kept on the disk (default: 10, or $MOBILENETS_SHARD_GB)"
    shown = kept if parser.everything else argparse.SUPPRESS
    parser.add_argument("--cache-gb", action=_Kept, type=float, metavar="N", help=shown)


class _Kept(argparse.Action):
    """Says it in the environment, where every process of a run finds it."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Namespace, values: Any, option: Any = None) -> None:
        os.environ["MOBILENETS_SHARD_GB"] = str(values)


def add_engine(parser: Parser) -> None:
    """Add where a model runs."""
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps (default: auto)"
    )
    parser.add_argument(
        "--runtime",
        metavar="NAME",
        help="runtime of the file, or torch for a run folder (default: the fastest installed)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the runtime (default: one per core)")


def given(options: Namespace, *names: str) -> dict[str, Any]:
    """Give some of the options as arguments of a verb's function."""
    return {name: getattr(options, name) for name in names}


def engine(options: Namespace) -> dict[str, Any]:
    """Give what ``add_engine`` added, as arguments of a verb's function."""
    return given(options, "device", "runtime", "threads")


def add_measuring(parser: Parser) -> None:
    """Add how long a latency is measured."""
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="seconds per measurement (default: 2)")


def check_order(model: str, other: str, verb: str, flag: str = "") -> None:
    """Refuse a model given behind the pictures, which are no model: it comes first."""
    from mobilenets.runtime.bundle import is_model

    if is_model(Path(other)) and not is_model(Path(model)):
        raise InputError(f"the model comes first: mobilenets {verb} {quote(other)} {flag}{quote(model)}")
