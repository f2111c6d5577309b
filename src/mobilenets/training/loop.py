"""The training loop. Whatever it draws at random follows from the seed and the step, so any step can be repeated."""

from __future__ import annotations

import copy
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mobilenets.base.files import write_text
from mobilenets.base.progress import Progress, duration, progress
from mobilenets.datasets.loader import Batch, Batches, shuffled
from mobilenets.errors import FaultFound
from mobilenets.measure.evaluate import evaluate_samples, to_tensor
from mobilenets.measure.metrics import Evaluation
from mobilenets.models.network import Network
from mobilenets.models.saved import save_weights
from mobilenets.runtime.bundle import WEIGHTS
from mobilenets.training import checkpoint
from mobilenets.training.checkpoint import State
from mobilenets.training.epochs import EpochTable
from mobilenets.training.history import HISTORY, history_csv
from mobilenets.training.keep import best_epoch
from mobilenets.training.norms import ENOUGH_STEPS, free_norms, with_measured_norms
from mobilenets.training.optimizer import build_optimizer
from mobilenets.training.recipe import Recipe
from mobilenets.training.stages import Stage, stages

log = logging.getLogger("mobilenets")

CHECKPOINT_SECONDS = 600.0


@dataclass
class Training:
    """One run: a network, its pictures and its recipe, writing into the folder ``run``.

    ``root`` is the folder that pictures are named relative to; ``frozen`` are the modules that keep their weights
    and their BatchNorm statistics. ``start`` counts the blocks whose outputs the batches hold instead of pictures.
    ``measure_before``: the network knows these classes already, so it is measured before the first epoch.
    ``stage``: the epochs of the run that this training makes; the last of the recipe's by default.
    ``began`` is when the run was started, by ``time.monotonic``: before its pictures were read.
    """

    network: Network
    recipe: Recipe
    train: Batches
    validation: Batches
    classes: tuple[str, ...]
    root: Path
    run: Path
    device: torch.device
    frozen: tuple[nn.Module, ...] = ()
    start: int = 0
    measure_before: bool = False
    stage: Stage | None = None
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Prepare what does not change from step to step."""
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.requires_grad_(True)
        for module in self.frozen:
            module.requires_grad_(False)
        self.average = copy.deepcopy(self.network).requires_grad_(False) if self.recipe.ema else None
        self.optimizer = build_optimizer(self.recipe, self.network)
        self.labels = [sample.label for sample in self.train.samples]
        self.class_weights = self._class_weights()
        stage = self.stage or stages(self.recipe, len(self.labels))[-1]
        self.first, self.last, self.rate = stage.first, stage.last, stage.rate
        self.steps, self.epochs, self.steps_per_epoch = stage.steps, stage.epochs, stage.steps_per_epoch
        self.table = EpochTable(self.epochs, self.last)
        self.precision = precision_of(self.recipe.precision, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision is torch.float16)

    def fit(self) -> State:
        """Train to the end of the stage, from the run's checkpoint if it has one; returns how it went.

        Raises
        ------
        FaultFound
            The loss is not finite.
        KeyboardInterrupt
            Ctrl-C or SIGTERM; the checkpoint then holds every step done.

        """
        state = State()
        if checkpoint.exists(self.run):
            state = self._taken_up()
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), _stop_requests() as stopped:
            if not checkpoint.exists(self.run):
                self._start_from(state)
            while state.epoch < self.last and not state.finished:
                self._epoch(state, stopped)
                if stopped():
                    raise KeyboardInterrupt
        return state

    def _start_from(self, state: State) -> None:
        """Measure the model that training starts from, where it knows these classes; it then competes as epoch 0."""
        if self.measure_before:
            state.before = self._top1_before()
        if state.before is not None and self.recipe.keep == "best":
            save_weights(self.run / WEIGHTS, self.network.state_dict())

    def _taken_up(self) -> State:
        """Take up the run where its checkpoint left it, or with the weights that the stage before ended with."""
        state = checkpoint.peek(self.run)
        if (state.epoch, state.step) == (self.first, 0) and self.first > 0:
            checkpoint.restore_network(self.run, self.network)
            if self.average is not None:
                self.average.load_state_dict(self.network.state_dict())
            return state
        state = checkpoint.restore(self.run, self.network, self.average, self.optimizer)
        if state.scaler:
            self.scaler.load_state_dict(state.scaler)
        if state.finished:
            log.info("training is already finished; measuring again")
        else:
            log.info("continuing from epoch %d, step %d", state.epoch + 1, state.step + 1)
        return state

    def _top1_before(self) -> float | None:
        """Measure the model that training starts from, which draws nothing at random and changes no tensor."""
        try:
            top1 = self._measure(self.network).top1
        except FaultFound:
            log.warning("before training: the network's output is not finite, so there is no baseline to compare with")
            return None
        log.info("before training: validation top-1 %.1f %%", 100 * top1)
        return top1

    def _measure(self, network: Network) -> Evaluation:
        return evaluate_samples(network, self.validation, self.classes, self.root, self.device, self.start)

    def _epoch(self, state: State, stopped: Callable[[], bool]) -> None:
        plan = shuffled(
            self.labels,
            self.recipe.batch,
            self.recipe.seed,
            state.epoch,
            balanced=self.recipe.balance == "sampling",
        )
        width = self.recipe.accumulate
        steps = min(self.steps_per_epoch, self.steps - state.epoch * self.steps_per_epoch)
        self.network.train()
        for module in self.frozen:
            module.eval()
        pictures = sum(map(len, plan[: steps * width]))
        saved = time.monotonic()
        lr = self.rate(state.epoch * self.steps_per_epoch + max(0, state.step - 1))
        with (
            closing(self.train.batches(plan[: steps * width], state.epoch, skip=state.step * width)) as batches,
            progress(f"epoch {state.epoch + 1}/{self.epochs}", pictures, "pictures", state.seen) as shown,
        ):
            while state.step < steps:
                began = time.monotonic()
                group = [next(batches) for _ in plan[state.step * width : (state.step + 1) * width]]
                lr = self._step(state, group)
                state.epoch_seconds += time.monotonic() - began
                self._show(shown, state, sum(len(batch.labels) for batch in group))
                if stopped():
                    self._save(state)
                    raise KeyboardInterrupt
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self._save(state)
                    saved = time.monotonic()
        self._close_epoch(state, lr)

    def _step(self, state: State, group: list[Batch]) -> float:
        """Make one step of the optimiser from the gradients of ``group``; returns its learning rate."""
        number = state.epoch * self.steps_per_epoch + state.step
        torch.manual_seed(self.recipe.seed * 1_000_003 + number)
        lr = self.rate(number)
        for entry in self.optimizer.param_groups:
            entry["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        pictures = sum(len(batch.labels) for batch in group)
        for batch in group:
            targets = torch.from_numpy(batch.targets).to(self.device)
            with torch.autocast(
                self.device.type,
                self.precision or torch.bfloat16,
                enabled=self.precision is not None,
            ):
                output = self.network(to_tensor(batch.images, self.device), self.start)
            loss = functional.cross_entropy(
                output.float(), targets, self.class_weights, label_smoothing=self.recipe.label_smoothing
            )
            value = loss.item()
            if not math.isfinite(value):
                raise self._diverged(f"the loss is {value} at epoch {state.epoch + 1}, step {state.step + 1}", lr)
            penalty = self.network.l2_penalty()
            share = len(batch.labels) / pictures
            total = loss if penalty is None else loss + penalty
            self.scaler.scale(total * share).backward()  # type: ignore[no-untyped-call]
            state.loss_sum += value * len(batch.labels)
            state.hits += int((output.argmax(1) == targets.argmax(1)).sum())
            state.seen += len(batch.labels)
        if self.recipe.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            since = number - self.first * self.steps_per_epoch
            _follow(self.average, self.network, self.recipe.ema or 0.0, since)
        state.step += 1
        return lr

    def _show(self, shown: Progress, state: State, count: int) -> None:
        left = (self.epochs - state.epoch) * len(self.labels) - state.seen
        eta = duration(left * state.epoch_seconds / max(1, state.seen))
        shown.advance(
            count,
            loss=f"{state.loss_sum / state.seen:.3f}",
            top1=f"{state.hits / state.seen:.3f}",
            whole_run=f"{eta} left",
        )

    def _close_epoch(self, state: State, lr: float) -> None:
        """Measure, keep the model if it is the one to keep, write the history, then the checkpoint."""
        began = time.monotonic()
        measured = self._ready_to_measure()
        try:
            scores = self._measure(measured)
        except FaultFound as fault:
            where = f"after epoch {state.epoch + 1}, step {state.step}"
            raise self._diverged(f"the network's output is not finite {where}", lr) from fault
        state.epoch += 1
        state.history.append(
            {
                "epoch": state.epoch,
                "lr": lr,
                "train_loss": state.loss_sum / state.seen,
                "train_top1": state.hits / state.seen,
                "validation_loss": scores.loss,
                "validation_top1": scores.top1,
                "validation_top5": scores.top5,
                "images_per_second": state.seen / state.epoch_seconds,
            }
        )
        pictures = len(self.validation.samples)
        better = best_epoch(state.history, pictures, state.before) == state.epoch
        if better:
            state.best_epoch = state.epoch
        if better or self.recipe.keep == "last":
            save_weights(self.run / WEIGHTS, measured.state_dict())
        # Among the epochs alone: the first steps may undo what the start knew before they do better.
        best_trained = best_epoch(state.history, pictures)
        stale = state.epoch - max(best_trained, self.first)
        state.finished = state.epoch >= self.epochs or stale >= (self.recipe.patience or math.inf)
        took = state.epoch_seconds + time.monotonic() - began
        state.seconds += took
        state.step = state.hits = state.seen = 0
        state.loss_sum = state.epoch_seconds = 0.0
        write_text(self.run / HISTORY, history_csv(state.history))
        self._save(state)
        self.table.add(state.history[-1], took, best=better and self.recipe.keep == "best")
        if stale >= (self.recipe.patience or math.inf):
            log.info("no improvement for %d epochs: stopped early; epoch %d was best", stale, best_trained)

    def _ready_to_measure(self) -> Network:
        """Return the model to measure and keep: BatchNorm's statistics measured anew, where they lag behind."""
        network = self.average or self.network
        if self.steps_per_epoch >= ENOUGH_STEPS:
            return network
        free = free_norms(self.network, self.frozen)
        return with_measured_norms(network, free, self.train, self.recipe.seed, self.device, self.start)

    def _diverged(self, what: str, lr: float) -> FaultFound:
        flag = "--head-lr" if self.last < self.epochs else "--lr"
        return FaultFound(
            f"{what} (learning rate {lr:.3g}): train again with another --out and {flag} {self.recipe.lr / 10:.3g} "
            "or --clip 1"
        )

    def _save(self, state: State) -> None:
        state.scaler = self.scaler.state_dict()
        now = time.monotonic()
        state.total_seconds += now - self.began
        self.began = now
        checkpoint.save(self.run, state, self.network, self.average, self.optimizer)

    def _class_weights(self) -> torch.Tensor | None:
        """Weight classes by 1 / pictures, so scaled that a training picture weighs 1 on average."""
        if self.recipe.balance != "weights":
            return None
        counts = np.bincount(self.labels, minlength=self.train.classes)
        weights = np.where(counts > 0, len(self.labels) / ((counts > 0).sum() * np.maximum(counts, 1)), 0.0)
        return torch.tensor(weights, dtype=torch.float32, device=self.device)


def precision_of(wish: str, device: torch.device) -> torch.dtype | None:
    """Return the type of mixed precision, or None for float32 throughout."""
    if wish == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[wish]


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the network; early steps count more, so that it forgets the random start."""
    decay = min(decay, (1 + step) / (10 + step))
    given = network.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(given[name], 1 - decay)
        else:
            value.copy_(given[name])


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request that is met between two steps; the second acts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = False
    former: dict[int, Any] = {}

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        asked = True
        for one, handler in former.items():
            signal.signal(one, handler)
        # A note that this very signal broke into cannot be begun again.
        with suppress(RuntimeError):
            log.info("stopping after this step; press Ctrl-C again to stop at once")

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        former[number] = signal.signal(number, ask)
    try:
        yield lambda: asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
