"""PyTorch on the machine at hand, as a training wants it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mobilenets.base.cores import cores
from mobilenets.base.fork import forked
from mobilenets.base.memory import keeping_memory
from mobilenets.base.notes import log


@contextmanager
def machine(threads: int | None, device: torch.device) -> Iterator[None]:
    """Set PyTorch up for a training on ``device`` while the block runs."""
    with _threads(threads), keeping_memory(device.type == "cpu"), _fastest_kernels(device):
        yield


@contextmanager
def _threads(wish: int | None) -> Iterator[None]:
    """Give PyTorch this many threads while the block runs; by default no more than there are cores to use.

    It counts the cores when it is loaded, and sees no quota: eight threads on one allowed core took 6 times as long.
    """
    if wish is None and "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > cores():
        wish = cores()
    if forked():
        log.warning("this process was forked, and PyTorch's threads do not work there: training on one thread")
        wish = 1
    with computing_on(wish):
        yield


@contextmanager
def computing_on(wish: int | None) -> Iterator[None]:
    """Give PyTorch this many threads while the block runs, or as many as it has."""
    before = torch.get_num_threads()
    if wish is not None:
        torch.set_num_threads(wish)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _fastest_kernels(device: torch.device) -> Iterator[None]:
    """Have cuDNN try its kernels for each shape of batch, of which a run has few, while the block runs."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or device.type == "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
