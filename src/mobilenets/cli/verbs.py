"""The verbs, by what one wants to do, and the parser of them all. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from mobilenets import __version__
from mobilenets.cli import (
    audit,
    benchmark,
    check,
    compare,
    demo,
    evaluate,
    export,
    fetch,
    import_weights,
    pack,
    predict,
    prune,
    quantize,
    serve,
    shrink,
    sparsify,
    summary,
    train,
    tune,
    weights,
)
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import sentence

# In the order of the help. A new verb is one line here, its module in this folder, and its function in ``verbs``.
GROUPS: Mapping[str, Sequence[Verb]] = {
    "Main commands": (train.VERB, predict.VERB, export.VERB),
    "Before training": (check.VERB, pack.VERB),
    "Make it better": (tune.VERB,),
    "Try it out": (demo.VERB, fetch.VERB),
    "Use a model": (serve.VERB,),
    "Make it smaller": (shrink.VERB, prune.VERB, quantize.VERB, sparsify.VERB),
    "Measure": (evaluate.VERB, benchmark.VERB, compare.VERB, audit.VERB, summary.VERB),
    "Weights from elsewhere": (import_weights.VERB, weights.VERB),
}


def build_parser(everything: bool = False) -> Parser:
    """Build the parser of every verb; ``everything``: the help shows what it otherwise leaves out for brevity."""
    parser = Parser(
        prog="mobilenets",
        usage="mobilenets VERB …",
        description=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="A first look:  mobilenets demo\nYour own photos:  mobilenets train PHOTOS\n"
        "Help for a verb:  mobilenets VERB --help",
    )
    parser.add_argument("--version", action="version", version=f"mobilenets {__version__}")
    verbs = parser.add_subparsers(prog="mobilenets", metavar="VERB", dest="verb", required=True, help=argparse.SUPPRESS)
    for verb in (one for group in GROUPS.values() for one in group):
        verbs.add_parser(
            verb.name,
            verb=verb,
            everything=everything,
            description=sentence(verb.about),
            epilog=f"example: {verb.example}",
        )
    return parser


def _overview() -> str:
    """List the verbs by what one wants to do, each with its line."""
    width = max(len(verb.name) for group in GROUPS.values() for verb in group)
    lines = ["From a folder of labelled photos to a small, fast, measured MobileNet."]
    for title, group in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {verb.name.ljust(width)}  {verb.about}" for verb in group)]
    return "\n".join(lines)
