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
        [entry], self._leave = self.interpreter.get_input_details(), outputs_of(self.interpreter)
        self._entry = entry["index"]
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
            self.interpreter.set_tensor(self._entry, laid_out(images, self._layout))
            self.interpreter.invoke()
            return [np.asarray(self.interpreter.get_tensor(place), np.float32) for place in self._leave]


def outputs_of(interpreter: Interpreter) -> list[int]:
    """Give the places of a file's outputs: the scores, N×classes, and then the distances, N, where it has them."""
    details = interpreter.get_output_details()
    return [detail["index"] for detail in sorted(details, key=lambda detail: -len(detail["shape"]))]


def open_file(path: Path, exported: Exported, threads: int) -> LiteRtEngine:
    """Open a LiteRT file."""
    return LiteRtEngine(path, exported, threads)
