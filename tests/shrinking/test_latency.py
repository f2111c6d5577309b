"""Times of networks before they are trained, in turns with a reference."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mobilenets.models.catalog import describe
from mobilenets.shrinking import latency
from mobilenets.shrinking.latency import Timed, onnx_file, run_of, times


def test_each_time_is_a_ratio_to_the_reference_where_it_was_least_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    disturbed = iter([3.0, 1.0])  # by what else the machine does, while eight take their turns

    def medians(runs: Any, *_: Any) -> list[float]:
        slower = next(disturbed)
        return [slower * run() for run in runs]

    monkeypatch.setattr(latency, "medians", medians)
    opened: list[int] = []
    makers = [partial(lambda ms: (lambda: float(ms), 100 * ms), ms) for ms in range(1, 11)]
    found = times(lambda: 2.0, makers, 0.1, opened.append)
    assert found[0] == Timed(2.0, 0) and opened == [8, 2]
    assert [one.ms for one in found[1:]] == pytest.approx(range(1, 11))
    assert [one.bytes for one in found[1:]] == [100 * ms for ms in range(1, 11)]


def test_files_without_training_run_and_int8_is_the_smaller(tmp_path: Path) -> None:
    architecture = describe("mobilenet_v1", 0.25, 32)
    files = [onnx_file(architecture, 3, precision, tmp_path) for precision in ("float32", "int8")]
    assert len(files[1]) < 0.6 * len(files[0])
    assert [run_of(one, 32, 1)()[0].shape for one in files] == [(1, 3), (1, 3)]  # type: ignore[index]
