"""LiteRT (formerly TensorFlow Lite), on the CPU by XNNPACK."""

from __future__ import annotations

import threading
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from mobilenets.runtime.engines import Array, laid_out
from mobilenets.runtime.exported import Exported


class LiteRtEngine:
    """A ``.tflite`` file in LiteRT; threads that call it take turns, as its interpreter is for one at a time."""

    runtime = "litert"
    version = version("ai-edge-litert")

    def __init__(self, path: Path, exported: Exported, threads: int) -> None:
        self.threads = threads
        self._layout = exported.layout
        self.interpreter = Interpreter(model_path=str(path), num_threads=threads)
        self.interpreter.allocate_tensors()
        [entry], [leave] = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        self._entry, self._leave = entry["index"], leave["index"]
        self._lock = threading.Lock()

    def __call__(self, images: Array, /) -> npt.NDArray[np.float32]:
        """Run a batch of the file's own size."""
        with self._lock:
            self.interpreter.set_tensor(self._entry, laid_out(images, self._layout))
            self.interpreter.invoke()
            return np.asarray(self.interpreter.get_tensor(self._leave), np.float32)


def open_file(path: Path, exported: Exported, threads: int) -> LiteRtEngine:
    """Open a LiteRT file."""
    return LiteRtEngine(path, exported, threads)
