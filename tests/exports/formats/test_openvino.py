from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mobilenets
from mobilenets.verbs.export import export

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def int8(exported: Callable[..., Path]) -> Path:
    return exported("openvino", "int8")


def test_float32_answers_as_the_checkpoint_for_any_batch(trained, tmp_path: Path, answers_as_the_run: Any) -> None:
    result = export(trained.run, tmp_path / "out", "openvino")
    assert result["passed"] and result["max_difference"] < 1e-4
    answers_as_the_run(tmp_path / "out", 1e-4)


def test_float16_is_half_the_file(trained, tmp_path: Path) -> None:
    whole = export(trained.run, tmp_path / "float32", "openvino", batch=4)
    half = export(trained.run, tmp_path / "float16", "openvino", precision="float16", batch=4)
    assert whole["passed"] and half["passed"]
    weights = [(tmp_path / name / "model.bin").stat().st_size for name in ("float32", "float16")]
    assert weights[1] < 0.51 * weights[0]


def test_both_files_are_hashed(trained, tmp_path: Path) -> None:
    export(trained.run, tmp_path / "out", "openvino")
    weights = tmp_path / "out" / "model.bin"
    changed = bytearray(weights.read_bytes())
    changed[len(changed) // 2] ^= 1
    weights.write_bytes(changed)
    with pytest.raises(mobilenets.InputError, match=r"model\.bin: not the file that model\.json describes"):
        mobilenets.Predictor(tmp_path / "out")


def test_int8_is_a_quarter_and_reports_what_was_tried(int8: Path) -> None:
    described = json.loads((int8 / "model.json").read_bytes())["export"]
    tried = described["about"]["quantization"]
    assert tried["chosen"] == min(tried["candidates"], key=lambda one: one["divergence"])
    assert len(tried["candidates"]) > 1 and tried["pictures_held_back"] < tried["pictures"]
    assert (described["input"], described["layout"], described["output"]) == ("uint8", "NHWC", "probabilities")


def test_convolutions_run_on_integers(int8: Path) -> None:
    """OpenVINO must take ONNX's pairs for what they mean, or int8 is slower than float."""
    from mobilenets.runtime.engines.ov import openvino

    compiled = openvino.Core().compile_model(int8 / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    described = json.loads((int8 / "model.json").read_bytes())["export"]["about"]["quantization"]
    inside = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kinds = [node["runtimePrecision"].astype(str) for node in inside if node["layerType"].astype(str) == "Convolution"]
    assert not described["chosen"]["float_blocks"]
    assert kinds and set(kinds) <= {"u8", "i8"}


def test_threads_that_call_at_once_get_their_own_answers(int8: Path, noise: Any) -> None:
    predictor = mobilenets.Predictor(int8, threads=1)
    prepared = [predictor.prepare(picture) for picture in noise(8)]
    alone = [predictor.probabilities([one]) for one in prepared]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: predictor.probabilities([one]), prepared * 4))
    for number, answer in enumerate(together):
        assert np.array_equal(answer, alone[number % 8])


def test_nothing_is_reported_to_the_maker_and_nothing_printed(int8: Path) -> None:
    code = (
        "import sys; import mobilenets.exports.formats.openvino;"
        "from mobilenets import Predictor; Predictor(sys.argv[1]);"
        "sys.exit('openvino_telemetry' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(int8)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
