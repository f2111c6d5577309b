"""A setting of a recipe: its default, range and help, and a value against these."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import field
from typing import Any, get_args

from mobilenets.errors import InputError

_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list",
    dict: "an object",
    type(None): "none",
}


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


def checked(name: str, value: Any, annotation: Any, metadata: Mapping[str, Any]) -> Any:
    """Return ``value`` as the type that a setting is annotated with; raises ``InputError`` that says what fits.

    ``metadata`` is that of its field: ``choices``, ``auto``, and the range.
    """
    kinds = get_args(annotation) or (annotation,)
    if value is None and (type(None) in kinds or metadata["auto"]):
        return None
    if type(value).__module__ == "numpy" and hasattr(value, "item") and not getattr(value, "shape", None):
        plain_value = value.item()
        # 0.35, as it is written, and not float32's neighbour of it.
        value = float(str(value)) if isinstance(plain_value, float) else plain_value
    if str in kinds and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    plain = tuple(getattr(kind, "__origin__", None) or kind for kind in kinds)
    if not isinstance(value, plain) or (isinstance(value, bool) and bool not in kinds):
        words = [_WORDS[kind] for kind in plain]
        raise InputError(f"{name} {value!r}: give {' or '.join(words)}")
    if metadata["choices"] and value not in metadata["choices"]:
        raise InputError(f"{name} {value!r}: choose {', '.join(metadata['choices'])}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = metadata["low"], metadata["high"]
        above = low is None or (value > low if metadata["open_low"] else value >= low)
        below = high is None or (value < high if metadata["open_high"] else value <= high)
        if not (math.isfinite(value) and above and below):
            raise InputError(
                f"{name} {value:g}: give a number {'above' if metadata['open_low'] else 'of at least'} {low:.12g}"
                f" and {'below' if metadata['open_high'] else 'at most'} {high:.12g}"
            )
    return value


def paths(name: str, value: Any) -> list[str]:
    """Return one path, or several, as a list of texts."""
    given = value if isinstance(value, list) else [value]
    if not given or not all(isinstance(one, (str, os.PathLike)) and os.fspath(one) for one in given):
        raise InputError(f"{name} {value!r}: give the path of a model, or a list of such")
    return [os.fspath(one) for one in given]
