"""A setting of a recipe: its default, range and help."""

from __future__ import annotations

import os
from dataclasses import field
from typing import Any

from mobilenets.errors import InputError


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    low: float | None = None,
    high: float | None = None,
    open_low: bool = False,
    open_high: bool = False,
    auto: bool = False,
) -> Any:
    """Describe one setting; with ``auto`` it is None until ``mobilenets.training.auto`` has filled it in."""
    bounds = {"low": low, "high": high, "open_low": open_low, "open_high": open_high}
    return field(default=default, metadata={"help": help, "choices": choices, "auto": auto, **bounds})


def paths(name: str, value: Any) -> list[str]:
    """Return one path, or several, as a list of texts."""
    given = value if isinstance(value, list) else [value]
    if not given or not all(isinstance(one, (str, os.PathLike)) and os.fspath(one) for one in given):
        raise InputError(f"{name} {value!r}: give the path of a model, or a list of such")
    return [os.fspath(one) for one in given]
