"""``mobilenets tune``."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from pathlib import Path
from typing import Any

from mobilenets.base.shell import quote
from mobilenets.cli.compare import paired
from mobilenets.cli.notes import without_repeated
from mobilenets.cli.options import add_data, given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import interval, percent, printable, sentence, table
from mobilenets.cli.train import MAIN_SETTINGS, add_setting, resumable
from mobilenets.training.recipe import Recipe
from mobilenets.training.recipes import RECIPES

# What several trainings or a clock would settle is not for a trial.
WITHOUT = ("minutes", "folds", "seeds", "patience")
SHOWN = 10


def _arguments(parser: Parser) -> None:
    add = parser.add_argument
    add_data(parser)
    add("--trials", type=int, default=20, metavar="N", help="trials in all (default: 20)")
    add("--minutes", type=float, metavar="M", help="how long this command may take (default: until all are done)")
    add("--out", metavar="DIR", help="folder to write (default: runs/DATA-tuned)")
    add("--recipe", metavar="NAME|FILE", help=f"settings to start from: {', '.join(RECIPES)}, or a recipe.json")
    group = parser.add_argument_group("settings", "those of train; what is given is kept and not tried")
    for field in dataclasses.fields(Recipe):
        if field.name not in WITHOUT:
            add_setting(group, field, parser.everything or field.name in MAIN_SETTINGS)


def _run(options: Namespace) -> int:
    from mobilenets.verbs.tune import tune

    names = [field.name for field in dataclasses.fields(Recipe) if field.name not in WITHOUT]
    settings = {name: getattr(options, name) for name in names if hasattr(options, name)}
    # Whatever stands there, the same command takes it up.
    with without_repeated(options.json), resumable("run the same command again", Path(options.data)):
        result = tune(options.data, **given(options, "out", "trials", "minutes", "recipe"), **settings)
    print_result(options, result | {"folder": options.data}, tuned)
    return 0


def tuned(result: dict[str, Any]) -> str:
    """The best trials, what the chosen one changes, and what that is worth on pictures that it was not chosen on."""
    trials, changes = result["trials"], result["changes"]
    complete = sorted(
        (row for row in trials if row["state"] == "complete"), key=lambda row: (-row["value"], row["number"])
    )
    names = list(trials[0]["settings"])
    lines = [["trial", "validation top-1", *(name.replace("_", " ") for name in names)]]
    for row in complete[:SHOWN]:
        lines.append([str(row["number"]), percent(row["value"]), *(_said(row["settings"][name]) for name in names)])
    counts = {state: sum(row["state"] == state for row in trials) for state in ("pruned", "failed", "unfinished")}
    others = [
        f"{number} {'given up early' if state == 'pruned' else state}" for state, number in counts.items() if number
    ]
    said = [table(lines, {0, 1}), "", f"{len(complete)} trials ran to the end" + "".join(f", {one}" for one in others)]
    said += [f"trial {row['number']} failed: {printable(row['why'])}" for row in trials if row["state"] == "failed"]
    if changes:
        words = ", ".join(f"{name} {_said(after)} (was {_said(before)})" for name, (before, after) in changes.items())
        said += [f"chosen: trial {result['best']}, {words}"]
    else:
        said += ["chosen: trial 0, the recipe as it is: no other did better"]
    said += [*map(sentence, result["notes"])]
    said += ["", f"{result['images']} pictures ({result['data']}): top-1 {percent(result['top1'])}"]
    said[-1] += f"   {interval(result['top1_interval'])}"
    if result["compare"] is not None:
        said += ["", paired(result["compare"])]
    again = f"mobilenets train {quote(str(result['folder']))} --recipe {quote(result['recipe'])}"
    return "\n".join([*said, "", f"The run:   {printable(result['run'])}", f"Again:     {again}"])


def _said(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()


VERB = Verb(
    "tune",
    "try settings of the recipe on your pictures, and write the best one down",
    "mobilenets tune photos --trials 20 --minutes 60 --out tuned",
    _arguments,
    _run,
)
