"""LiteRT (formerly TensorFlow Lite), on the CPU by XNNPACK."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from mobilenets.runtime.engines import Array, Floats, InTurn
from mobilenets.runtime.exported import Exported


class LiteRtEngine(InTurn):
    """A ``.tflite`` file in LiteRT, whose interpreter is for one thread at a time."""

    runtime = "litert"
    version = version("ai-edge-litert")

    def __init__(self, path: Path, exported: Exported, threads: int) -> None:
        super().__init__(exported, threads)
        # Its content and not its path, which LiteRT opens in Windows' own code page.
        self.interpreter = Interpreter(model_content=path.read_bytes(), num_threads=threads)
        self.interpreter.allocate_tensors()
        [entry], self._leave = self.interpreter.get_input_details(), outputs_of(self.interpreter)
        self._entry = entry["index"]

    def _outputs(self, batch: Array) -> list[Floats]:
        self.interpreter.set_tensor(self._entry, batch)
        self.interpreter.invoke()
        return [np.asarray(self.interpreter.get_tensor(place), np.float32) for place in self._leave]


def outputs_of(interpreter: Interpreter) -> list[int]:
    """Give the places of a file's outputs: the scores, N×classes, and then the distances, N, where it has them."""
    details = interpreter.get_output_details()
    return [detail["index"] for detail in sorted(details, key=lambda detail: -len(detail["shape"]))]


open_file = LiteRtEngine
