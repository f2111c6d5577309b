"""Runtimes that run exported files; each is imported only when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mobilenets.base import fork
from mobilenets.base.notes import log
from mobilenets.errors import InputError
from mobilenets.runtime.bar import DISTANCE
from mobilenets.runtime.exported import EVIDENCE, Exported

Array: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float32]
# What is asked of a file by its name, but for its first output.
SCORES = ""

# Pictures a run of frozen blocks: their maps stay in the cache of a core, and the weights are read once for all. At 128
# pixels V2 1.0 took 2.8 ms of processor time a picture for 1, 2.4 for 4 and 8, 2.5 for 16 (AMD EPYC, 2026-11-28).
TOGETHER = 4

# For each format its runtimes, the fastest first (docs/benchmarks.md), each with the package that must be there.
RUNTIMES: dict[str, dict[str, str]] = {
    "onnx": {"onnxruntime": "onnxruntime", "openvino": "openvino"},
    "web": {"onnxruntime": "onnxruntime"},
    "openvino": {"openvino": "openvino"},
    "litert": {"litert": "ai_edge_litert"},
    "executorch": {"executorch": "executorch"},
}
_HOMES = {"onnxruntime": "ort", "openvino": "ov", "litert": "litert", "executorch": "executorch"}


def present(form: str) -> list[str]:
    """Name the installed runtimes that run this format, the fastest first."""
    return [name for name, package in RUNTIMES.get(form, {}).items() if importlib.util.find_spec(package)]


def open_engine(folder: Path, exported: Exported, runtime: str | None = None, threads: int | None = None) -> FileEngine:
    """Open an exported file in ``runtime``, by default the fastest that is installed.

    ``threads`` defaults to one per core that this process may use. Raises ``InputError`` for a file that is not the one
    described, a runtime that does not run it, or one that is not installed.
    """
    from mobilenets.base.cores import cores

    known = RUNTIMES.get(exported.format)
    if known is None:
        raise InputError(f"this release does not know the format {exported.format!r}; update mobilenets")
    if runtime is not None and runtime not in known:
        raise InputError(f"runtime {runtime!r} does not run {exported.format}: choose {' or '.join(known)}")
    if threads is not None and threads < 1:
        raise InputError(f"threads {threads}: give a number of at least 1")
    path = exported.check(folder)
    installed = present(exported.format)
    chosen = runtime or next(iter(installed), next(iter(known)))
    if chosen not in installed:
        package = known[chosen].replace("_", "-")
        raise InputError(f"{path}: {chosen} runs it, which is not installed: pip install {package}")
    opener: Callable[[Path, Exported, int], FileEngine] = importlib.import_module(
        f"mobilenets.runtime.engines.{_HOMES[chosen]}"
    ).open_file
    try:
        engine = opener(path, exported, threads or cores())
    except (RuntimeError, ValueError, OSError, MemoryError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: {chosen} cannot open it: {reason}") from error
    engine = _AfterFork(engine, partial(opener, path, exported, 1))
    return engine if exported.batch is None else _Batched(engine, exported.batch)


def laid_out(images: Array, layout: str) -> Array:
    """Bring N×H×W×3 into the order that the file takes."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2) if layout == "NCHW" else images)


def batches(images: Array, batch: int) -> Iterator[Array]:
    """Give pictures in batches of just that size, the last filled up with its last picture."""
    lacking = -len(images) % batch
    whole = np.concatenate([images, np.repeat(images[-1:], lacking, axis=0)]) if lacking else images
    return (whole[place : place + batch] for place in range(0, len(whole), batch))


class FileEngine:
    """An exported file, opened in its runtime; all its answers follow from ``run``.

    Takes uint8 or float32 N×H×W×3, as ``Exported.input`` says, for any N of at least 1; gives float32 N×outputs.
    """

    runtime: str
    version: str

    def __init__(self, exported: Exported, threads: int) -> None:
        self.threads = threads
        self._layout = exported.layout

    def __call__(self, images: Array, /) -> Floats:
        """Run a batch."""
        return self.run(images, [SCORES])[0]

    def with_distance(self, images: Array) -> tuple[Floats, Floats]:
        """Run a batch; gives the distances, float32 N, too. Only for a file whose description has ``distance``."""
        scores, distances = self.run(images, [SCORES, DISTANCE])
        return scores, distances

    def evidence(self, images: Array, index: int | None = None) -> Floats:
        """Give what speaks for a class at each place, float32 N×h×w of at least 0: by default the most probable one.

        Only in ONNX Runtime, for a file whose description has ``evidence``.
        """
        return self.run(images, [EVIDENCE], index)[0]

    def run(self, images: Array, asked: Sequence[str], index: int | None = None) -> list[Floats]:
        """Run a batch N×H×W×3 of the file's own size; gives the outputs ``asked`` for, ``evidence`` for ``index``."""
        raise NotImplementedError


class InTurn(FileEngine):
    """An engine that runs one batch at a time: threads that call it take turns."""

    def __init__(self, exported: Exported, threads: int) -> None:
        super().__init__(exported, threads)
        self._lock = threading.Lock()

    def run(self, images: Array, asked: Sequence[str], index: int | None = None) -> list[Floats]:
        """Run a batch; the scores come first, and the distances after them."""
        with self._lock:
            return self._outputs(laid_out(images, self._layout))[: len(asked)]

    def _outputs(self, batch: Array) -> list[Floats]:
        raise NotImplementedError


class _AfterFork(FileEngine):
    """An engine that is opened again, on one thread, in a process forked since: its threads are not there any more."""

    def __init__(self, engine: FileEngine, reopen: Callable[[], FileEngine]) -> None:
        self.runtime, self.version, self.threads = engine.runtime, engine.version, engine.threads
        self._engine, self._reopen, self._process = engine, reopen, os.getpid()
        self._turn = threading.Lock()
        if self.runtime != "onnxruntime":  # whose end in a child is a crash, and would become a wait without end
            fork.never_freed_in_child(engine)

    def run(self, images: Array, asked: Sequence[str], index: int | None = None) -> list[Floats]:
        if self._process != os.getpid():
            with self._turn:
                if self._process != os.getpid():
                    log.info("this process was forked: %s runs on one thread", self.runtime)
                    fork.never_free(self._engine)
                    self._engine, self.threads = self._reopen(), 1
                    self._process = os.getpid()
        return self._engine.run(images, asked, index)


class _Batched(FileEngine):
    """An engine of one batch size: the last batch is filled up with copies of its last picture."""

    def __init__(self, engine: FileEngine, batch: int) -> None:
        self.runtime, self.version, self.threads = engine.runtime, engine.version, engine.threads
        self._engine, self._batch = engine, batch

    def run(self, images: Array, asked: Sequence[str], index: int | None = None) -> list[Floats]:
        parts = [self._engine.run(part, asked, index) for part in batches(images, self._batch)]
        return [np.concatenate(found)[: len(images)] for found in zip(*parts, strict=True)]
