"""ExecuTorch, on the CPU by XNNPACK. Its Python bindings take and give tensors of PyTorch, and bring it along."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime, Verification

from mobilenets.runtime.engines import Array, Floats, InTurn
from mobilenets.runtime.exported import Exported


class ExecuTorchEngine(InTurn):
    """A ``.pte`` file in ExecuTorch, whose method is for one thread at a time.

    The threads that it computes with are the process's: the engine opened last sets their number for all.
    """

    runtime = "executorch"
    version = version("executorch")

    def __init__(self, path: Path, exported: Exported, threads: int) -> None:
        if portable_lib._threadpool_get_thread_count() != threads:
            portable_lib._unsafe_reset_threadpool(threads)
        super().__init__(exported, threads)
        self.program = Runtime.get().load_program(path, verification=Verification.InternalConsistency)
        method = self.program.load_method("forward")
        if method is None:
            raise ValueError("it has no method 'forward'")
        self._method = method

    def _outputs(self, batch: Array) -> list[Floats]:
        given = self._method.execute([torch.from_numpy(batch)])
        return [np.array(one.numpy(), np.float32) for one in given]


open_file = ExecuTorchEngine
