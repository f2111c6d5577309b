"""What ``train`` was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobilenets.base.notes import log
from mobilenets.base.shell import quote
from mobilenets.datasets.boxes.recognise import is_detection
from mobilenets.errors import InputError
from mobilenets.runs.record import RECIPE
from mobilenets.runtime.bundle import DETECTION
from mobilenets.training.detection.auto import refuse_unfit
from mobilenets.training.processes import ALONE, Processes
from mobilenets.training.recipe import Recipe
from mobilenets.training.recipes import load_recipe, stated


@dataclass(frozen=True)
class Request:
    """What ``train`` was asked for: a recipe, by itself, by name or in a file, and ``settings`` that differ from it.

    ``processes`` make the run together, of which the first has the request. What is not ``measured`` ends with its
    weights, as if it had been stopped there: taken up again, it is measured and reported.
    """

    data: Path
    run: Path
    recipe: Recipe | str | Path | None
    settings: Mapping[str, Any]
    resume: bool
    processes: Processes = ALONE
    measured: bool = True

    @property
    def again(self) -> str:
        """The command that trains the same anew."""
        return f"mobilenets train {quote(str(self.data))} --recipe {quote(str(self.run / RECIPE))} --out NEW"

    @property
    def stated(self) -> set[str]:
        """The names of the settings that were asked for."""
        return set(self.settings) | stated(self.recipe)

    @property
    def task(self) -> str:
        """What a run that begins is to learn."""
        return str(self.settings.get("task", load_recipe(self.recipe).task))


def looked_at(request: Request) -> Request:
    """Ask for boxes where DATA has some and the request names no task; by default with the recipe for boxes."""
    if request.resume and (request.run / RECIPE).is_file():
        return request
    settings = dict(request.settings)
    if "task" not in request.stated and is_detection(request.data):
        log.info("%s has boxes: training a detector; --task classification would learn class folders", request.data)
        settings["task"] = DETECTION
    request = replace(request, settings=settings)
    if request.task != DETECTION:
        return request
    if request.recipe is None:
        request = replace(request, recipe="boxes")
    if request.settings.get("head_lr") is not None:
        raise InputError("head_lr: a detector is trained as a whole, at one rate; leave --head-lr out")
    refuse_unfit(load_recipe(request.recipe).replace(**request.settings))
    return request
