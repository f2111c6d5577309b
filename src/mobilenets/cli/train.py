"""``mobilenets train``."""

from __future__ import annotations

import argparse
import dataclasses
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mobilenets.base.files import DiskFull
from mobilenets.base.progress import about, duration
from mobilenets.base.shell import quote
from mobilenets.cli.boxes_text import headline_of_boxes
from mobilenets.cli.options import add_data
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import headline, leak, notes, percent
from mobilenets.training.recipe import Recipe, parse_setting
from mobilenets.training.recipes import RECIPES

# The settings of ``train --help``; ``--help-all`` has the others too.
MAIN_SETTINGS = (
    *("minutes", "model", "width", "size", "weights", "freeze", "augment", "epochs", "batch", "lr"),
    *("folds", "seeds", "teacher"),
)
_SEVERAL = ("teacher",)
_KINDS = {"int": "N", "float": "X", "text": "NAME"}
_METAVARS = {
    "weights": "auto|none|imagenet|MODEL|FILE",
    "freeze": "auto|none|backbone|N",
    "table": "FILE",
    "minutes": "M",
    "groups": "copies|FILE|PATTERN",
    "fixes": "FILE",
    "teacher": "MODEL",
    "unlabelled": "FOLDER",
}


def _arguments(parser: Parser) -> None:
    add = parser.add_argument
    add_data(parser)
    add("--out", metavar="RUN", help="run folder to write (default: the next free runs/DATA-N)")
    add("--recipe", metavar="NAME|FILE", help=f"settings to start from: {', '.join(RECIPES)}, or a recipe.json")
    add("--resume", action="store_true", help="continue the run in RUN (default: the newest unfinished run on DATA)")
    more = "" if parser.everything else "; --help-all shows the rest"
    group = parser.add_argument_group(
        "settings", f"each overrides the recipe; the defaults are those of the recipe photos{more}"
    )
    for field in sorted(dataclasses.fields(Recipe), key=lambda field: field.name not in MAIN_SETTINGS):
        add_setting(group, field, parser.everything or field.name in MAIN_SETTINGS)


def add_setting(group: Any, field: dataclasses.Field[Any], shown: bool) -> None:
    """Add one setting of the recipe, in the help where it is ``shown``; one that is not given is left out."""
    default = "auto" if field.metadata["auto"] else field.default
    if isinstance(default, bool):
        default = "yes" if default else "no"
    elif isinstance(default, float):
        default = f"{default:g}"
    settings: dict[str, Any] = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    if shown:
        settings["help"] = f"{field.metadata['help']} (default: {str(default).lower()})"
    if isinstance(field.default, bool):
        settings["action"] = argparse.BooleanOptionalAction
    else:
        parse = settings["type"] = parse_setting(field.name)
        choices = field.metadata["choices"] or (_KINDS[parse.__name__],)
        settings["metavar"] = _METAVARS.get(field.name) or "|".join(choices)
        if field.name in _SEVERAL:
            settings |= {"nargs": "+", "action": "extend"}
    group.add_argument(f"--{field.name.replace('_', '-')}", **settings)


def _run(options: Namespace) -> int:
    began = time.monotonic()  # before PyTorch is loaded, which takes seconds
    from mobilenets.runs.folder import run_folder
    from mobilenets.runs.record import RECIPE, SEEDS
    from mobilenets.training.joining import one_voice
    from mobilenets.verbs.train import train_since

    names = [field.name for field in dataclasses.fields(Recipe)]
    settings = {name: getattr(options, name) for name in names if hasattr(options, name)}
    with one_voice() as processes:
        if not processes.first:
            train_since(began, options.data, options.out)
            return 0
        program = "mobilenets" if processes.count == 1 else "torchrun … -m mobilenets"
        with run_folder(options.data, options.out, options.resume) as out:
            again = f"{program} train {quote(options.data)} --out {quote(str(out))} --resume"
            with resumable(again, out / RECIPE, out / SEEDS):
                result = train_since(began, options.data, out, recipe=options.recipe, resume=options.resume, **settings)
    print_result(options, result | {"data": options.data}, trained)
    return 0


@contextmanager
def resumable(command: str, *marks: Path) -> Iterator[None]:
    """Say at Ctrl-C, or a full disk, how to continue; one of ``marks`` exists when there is something to continue."""
    try:
        yield
    except DiskFull as full:
        way = command if any(mark.exists() for mark in marks) else "run the same command again with --resume"
        raise DiskFull(full.path, full.reason, f"free some space, then: {way}") from full
    except KeyboardInterrupt:
        if not any(mark.exists() for mark in marks):
            raise KeyboardInterrupt("stopped before anything was done: run the same command again") from None
        raise KeyboardInterrupt(f"stopped; what was done is kept; to continue: {command}") from None


def trained(result: dict[str, Any]) -> str:
    """What came out, where it is, and what to type next."""
    run, pictures = quote(result["run"]), quote(str(Path(result["data"])))
    steps = result.get("next_steps", [])
    epochs = "1 epoch" if result["epochs"] == 1 else f"{result['epochs']} epochs"
    told = result.get("forecast_seconds")
    total = duration(result["total_seconds"]) + ("" if told is None else f" ({about(told)} expected)")
    kept = f"model of epoch {result['epoch']}" if result["epoch"] else "the weights it started from were kept"
    how = "--out seen" if "ap" in result else "--top 3"
    if "://" in pictures:  # an address of shards
        how = "--engine local --out answers"
    return "\n".join(
        [
            *leak(result),
            headline_of_boxes(result) if "ap" in result else headline(result),
            f"{epochs}, {kept}; {total} in all, {duration(result['seconds'])} of it training",
            *_before(result),
            *notes(result),
            *(["", "What would help next:"] if steps else []),
            *(f"  {number}. {step}" for number, step in enumerate(steps, 1)),
            "",
            f"The run:     {result['run']}",
            f"The report:  {result['report']}",
            "Next:",
            f"  mobilenets predict {run} {pictures} {how}",
            f"  mobilenets serve {run}    # a page to try it on",
            f"  mobilenets export {run}   # a file for a phone, a browser or a server",
        ]
    )


def _before(result: dict[str, Any]) -> list[str]:
    """The model that training began with, on the same pictures."""
    before = result.get("before")
    if before is None:
        return []
    low, high = before["change_interval"]
    images = f"the {before['images']} pictures"
    if len(before["classes"]) < len(result["classes"]):
        images += f" of the {len(before['classes'])} classes it knows"
    if result["seen_by_source"]:
        images += " that it did not learn from"
    change = f"{100 * before['change']:+.2f} points (95 % interval {100 * low:+.2f} to {100 * high:+.2f})"
    now = f"now {percent(before['top1_now'])}, {change}: {before['gained']} newly right, {before['lost']} newly wrong"
    if not before["gained"] and not before["lost"]:
        now = "now exactly the same pictures are right"
    return [f"Before ({before['model']}): top-1 {percent(before['top1'])} on {images}; {now}"]


VERB = Verb(
    "train",
    "train a network on a folder of labelled pictures and measure it",
    "mobilenets train photos --size 160 --epochs 40",
    _arguments,
    _run,
)
