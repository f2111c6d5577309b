"""``mobilenets fetch``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from mobilenets.base.shell import quote
from mobilenets.cli.options import SIZE
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import listed


def _arguments(parser: Parser) -> None:
    from mobilenets.datasets.known import KNOWN

    add = parser.add_argument
    add("name", metavar="NAME", help=listed(KNOWN))
    add("out", metavar="DIR", help="folder to write: train/ and validation/ with one folder per class")
    add("--archive", metavar="FILE", help="files that you already have, instead of a download")
    add("--size", **SIZE, help="pixels per side, resized bicubically (default: the data set's own size)")


def _run(options: Namespace) -> int:
    from mobilenets.verbs.fetch import fetch

    result = fetch(options.name, options.out, archive=options.archive, size=options.size)
    print_result(options, result, fetched)
    return 0


def fetched(result: dict[str, Any]) -> str:
    """What was written and what to type next."""
    folder = result["folder"]
    pictures = f"{result['train']} training and {result['validation']} validation pictures"
    if not result["validation"]:
        pictures = f"{result['train']} pictures"
    # Small pictures would be enlarged to the usual 224 pixels, for nothing.
    size = f" --size {result['size']}" if result["size"] <= 64 else ""
    return (
        f"{result['name']}: {pictures} of {len(result['classes'])} classes in {folder}\n"
        f"Next:  mobilenets train {quote(folder)} --out run{size}"
    )


VERB = Verb(
    "fetch",
    "write a well-known data set as folders of pictures",
    "mobilenets fetch fashion_mnist fashion --archive /usr/share/datasets/fashion-mnist",
    _arguments,
    _run,
)
