"""ONNX Runtime, on the CPU: the one place that opens its sessions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from mobilenets.base.cores import cores
from mobilenets.runtime.bar import DISTANCE
from mobilenets.runtime.engines import Array, laid_out
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


class OrtEngine:
    """An ONNX file in ONNX Runtime; ``__call__`` may run in several threads at once."""

    runtime = "onnxruntime"
    version = onnxruntime.__version__

    def __init__(self, path: Path, exported: Exported, threads: int) -> None:
        self.threads = threads
        self._layout = exported.layout
        self.session = open_session(path, threads)
        self._input = self.session.get_inputs()[0].name
        self._scores = self.session.get_outputs()[0].name
        # What an explanation needs is computed only for one.
        self._needed = onnxruntime.RunOptions()
        self._needed.only_execute_path_to_fetches = True

    def __call__(self, images: Array, /) -> npt.NDArray[np.float32]:
        """Run a batch."""
        [scores] = self.session.run([self._scores], self._fed(images), self._needed)
        return np.asarray(scores, np.float32)

    def evidence(self, images: Array, index: int | None = None) -> npt.NDArray[np.float32]:
        """Give what speaks for a class at each place, float32 N×h×w of at least 0: by default the most probable one.

        Only for a file whose description has ``evidence``.
        """
        asked = {CLASS: np.array([-1 if index is None else index], np.int64)}
        [evidence] = self.session.run([EVIDENCE], self._fed(images) | asked, self._needed)
        return np.asarray(evidence, np.float32)

    def with_distance(self, images: Array) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Run a batch; gives the distances, float32 N, too. Only for a file whose description has ``distance``."""
        scores, distances = self.session.run([self._scores, DISTANCE], self._fed(images), self._needed)
        return np.asarray(scores, np.float32), np.asarray(distances, np.float32)

    def _fed(self, images: Array) -> dict[str, Array]:
        return {self._input: laid_out(images, self._layout)}


open_file = OrtEngine
