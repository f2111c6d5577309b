"""ONNX Runtime, on the CPU: the one place that opens its sessions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from mobilenets.base.cores import cores
from mobilenets.runtime.engines import Array, FileEngine, Floats, laid_out
from mobilenets.runtime.exported import CLASS, EVIDENCE, Exported

_ERRORS_ONLY = 3


def open_session(
    model: Path | bytes, threads: int | None = None, *, optimized: bool = True
) -> onnxruntime.InferenceSession:
    """Open an ONNX file, or its bytes.

    ``threads`` defaults to one per core that this process may use. Without ``optimized`` no layer is fused away, so
    that each can be looked at. Raises ``RuntimeError`` for what cannot be opened.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.log_severity_level = _ERRORS_ONLY
    # A waiting thread sleeps: beside one busy program V2 at 224 took 7 ms so, and 11 where it spun; alone the same.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # What it raises are classes of its own below Exception, and not exported by name in every release.
    except Exception as error:
        raise RuntimeError(str(error)) from error


class OrtEngine(FileEngine):
    """An ONNX file in ONNX Runtime; it may run in several threads at once."""

    runtime = "onnxruntime"
    version = onnxruntime.__version__

    def __init__(self, path: Path, exported: Exported, threads: int) -> None:
        super().__init__(exported, threads)
        self.session = open_session(path, threads)
        self._input = self.session.get_inputs()[0].name
        self._scores = self.session.get_outputs()[0].name
        # What an explanation needs is computed only for one.
        self._needed = onnxruntime.RunOptions()
        self._needed.only_execute_path_to_fetches = True

    def run(self, images: Array, asked: Sequence[str], index: int | None = None) -> list[Floats]:
        """Run a batch."""
        fed = {self._input: laid_out(images, self._layout)}
        if EVIDENCE in asked:
            fed[CLASS] = np.array([-1 if index is None else index], np.int64)
        found = self.session.run([name or self._scores for name in asked], fed, self._needed)
        return [np.asarray(one, np.float32) for one in found]


open_file = OrtEngine
