"""The clock of ``--minutes``: it looks at how fast the steps are, and moves the end of a run to be in time.

The schedule of the learning rate moves with the end. Each move is written into the checkpoint, so that a run that is
taken up again repeats it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from mobilenets.training.forecast import Forecast, Part
from mobilenets.training.stages import Stage, move_end

# Of the time, what is left free, and seconds for the process itself to start and end: all of it is to be over within
# the time given.
SPARE, SPARE_SECONDS = 0.02, 1.0
# The speed is that of the last seconds: a share of the time, within bounds.
RECENT, RECENT_SECONDS = 0.04, (2.0, 60.0)
# Seconds between two looks, and the share of what is left by which the end has to move.
LOOK, WORTH = 1.0, 0.04
# A last epoch that is only begun is worth measuring from this share on.
TAIL = 0.34
# What comes after the steps is taken to be slower than expected by as much as they are, but not beyond this.
SLOWEST = 4.0
DOUBT = 1.1


class Pace:
    """Holds a run to ``deadline``, a time of ``clock``.

    ``plan`` has the stages as they now stand; the last is never moved beyond ``most`` epochs of the run. ``forecast``
    is what the parts were expected to take.
    """

    def __init__(
        self,
        plan: Sequence[Stage],
        forecast: Forecast,
        deadline: float,
        most: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan = tuple(plan)
        self._forecast, self._deadline, self._most, self._clock = forecast, deadline, most, clock
        low, high = RECENT_SECONDS
        self._recent = min(high, max(low, RECENT * seconds))
        self.index = -1
        """The stage under way."""
        self._step = self._close = 0.0  # seconds, as they are now
        self._seen, self._looked = 0, -math.inf

    def take_up(self, ends: Sequence[Sequence[int]]) -> None:
        """Repeat the moves of a run that was begun earlier."""
        for done, end in ends:
            self.plan = move_end(self.plan, done, end)

    def enter(self, index: int) -> Stage:
        """Begin a stage; returns it as it now stands."""
        if index != self.index:
            slow = self._slow()
            self.index, self._seen = index, 0
            self._step, self._close = (slow * value for value in (self._part.step, self._part.close))
        return self.plan[index]

    def over(self) -> bool:
        """Whether there is no time left for anything but the end."""
        return self._left() <= 0

    def stepped(self, seconds: float) -> None:
        """Count a step that took so long, the wait for its pictures included."""
        self._seen += 1
        # The first of a stage also starts threads and prepares kernels.
        if self._seen > 1 or seconds > self._recent / 2:
            self._step += (seconds - self._step) * (1 - math.exp(-seconds / self._recent))

    def closed(self, seconds: float) -> None:
        """Count the measuring and saving of an epoch that took so long."""
        self._close = seconds if self._close < seconds else (self._close + seconds) / 2

    def look(self, done: int) -> tuple[int, int] | None:
        """Look at the clock after ``done`` steps of the run; where the end has to move, move it and say so."""
        now, stage = self._clock(), self.plan[self.index]
        if now - self._looked < min(LOOK, self._left() / 50) or done >= stage.end:
            return None
        self._looked = now
        end = self._end(stage, done)
        if abs(end - stage.end) <= WORTH * (stage.end - done) and end > done:
            return None
        if end == stage.end:
            return None
        self.plan = move_end(self.plan, done, end)
        return done, end

    @property
    def _part(self) -> Part:
        return self._forecast.parts[self.index]

    def _slow(self) -> float:
        """How many times slower the steps are than was expected."""
        if self.index < 0 or not self._part.step:
            return 1.0
        return min(SLOWEST, max(1 / SLOWEST, self._step / self._part.step))

    def _left(self) -> float:
        """The seconds left for training: without those for the end, which other programs slow down as they do steps."""
        return self._deadline - self._clock() - DOUBT * self._forecast.finish * max(1.0, self._slow())

    def _end(self, stage: Stage, done: int) -> int:
        """Give the step at which the stage should end."""
        left, width, close = (
            self._left(),
            stage.steps_per_epoch,
            DOUBT * max(self._close, self._slow() * self._part.close),
        )
        if self.index + 1 < len(self.plan):
            later = zip(self.plan[self.index + 1 :], self._forecast.parts[self.index + 1 :], strict=False)
            slow = self._slow()
            after = sum(slow * part.seconds(one.end - one.begin, one.last - one.first) for one, part in later)
            rest = stage.end - done
            need = rest * self._step + math.ceil(rest / width) * close
            if need + after <= left:
                return stage.end
            if left <= close:
                return done
            # All that is left is shortened alike; the stages behind see to their own share when they come.
            epochs = int((done + rest * left / (need + after)) // width)
            return min(stage.end, max(epochs, done // width + 1) * width)
        begun = -done % width
        until = begun * self._step + close
        if left < until:
            return done + max(0, int((left - close) / self._step))
        fits = done + begun + steps_in(left - until, width, self._step, close)
        return min(fits, max(done, self._most * width))


def usable(seconds: float) -> float:
    """Give how much of the time that was given is planned with."""
    return max(seconds / 2, (1 - SPARE) * seconds - SPARE_SECONDS)


def steps_in(left: float, width: int, step: float, close: float) -> int:
    """Count the steps that fit into ``left`` seconds, in epochs of ``width``.

    Each step takes ``step`` seconds, and ending each epoch ``close``; so does ending one that is only begun.
    """
    whole, left = divmod(max(0.0, left), width * step + close)
    tail = max(0, int((left - close) / step))
    return int(whole) * width + (tail if tail >= TAIL * width or not whole else 0)
