"""Times of networks before they are trained, in turns with a reference."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mobilenets.models.catalog import describe
from mobilenets.runtime.engines.ort import open_session
from mobilenets.shrinking import latency
from mobilenets.shrinking.latency import Timed, onnx_file, times


def test_each_time_is_a_ratio_to_the_reference_where_it_was_least_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    disturbed = iter([3.0, 1.0])  # by what else the machine does, while eight take their turns

    def milliseconds(models: list[Path], threads: int, seconds: float) -> list[float]:
        slower = next(disturbed)
        return [slower * float(model.name) for model in models]

    monkeypatch.setattr(latency, "milliseconds_of", milliseconds)
    opened: list[int] = []
    makers = [partial(lambda ms: (Path(str(ms)), 100 * ms), ms) for ms in range(1, 11)]
    found = times(Path("2"), makers, 1, 0.1, opened.append)
    assert found[0] == Timed(2.0, 0) and opened == [8, 2]
    assert [one.ms for one in found[1:]] == pytest.approx(range(1, 11))
    assert [one.bytes for one in found[1:]] == [100 * ms for ms in range(1, 11)]


def test_files_without_training_run_and_int8_is_the_smaller(tmp_path: Path) -> None:
    architecture = describe("mobilenet_v1", 0.25, 32)
    files = [onnx_file(architecture, 3, precision, tmp_path) for precision in ("float32", "int8")]
    assert len(files[1]) < 0.6 * len(files[0])
    for file in files:
        [logits] = open_session(file, 1).run(None, {"images": np.zeros((1, 3, 32, 32), np.float32)})
        assert logits.shape == (1, 3)
