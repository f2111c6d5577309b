"""One model in a process of its own, for ``benchmark``: python -m mobilenets.bench.child MODEL RUNTIME THREADS

``load_ms`` is from nothing imported but NumPy to a ``Predictor`` that could answer; a latency is that of its engine:
float32 (or uint8) N×S×S×3 in, laid out as the file takes it, run, scores as an array out. Decoding and preprocessing of
pictures are not in it, but for a file made with ``--camera``: it resizes itself, and is given pictures of 480 × 640.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from mobilenets.bench.latency import CAMERA, Burst, Unusable, answer_questions, bursts, noise


def load(model: str, runtime: str, threads: int) -> tuple[dict[str, Any], Burst]:
    """Open a model; raises ``Unusable`` for one that cannot be."""
    from mobilenets.errors import InputError
    from mobilenets.runtime.bundle import DESCRIPTION

    path = Path(model)
    if path.suffix == ".onnx" and not path.with_name(DESCRIPTION).exists():
        return _load_bare(path, threads)
    try:
        from mobilenets.runs.predictor import Predictor

        predictor = Predictor(model, "cpu", runtime=runtime, threads=threads)
    except InputError as error:
        raise Unusable(str(error)) from error
    exported, size = predictor.bundle.export, predictor.bundle.preprocessing.size
    kind = np.uint8 if exported is not None and exported.input == "uint8" else np.float32

    camera = exported is not None and exported.geometry == "inside"
    sides = CAMERA if camera else (size, size, 3)

    def burst(batch: int, seconds: float) -> list[float]:
        images = noise((batch, *sides), kind)
        return bursts(lambda: predictor.engine(images), seconds)

    engine: Any = predictor.engine
    about = {
        "model": model,
        "runtime": runtime,
        "runtime_version": engine.version,
        "precision": "float32" if exported is None else exported.precision,
        "threads": threads,
        "size": size,
        "geometry": "inside" if camera else "outside",
    }
    return about, burst


def _load_bare(model: Path, threads: int) -> tuple[dict[str, Any], Burst]:
    """Open an ONNX file that nothing is written about: a network that is not trained yet, for its time alone."""
    from mobilenets.runtime.engines.ort import open_session

    session = open_session(model, threads)
    [source] = session.get_inputs()

    def burst(batch: int, seconds: float) -> list[float]:
        given = {source.name: noise((batch, *source.shape[1:]), np.float32)}
        return bursts(lambda: session.run(None, given), seconds)

    return {"model": str(model), "runtime": "onnxruntime", "threads": threads}, burst


if __name__ == "__main__":
    name, where, count = sys.argv[1:]
    answer_questions(lambda: load(name, where, int(count)))
