"""ExecuTorch, on the CPU by XNNPACK. Its Python bindings take and give tensors of PyTorch, and bring it along."""

from __future__ import annotations

import threading
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime, Verification

from mobilenets.runtime.engines import Array, laid_out
from mobilenets.runtime.exported import Exported


class ExecuTorchEngine:
    """A ``.pte`` file in ExecuTorch; threads that call it take turns, as a method is for one at a time.

    The threads that it computes with are the process's: the engine opened last sets their number for all.
    """

    runtime = "executorch"
    version = version("executorch")

    def __init__(self, path: Path, exported: Exported, threads: int) -> None:
        if portable_lib._threadpool_get_thread_count() != threads:
            portable_lib._unsafe_reset_threadpool(threads)
        self.threads = threads
        self._layout = exported.layout
        self.program = Runtime.get().load_program(path, verification=Verification.InternalConsistency)
        method = self.program.load_method("forward")
        if method is None:
            raise ValueError("it has no method 'forward'")
        self._method = method
        self._lock = threading.Lock()

    def __call__(self, images: Array, /) -> npt.NDArray[np.float32]:
        """Run a batch of the file's own size."""
        return self._run(images)[0]

    def with_distance(self, images: Array) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Run a batch; gives the distances, float32 N, too. Only for a file whose description has ``distance``."""
        scores, distances = self._run(images)
        return scores, distances

    def _run(self, images: Array) -> list[npt.NDArray[np.float32]]:
        with self._lock:
            given = self._method.execute([torch.from_numpy(laid_out(images, self._layout))])
            return [np.array(one.numpy(), np.float32) for one in given]


def open_file(path: Path, exported: Exported, threads: int) -> ExecuTorchEngine:
    """Open an ExecuTorch file."""
    return ExecuTorchEngine(path, exported, threads)
