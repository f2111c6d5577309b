"""OpenVINO, on the CPU: its own files, and ONNX as it is."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mobilenets.runtime.engines import Array, FileEngine, Floats, laid_out
from mobilenets.runtime.exported import Exported

# Whoever needs OpenVINO takes it from here, so that the import below is the first.
__all__ = ["OpenVinoEngine", "open_file", "openvino"]

_REPORTER = "openvino_telemetry"


@contextlib.contextmanager
def _unreported() -> Iterator[None]:
    """Import parts of OpenVINO without the package by which each import of them reports itself over the network."""
    there = sys.modules.get(_REPORTER)
    sys.modules[_REPORTER] = None  # type: ignore[assignment]  # so an import of it fails, for which they are prepared
    try:
        yield
    finally:
        del sys.modules[_REPORTER]
        if there is not None:
            sys.modules[_REPORTER] = there


with _unreported():
    import openvino


class OpenVinoEngine(FileEngine):
    """A compiled model; each thread that calls gets a request of its own."""

    runtime = "openvino"
    version = openvino.__version__.partition("-")[0]  # without the hash of its build

    def __init__(self, path: Path, exported: Exported, threads: int) -> None:
        super().__init__(exported, threads)
        core = openvino.Core()
        # Without the hint OpenVINO may compute in bfloat16 where the processor has it: faster, and other answers.
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self.compiled = core.compile_model(core.read_model(path), "CPU", settings)
        self._local = threading.local()

    def run(self, images: Array, asked: Sequence[str], index: int | None = None) -> list[Floats]:
        """Run a batch."""
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self.compiled.create_infer_request()
        found = request.infer([laid_out(images, self._layout)], share_inputs=True)
        return [np.array(found[name or 0], np.float32) for name in asked]


open_file = OpenVinoEngine
