"""``mobilenets pack``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from mobilenets.base.shell import quote
from mobilenets.base.text import counted
from mobilenets.cli.options import DATA, given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb


def _arguments(parser: Parser) -> None:
    from mobilenets.datasets.shards.write import SHARD_MB

    add = parser.add_argument
    add("data", metavar="DATA", help=DATA)
    add("out", metavar="OUT", help="folder to write: tars in WebDataset's format, with an index")
    add("--shard-mb", type=float, default=SHARD_MB, metavar="N", help=f"size of a shard in MB (default: {SHARD_MB:g})")
    add("--seed", type=int, default=0, metavar="N", help="of the order in which the pictures are packed (default: 0)")
    add("--workers", type=int, metavar="N", help="threads that read pictures (default: one per core, up to 16)")


def _run(options: Namespace) -> int:
    """Exit status 1 when a picture could not be read."""
    from mobilenets.verbs.pack import pack

    result = pack(options.data, options.out, **given(options, "shard_mb", "seed", "workers"))
    print_result(options, result, packed)
    return int(any(one["kind"] == "unreadable" for one in result["problems"]))


def packed(result: dict[str, Any]) -> str:
    """What was written and what to type next."""
    splits = ", ".join(f"{number:,} {half}" for half, number in result["splits"].items())
    reused = f", {result['reused']} of them finished before" if result["reused"] else ""
    left = sum(one["kind"] == "unreadable" for one in result["problems"])
    bad = f"\n{counted(left, 'picture')} could not be read: left out" if left else ""
    return (
        f"{counted(result['samples'], 'picture')} ({splits}) of {len(result['classes'])} classes in "
        f"{counted(result['shards'], 'shard')}{reused}, {result['bytes'] / 1e6:.1f} MB, in {result['folder']}{bad}\n"
        f"Next:  mobilenets train {quote(result['folder'])}"
    )


VERB = Verb(
    "pack",
    "write a folder of pictures as shards, for sets too large for one disk or one machine",
    "mobilenets pack photos shards",
    _arguments,
    _run,
)
