from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import mobilenets
from mobilenets.bench.candidates import NAMES
from mobilenets.cli import train
from mobilenets.cli.train import MAIN_SETTINGS
from mobilenets.cli.verbs import GROUPS, build_parser
from mobilenets.datasets.known import KNOWN
from mobilenets.exports.catalog import FORMATS
from mobilenets.models.catalog import CATALOG
from mobilenets.training.recipe import Recipe
from mobilenets.training.recipes import RECIPES

VERBS = [
    "demo",
    "fetch",
    "train",
    "evaluate",
    "predict",
    "export",
    "summary",
    "benchmark",
    "compare",
    "audit",
    "check",
    "shrink",
    "prune",
    "quantize",
    "sparsify",
    "tune",
]


def test_help_names_the_verbs(command: Any) -> None:
    status, out, err = command("--help")
    assert (status, err) == (0, "")
    assert all(re.search(rf"^  {verb}\s", out, re.MULTILINE) for verb in VERBS)
    # The first that is listed is the first that is wanted.
    assert re.findall(r"^  (\w+)  ", out, re.MULTILINE)[:3] == ["train", "predict", "export"]


def test_the_name_alone_shows_the_help(command: Any) -> None:
    assert command() == command("--help")


@pytest.mark.parametrize("words", ["help", "-h", "--help"])
def test_help_is_asked_for_in_several_ways(words: str, command: Any) -> None:
    assert command(words).out == command("--help").out
    assert command(words, "train").out == command("train", "--help").out


def test_all_help_is_asked_for_before_or_behind_the_verb(command: Any) -> None:
    assert command("--help-all") == command("--help")
    assert command("--help-all", "train") == command("train", "--help-all")
    assert len(command("--help-all", "train").out) > 2 * len(command("train", "--help").out)


def test_every_verb_is_registered_once(command: Any) -> None:
    names = [verb.name for group in GROUPS.values() for verb in group]
    assert sorted(names) == sorted(set(names)) and set(VERBS) < set(names)
    files = {path.stem for path in Path(train.__file__).parent.glob("*.py")}
    assert {"import_weights" if name == "import" else name for name in names} <= files
    assert re.findall(r"^  (\w+)  ", command("--help").out, re.MULTILINE) == names


def test_names_come_from_their_tables(command: Any) -> None:
    for verb, names in (("summary", CATALOG), ("compare", NAMES), ("fetch", KNOWN), ("export", FORMATS)):
        words = command(verb, "--help").out.split()
        assert {name.strip(",") for name in words} >= set(names)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_has_an_example_that_works(verb: str, command: Any) -> None:
    status, out, err = command(verb, "--help")
    assert (status, err) == (0, "")
    assert "--json" in out
    assert "%%" not in out and "?." not in out
    example = " ".join(out.rpartition("example: ")[2].split())
    words = shlex.split(example)
    assert words[:2] == ["mobilenets", verb]
    assert build_parser().parse_args(words[1:]).verb == verb


def test_every_setting_is_a_flag(command: Any) -> None:
    words = command("train", "--help-all").out
    for field in dataclasses.fields(Recipe):
        assert f"--{field.name.replace('_', '-')}" in words
    assert all(name in words for name in RECIPES)


def test_help_of_train_has_those_that_matter(command: Any) -> None:
    short, whole = command("train", "--help").out, command("train", "--help-all").out
    flags = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(Recipe)}
    shown = {flag for flag in flags if re.search(rf"^  {flag}\b", short, re.MULTILINE)}
    assert shown == {f"--{name}" for name in MAIN_SETTINGS} and len(shown) == 13
    assert "--help-all shows the rest" in short and "--help-all" not in whole
    assert command("predict", "--help-all") == command("predict", "--help")


def test_only_given_settings_are_handed_on() -> None:
    options = build_parser().parse_args(["train", "photos", "--out", "run", "--epochs", "3", "--clip", "none"])
    given = {field.name for field in dataclasses.fields(Recipe) if hasattr(options, field.name)}
    assert given == {"epochs", "clip"}
    assert (options.epochs, options.clip) == (3, None)


def test_version(command: Any) -> None:
    for word in ("--version", "version", "-V"):
        assert command(word) == (0, f"mobilenets {mobilenets.__version__}\n", "")


def test_several_teachers() -> None:
    words = ["train", "photos", "--teacher", "big", "other", "--teacher", "third", "--seed", "1"]
    assert build_parser().parse_args(words).teacher == ["big", "other", "third"]
