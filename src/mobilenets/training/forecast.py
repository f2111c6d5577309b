"""What a run is expected to take, in its parts; ``estimate`` measures them, ``pace`` holds the run to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mobilenets.training.stages import Stage


@dataclass(frozen=True)
class Part:
    """The seconds of one stage: ``prepare`` before its first step, each ``step``, and what ends an epoch, ``close``."""

    prepare: float
    step: float
    close: float

    def seconds(self, steps: int, epochs: int) -> float:
        """Give the seconds of so many steps in so many epochs."""
        return self.prepare + steps * self.step + epochs * self.close


@dataclass(frozen=True)
class Forecast:
    """The seconds of a run: a part for each of its stages, and ``finish``, from the last epoch to the last file."""

    parts: tuple[Part, ...]
    finish: float

    def seconds(self, plan: Sequence[Stage], done: int = 0) -> float:
        """Give the seconds of the whole run, of which ``done`` epochs lie behind."""
        total = self.finish
        for stage, part in zip(plan, self.parts, strict=False):  # the clock may have cut the plan
            epochs = stage.last - max(stage.first, done)
            if epochs > 0:
                steps = stage.end - max(stage.begin, done * stage.steps_per_epoch)
                total += part.seconds(steps, epochs)
        return total
