"""``mobilenets predict --engine``: its arguments and words."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from mobilenets.base.progress import duration
from mobilenets.base.text import counted, printable
from mobilenets.bulk.tables import FORMATS
from mobilenets.cli.options import given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser
from mobilenets.errors import InputError

# What has no meaning for millions of pictures, and what has none without them.
_ALONE = ("explain", "sheet", "ids", "language")
_MANY = ("workers", "batch", "part", "timeout", "column", "ray_address")
SHOWN = 5


def add_arguments(parser: Parser) -> None:
    """Add what is for whole collections."""
    add = parser.add_argument_group("for millions of pictures (docs/predict-many.md)").add_argument
    add(
        "--engine",
        choices=("local", "ray"),
        help="answer a folder, shards or a list of addresses part by part into --out: by processes of this machine, or "
        "on a Ray cluster; run it again to go on",
    )
    add("--workers", type=int, metavar="N", help="processes, or actors (default: one per core)")
    add("--batch", type=int, metavar="N", help="pictures in one run of the network (default: 32)")
    add("--part", type=int, metavar="N", help="pictures in a part, each one file of answers (default: 2000)")
    add("--timeout", type=float, metavar="S", help="seconds that a picture may take (default: 60)")
    add("--column", metavar="NAME", help="the column of a list in Parquet or CSV that has the paths")
    add("--ray-address", metavar="A", help="of a Ray cluster, auto for the one running here (default: start one)")


def refuse_alone(options: Namespace) -> None:
    """Refuse what only counts with ``--engine``."""
    asked = [name for name in _MANY if getattr(options, name) is not None]
    if options.format in FORMATS:
        raise InputError(f"--format {options.format} is for whole collections: add --engine local, and --out FOLDER")
    if asked:
        raise InputError(f"--{asked[0].replace('_', '-')} only counts with --engine local or ray")


def run(options: Namespace) -> int:
    """Exit status 1 when a picture could not be read, or a part not be answered for."""
    from mobilenets.verbs.predict_many import predict_many

    if options.out is None:
        raise InputError("--engine writes files of answers: give --out FOLDER")
    if len(options.pictures) != 1 or options.pictures[0] == "-":
        raise InputError("--engine takes one source: a folder, a folder of shards, or a list of paths or addresses")
    if options.format not in (None, *FORMATS):
        raise InputError(f"--format {options.format} is for single pictures: with --engine give parquet or jsonl")
    for name in _ALONE:
        if getattr(options, name) is not None:
            raise InputError(f"--{name} is for single pictures: leave it out with --engine")
    if options.device not in ("auto", "cpu"):
        raise InputError(f"--device {options.device}: --engine answers on the CPU, without PyTorch; leave it out")
    settings = given(options, "engine", "format", "runtime", "top", "threshold", *_MANY, "threads")
    settings = {name: value for name, value in settings.items() if value is not None}
    result = predict_many(options.model, options.pictures[0], options.out, **settings)
    print_result(options, result, words)
    return int(result["bad"] > 0 or result["failed_parts"] > 0)


def words(result: dict[str, Any]) -> str:
    """Say what came of it."""
    now = result["answered_now"]
    speed = (
        f", {now:,} now in {duration(result['seconds'])} ({result['images_per_second']:g} per second)" if now else ""
    )
    lines = [f"{counted(result['pictures'], 'picture')} in {counted(result['parts'], 'part')}{speed}"]
    best = list(result["classes"].items())
    shown = ", ".join(f"{printable(name)} {count:,}" for name, count in best[:SHOWN])
    more = f" and {len(best) - SHOWN} more classes" if len(best) > SHOWN else ""
    lines += [f"{shown}{more}"] if best else []
    if result["none_of_these"]:
        lines.append(f"none of these: {result['none_of_these']:,}")
    if result["bad"]:
        lines.append(f"{result['bad']:,} could not be answered:")
        lines += [printable(f"  {one['image']}: {one['error']}") for one in result["first_bad"][:SHOWN]]
    if result["failed_parts"]:
        lines.append(f"{counted(result['failed_parts'], 'part')} failed; run the same command again to try once more:")
        lines += [printable(f"  {one['part']}: {one['reason']}") for one in result["failed"][:SHOWN]]
    return "\n".join([*lines, f"answers in {printable(result['answers'])}"])
