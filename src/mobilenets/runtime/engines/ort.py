"""ONNX Runtime, on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from mobilenets.runtime.engines import Array, laid_out
from mobilenets.runtime.exported import Exported

QUIET = 3  # errors only
# What ONNX Runtime raises are classes of its own below Exception, and not exported by name in every release.


class OrtEngine:
    """An ONNX file in ONNX Runtime; ``__call__`` may run in several threads at once."""

    runtime = "onnxruntime"
    version = onnxruntime.__version__

    def __init__(self, path: Path, exported: Exported, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = QUIET
        # A waiting thread sleeps: beside one busy program V2 at 224 took 7 ms so, and 11 where it spun; alone the same.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.threads = threads
        self._layout = exported.layout
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise RuntimeError(str(error)) from error
        self._input = self.session.get_inputs()[0].name

    def __call__(self, images: Array, /) -> npt.NDArray[np.float32]:
        """Run a batch."""
        [scores] = self.session.run(None, {self._input: laid_out(images, self._layout)})
        return np.asarray(scores, np.float32)


def open_file(path: Path, exported: Exported, threads: int) -> OrtEngine:
    """Open an ONNX file."""
    return OrtEngine(path, exported, threads)
