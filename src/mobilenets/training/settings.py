"""The settings of ``train`` for editors, type checkers and ``help()``; ``Recipe`` is where each is defined.

``Settings`` repeats the names and types of ``Recipe``'s fields, because type checkers read them from the text; a test
compares the two.
"""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

from mobilenets.training.recipe import Recipe

Function = TypeVar("Function", bound=Callable[..., Any])


class Settings(TypedDict, total=False):
    """Settings of a recipe, each to be given or not."""

    task: str
    model: str
    width: float
    size: int
    variant: str
    table: str | list[Any] | dict[str, Any] | None
    dropout: float | None
    weights: str
    freeze: str
    augment: str | list[Any]
    views: int
    mixup: float
    cutmix: float
    resize: str
    crop_fraction: float
    interpolation: str
    validation_share: float
    groups: str | None
    fixes: str | list[Any] | None
    balance: str
    max_unreadable: float
    max_bad: float
    epochs: int
    head_epochs: int
    minutes: float | None
    steps: int | None
    batch: int
    accumulate: int
    patience: int | None
    folds: int | None
    seeds: int | None
    keep: str
    optimizer: str
    lr: float
    head_lr: float
    momentum: float
    nesterov: bool
    weight_decay: float
    schedule: str
    warmup: float
    final_lr: float
    decay: float
    decay_epochs: float
    power: float
    label_smoothing: float
    box_loss: str
    clip: float | None
    ema: float | None
    sparsity: float | None
    sparsity_pattern: str
    teacher: str | list[Any] | None
    unlabelled: str | None
    temperature: float
    soft_share: float
    soft_loss: str
    feature_weight: float
    sync_bn: bool
    self_test: bool
    seed: int
    split_seed: int | None
    precision: str
    device: str
    threads: int | None
    workers: int | None


def spelled_out(function: Function) -> Function:
    """Give a function that takes ``**settings`` of a recipe a signature and a docstring that name each of them."""
    signature = inspect.signature(function)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    fields = dataclasses.fields(Recipe)
    settings = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in fields
    ]
    function.__signature__ = signature.replace(parameters=[*own, *settings])  # type: ignore[attr-defined]
    if function.__doc__:  # python -OO has none
        lines = [described(field) for field in fields]
        function.__doc__ = f"{inspect.cleandoc(function.__doc__)}\n\nSettings\n--------\n" + "\n".join(lines)
    return function


def described(field: dataclasses.Field[Any]) -> str:
    """Describe one setting, as ``help(mobilenets.train)`` shows it."""
    choices = field.metadata["choices"]
    listed = f" ({', '.join(choices)})" if choices else ""
    words = f"{field.metadata['help']}{listed}; default {field.default!r}"
    return f"{field.name}:\n" + textwrap.indent(textwrap.fill(words, 100), "    ")
