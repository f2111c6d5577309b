"""Every word that is explained leads to a setting or a flag that there is."""

from __future__ import annotations

import dataclasses

from mobilenets.cli.parser import _VERBS
from mobilenets.cli.verbs import build_parser
from mobilenets.training.recipe import Recipe
from mobilenets.training.synonyms import _WORDS, ours


def test_every_word_leads_somewhere() -> None:
    settings = {field.name for field in dataclasses.fields(Recipe)}
    flags = {"out", "resume", "top", "int8", "float16", "threshold", "explain", "format"}
    assert {name.partition("=")[0] for name in _WORDS} <= settings | flags
    words = [word for theirs in _WORDS.values() for word in theirs.split()]
    assert not set(words) & settings  # or a right flag would be explained


def test_only_what_the_verb_has() -> None:
    assert ours("--fp16", ["precision"]) == ("precision", "float16")
    assert ours("fp16", ["float16", "out"]) == ("float16", "")
    assert ours("imgsz", ["out"]) is None


def test_every_verb_of_others_leads_to_one_of_ours() -> None:
    ours_ = build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    assert set(_VERBS.values()) <= set(ours_)
    assert not set(_VERBS) & set(ours_)
