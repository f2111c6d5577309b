"""The training loop. Whatever is drawn at random follows from the seed and the step, so any step can be repeated."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import torch

from mobilenets.base.files import write_text
from mobilenets.base.notes import log
from mobilenets.base.progress import Progress, duration, progress
from mobilenets.datasets.loader import Batch, Batches, shards_of, shuffled
from mobilenets.errors import FaultFound, InputError, LostProcess
from mobilenets.models.network import Network
from mobilenets.models.saved import save_weights
from mobilenets.runtime.bundle import WEIGHTS
from mobilenets.tasks.base import Evaluation
from mobilenets.training import checkpoint
from mobilenets.training.checkpoint import State
from mobilenets.training.epochs import HISTORY, EpochTable, epoch_done, history_csv
from mobilenets.training.keep import best_epoch
from mobilenets.training.norms import ENOUGH_STEPS
from mobilenets.training.pace import Pace
from mobilenets.training.processes import ALONE, Processes
from mobilenets.training.stages import Stage
from mobilenets.training.steppers.plain import PlainStepper
from mobilenets.training.stop import stop_requests
from mobilenets.training.validation import Validation

CHECKPOINT_SECONDS = 600.0


class Scores(Protocol):
    """What an epoch is judged by."""

    @property
    def images(self) -> Sequence[str]:
        """The pictures that were asked about."""

    @property
    def metrics(self) -> dict[str, float]:
        """The figures of an epoch in ``history.csv``."""


# Takes the number of an epoch, from 1, and what measures the network on the validation pictures.
Judge: TypeAlias = Callable[[int, Callable[[], Evaluation]], Scores]


@dataclass
class Training:
    """One stage of a run, writing into the folder ``run``.

    It plans the batches of ``train``, lets ``stepper`` make the steps, measures, and keeps history and checkpoint.
    ``measure_before``: the network knows its task already, so it is measured before the first epoch.
    ``began`` is when the run was started, by ``time.monotonic``: before its pictures were read.
    ``pace`` moves the end of the stage where the run has to end by some time.
    ``judge`` gives the scores of an epoch where these are not just measured. ``processes`` make the run together, each
    with a stepper and ``train`` of its own for its slice of every batch; all else is the same in all of them.
    """

    stepper: PlainStepper
    stage: Stage
    train: Batches
    validation: Validation
    run: Path
    measure_before: bool = False
    began: float = field(default_factory=time.monotonic)
    pace: Pace | None = None
    judge: Judge | None = None
    processes: Processes = ALONE

    def __post_init__(self) -> None:
        """Prepare what does not change from step to step."""
        self.recipe, self.metric = self.stage.recipe, self.validation.task.metric
        self.folders = [sample.label for sample in self.train.samples]
        self.shards = shards_of(self.train.samples)
        self.table = EpochTable(self.stage.epochs, self.stage.last, self.metric, self.pace is not None)

    def fit(self) -> State:
        """Train to the end of the stage, from the run's checkpoint if it has one; returns how it went.

        Raises
        ------
        FaultFound
            The loss is not finite.
        KeyboardInterrupt
            Ctrl-C or SIGTERM; the checkpoint then holds every step done.

        """
        state = self._taken_up()
        device = self.validation.device
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), stop_requests(alone=self.processes.count == 1) as asked:
            stopped = self.processes.agreeing(asked)
            if state is None:
                state = self._begun()
            while state.epoch < self.stage.last and not state.finished:
                if self.pace is not None and self.pace.over() and state.epoch > 0 and not state.step:
                    state.finished = True
                    self._save(state)
                    break
                try:
                    self._epoch(state, stopped)
                except (InputError, LostProcess):  # between two steps, or as if the one under way had not begun
                    self._save(state)
                    raise
                if stopped():
                    raise KeyboardInterrupt
        return state

    def _taken_up(self) -> State | None:
        """Take up the run where its checkpoint left it; None where there is none."""
        if not checkpoint.exists(self.run):
            return None
        state = checkpoint.peek(self.run)
        if (state.epoch, state.step) == (self.stage.first, 0) and self.stage.first > 0:
            return state  # of the stage before; the network came with its weights
        checkpoint.restore(self.run, self.stepper)
        if state.finished:
            log.info("training is already finished; measuring again")
        else:
            log.info("continuing from epoch %d, step %d", state.epoch + 1, state.step + 1)
        return state

    def _begun(self) -> State:
        """Measure the model that training starts from, where it knows its task; it then competes as epoch 0."""
        state = State(before=self._value_before() if self.measure_before else None)
        if state.before is not None and self.recipe.keep == "best":
            save_weights(self.run / WEIGHTS, self.stepper.network.kept().state_dict())
        return state

    def _value_before(self) -> float | None:
        """Measure the model that training starts from, which draws nothing at random and changes no tensor."""
        try:
            value = self.validation.measure(self.stepper.network).metrics[self.metric.name]
        except FaultFound:
            log.warning("before training: the network's output is not finite, so there is no baseline to compare with")
            return None
        log.info("before training: validation %s %s", self.metric.words, self.metric.shown(value))
        return value

    def _epoch(self, state: State, stopped: Callable[[], bool]) -> None:
        stage, width = self.stage, self.recipe.accumulate
        begin = state.epoch * stage.steps_per_epoch
        balanced = self.recipe.balance == "sampling"
        plan = shuffled(
            self.folders, self.recipe.batch, self.recipe.seed, state.epoch, balanced=balanced, shards=self.shards
        )
        if self.pace is None:  # which may move the end, also further away
            plan = plan[: (stage.steps - begin) * width]
        rate = stage.rate(begin + max(0, state.step - 1))
        saved = time.monotonic()
        with (
            closing(self.train.batches(plan, state.epoch, skip=state.step * width)) as batches,
            progress(f"epoch {state.epoch + 1}/{stage.epochs}", sum(map(len, plan)), "pictures", state.seen) as shown,
        ):
            while state.step < min(stage.steps_per_epoch, self.stage.steps - begin):
                began = time.perf_counter()  # the other clock ticks every 16 ms on Windows before Python 3.13
                group = [next(batches) for _ in plan[state.step * width : (state.step + 1) * width]]
                rate = self._step(state, group)
                took = time.perf_counter() - began
                state.epoch_seconds += took
                self._show(shown, state, sum(batch.pictures for batch in group))
                self._look(state, begin + state.step, took)
                if stopped():
                    self._save(state)
                    raise KeyboardInterrupt
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self._save(state)
                    saved = time.monotonic()
        self._close_epoch(state, rate)

    def _step(self, state: State, group: list[Batch]) -> float:
        """Have one step made and count it; returns its learning rate."""
        number = state.epoch * self.stage.steps_per_epoch + state.step
        rate, count = self.stage.rate(number), sum(batch.pictures for batch in group)
        sums = self.stepper.step(group, number, rate)
        loss = sums["loss"] / count
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss} at epoch {state.epoch + 1}, step {state.step + 1}", rate)
        state.sums = {name: state.sums.get(name, 0) + value for name, value in sums.items()}
        state.seen += count
        state.step += 1
        return rate

    def _look(self, state: State, done: int, seconds: float) -> None:
        """Look at the clock after a step that took so long, where the run has to end by some time."""
        if self.pace is None:
            return
        self.pace.stepped(seconds)
        moved = self.pace.look(done)
        if moved is not None:
            state.ends.append(list(moved))
            self.stage = self.pace.enter(self.pace.index)
            self.table.epochs, self.table.last = self.stage.epochs, self.stage.last

    def _show(self, shown: Progress, state: State, count: int) -> None:
        left = (self.stage.epochs - state.epoch) * len(self.folders) - state.seen
        eta = duration(left * state.epoch_seconds / max(1, state.seen))
        means = {name: f"{value / state.seen:.3f}" for name, value in state.sums.items()}
        shown.advance(count, **means, whole_run=f"{eta} left")

    def _close_epoch(self, state: State, rate: float) -> None:
        """Measure, keep the model if it is the one to keep, write the history, then the checkpoint."""
        began = time.monotonic()
        measured = self._ready_to_measure()
        try:
            scores = self._scores(state.epoch + 1, measured)
        except FaultFound as fault:
            where = f"after epoch {state.epoch + 1}, step {state.step}"
            raise self._diverged(f"the network's output is not finite {where}", rate) from fault
        number, pictures = state.epoch + 1, len(scores.images)
        row = {
            "epoch": number,
            "lr": rate,
            **{f"train_{name}": value / state.seen for name, value in state.sums.items()},
            **{f"validation_{name}": value for name, value in scores.metrics.items()},
            "images_per_second": state.seen / state.epoch_seconds,
        }
        history = [*state.history, row]
        blind = self.metric.blind(len(self.validation.classes))
        better = best_epoch(history, self.metric, pictures, state.before, blind) == number
        if better or self.recipe.keep == "last":
            save_weights(self.run / WEIGHTS, measured.kept().state_dict())
        write_text(self.run / HISTORY, history_csv(history))
        # Only now: an epoch whose files cannot be written is closed anew by the run that goes on.
        state.epoch, state.history = number, history
        if better:
            state.best_epoch = number
        # Among the epochs alone: the first steps may undo what the start knew before they do better.
        best_trained = best_epoch(history, self.metric, pictures, blind=blind)
        stale = number - max(best_trained, self.stage.first)
        patience = self.recipe.patience or math.inf
        state.finished = number >= self.stage.epochs or stale >= patience
        took = state.epoch_seconds + time.monotonic() - began
        state.seconds += took
        state.step = state.seen = 0
        state.sums, state.epoch_seconds = {}, 0.0
        self._save(state)
        self.table.add(row, took, best=better and self.recipe.keep == "best")
        if self.pace is not None:
            self.pace.closed(time.monotonic() - began)
        if stale >= patience:
            log.info("no improvement for %d epochs: stopped early; epoch %d was best", stale, best_trained)
        epoch_done(state)

    def _scores(self, epoch: int, network: Network) -> Scores:
        def measure() -> Evaluation:
            return self.validation.measure(network)

        return measure() if self.judge is None else self.judge(epoch, measure)

    def _ready_to_measure(self) -> Network:
        """Return the model to measure and keep: BatchNorm's statistics measured anew, where they lag behind."""
        result = self.stepper.result
        if self.stage.steps_per_epoch >= ENOUGH_STEPS:
            return result
        return self.validation.with_norms(result, self.stepper.network)

    def _diverged(self, what: str, rate: float) -> FaultFound:
        flag = "--head-lr" if self.stage.last < self.stage.epochs else "--lr"
        return FaultFound(
            f"{what} (learning rate {rate:.3g}): train again with another --out and {flag} {self.recipe.lr / 10:.3g} "
            "or --clip 1"
        )

    def _save(self, state: State) -> None:
        now = time.monotonic()
        state.total_seconds += now - self.began
        self.began = now
        checkpoint.save(self.run, state, self.stepper.state_dict())
