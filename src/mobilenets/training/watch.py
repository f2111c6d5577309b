"""Whoever wants to hear of a training's epochs, and may end it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from mobilenets.training.checkpoint import State

# Takes how a training has come so far, after an epoch whose checkpoint is written; what it raises ends the training.
Watcher = Callable[[State], None]

_watcher: ContextVar[Watcher | None] = ContextVar("mobilenets_watcher", default=None)


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Tell ``watcher`` of every epoch of the trainings in the block."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def epoch_done(state: State) -> None:
    """Tell the watcher, if there is one."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(state)
