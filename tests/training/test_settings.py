"""What ``train`` shows of its settings is what ``Recipe`` has."""

from __future__ import annotations

import dataclasses
import inspect
import pydoc

import mobilenets
from mobilenets.training.recipe import Recipe
from mobilenets.training.settings import Settings

FIELDS = {field.name: field for field in dataclasses.fields(Recipe)}


def test_the_names_and_types_are_the_recipes() -> None:
    found = {name: getattr(kind, "__forward_arg__", kind) for name, kind in Settings.__annotations__.items()}
    assert found == {name: field.type for name, field in FIELDS.items()}


def test_signature() -> None:
    parameters = inspect.signature(mobilenets.train).parameters
    assert list(parameters)[:4] == ["data", "out", "recipe", "resume"]
    for name, field in FIELDS.items():
        assert (parameters[name].default, parameters[name].kind.name) == (field.default, "KEYWORD_ONLY")
    assert not any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def test_help_names_each_with_its_default() -> None:
    text = " ".join(pydoc.render_doc(mobilenets.train, renderer=pydoc.plaintext).split())
    assert "The run folder to write; by default" in text
    for name, field in FIELDS.items():
        assert f" {name}: {' '.join(field.metadata['help'].split())}" in text
        assert f"default {field.default!r}" in text
