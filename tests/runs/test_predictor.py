"""A finished run answers by the ONNX file beside its weights; one of an earlier release through PyTorch."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mobilenets
from mobilenets.errors import InputError
from mobilenets.models.saved import load_model, save_weights
from mobilenets.runtime.bundle import read_bundle, write_bundle
from mobilenets.runtime.exported import file_hash

NO_TORCH = """
import sys
import mobilenets
from pathlib import Path
run, data, place = sys.argv[1:]
[answer] = mobilenets.predict(run, f"{data}/owl/003.png")
assert answer["predictions"][0]["label"] == "owl"
assert not {"torch", "matplotlib", "onnx"} & set(sys.modules), "predict"
assert mobilenets.evaluate(run, data)["top1"] > 0.9
assert not {"torch", "matplotlib", "onnx"} & set(sys.modules), "evaluate"
[answer] = mobilenets.predict(run, f"{data}/owl/003.png", explain=place)
assert Path(answer["explanation"]).is_file()
assert "torch" not in sys.modules, "explain"
"""


def test_a_run_answers_without_torch(trained: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-c", NO_TORCH, trained.run, trained.data, tmp_path / "drawn"]
    subprocess.run(list(map(str, command)), check=True, timeout=120)


@pytest.fixture
def copy(trained: Any, tmp_path: Path) -> Callable[..., Path]:
    """Copy the files of a finished run that answering needs, without its graph if ``old``."""

    def make(old: bool = False) -> Path:
        run = tmp_path / "run"
        run.mkdir()
        for name in ("model.safetensors", "metrics.json", *(() if old else ("model.onnx",))):
            shutil.copy(trained.run / name, run)
        bundle = read_bundle(trained.run)
        write_bundle(run, replace(bundle, graph=None) if old else bundle)
        return run

    return make


def probabilities(predictor: mobilenets.Predictor, trained: Any) -> Any:
    return predictor.probabilities([predictor.prepare(path) for path in sorted(trained.data.rglob("*.png"))])


def test_it_answers_as_its_weights_do(trained: Any) -> None:
    own, weights = mobilenets.Predictor(trained.run), mobilenets.Predictor(trained.run, runtime="torch")
    assert (own.engine.runtime, weights.engine.runtime) == ("onnxruntime", "torch")  # type: ignore[attr-defined]
    np.testing.assert_allclose(probabilities(own, trained), probabilities(weights, trained), atol=1e-5)
    assert (
        own.explain(trained.data / "owl/003.png").tobytes() == weights.explain(trained.data / "owl/003.png").tobytes()
    )


def test_a_run_of_an_earlier_release(copy: Any, trained: Any, caplog: pytest.LogCaptureFixture) -> None:
    run = copy(old=True)
    with caplog.at_level(logging.INFO, "mobilenets"):
        old = mobilenets.Predictor(run)
        mobilenets.Predictor(run)
    assert caplog.text.count("has no model.onnx") == 1 and f"--out {run} --resume" in caplog.text
    assert old.engine.runtime == "torch"  # type: ignore[attr-defined]
    own = mobilenets.Predictor(trained.run)
    np.testing.assert_allclose(probabilities(old, trained), probabilities(own, trained), atol=1e-5)
    path = trained.data / "owl/003.png"
    assert old.explain(path).tobytes() == own.explain(path).tobytes()
    with pytest.raises(InputError, match="to use onnxruntime, export it first"):
        mobilenets.Predictor(run, runtime="onnxruntime")


def test_what_was_made_of_other_weights_does_not_answer(
    copy: Any, trained: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run = copy()
    state = load_model(run).network.state_dict()
    # An earlier release did not say which weights model.json describes.
    write_bundle(run, replace(read_bundle(run), weights=None))
    save_weights(
        run / "model.safetensors",
        state | {"classifier.bias": state["classifier.bias"] + torch.tensor([0.0, 0.0, 999.0])},
    )
    changed = mobilenets.Predictor(run)
    assert "made of other weights" in caplog.text
    assert changed(trained.data / "cat/000.png")[0].label == "owl"


def test_another_runs_weights_and_an_edited_crop_are_refused(copy: Any, trained: Any) -> None:
    """By every way in: the file beside the weights, PyTorch, and the threshold that ``evaluate`` writes."""
    run = copy()
    mobilenets.evaluate(run, trained.data, accuracy=0.5)
    assert mobilenets.Predictor(run).bundle.threshold is not None
    described = (run / "model.json").read_bytes()
    value = json.loads(described)
    value["preprocessing"]["crop_fraction"] = 0.5
    (run / "model.json").write_text(json.dumps(value))
    for way in (mobilenets.Predictor, load_model):
        with pytest.raises(InputError, match="preprocessing were changed after it was written: put them back"):
            way(run)
    (run / "model.json").write_bytes(described)
    state = load_model(run).network.state_dict()
    save_weights(run / "model.safetensors", state | {"classifier.bias": state["classifier.bias"] + 1})
    for way in (mobilenets.Predictor, load_model):
        with pytest.raises(InputError, match=r"is damaged, or not what model\.json describes: copy both from one run"):
            way(run)


def test_the_weights_alone_may_be_missing(copy: Any, trained: Any) -> None:
    run = copy()
    (run / "model.safetensors").unlink()
    assert mobilenets.Predictor(run)(trained.data / "cat/000.png")[0].label == "cat"


def test_a_damaged_file_is_refused(copy: Any) -> None:
    run = copy()
    (run / "model.onnx").write_bytes((run / "model.onnx").read_bytes()[:-1])
    with pytest.raises(InputError, match=r"model\.onnx: not the file that model\.json describes"):
        mobilenets.Predictor(run)
    with pytest.raises(InputError, match="threads 0"):
        mobilenets.Predictor(run, threads=0)


def test_an_export_is_checked_against_the_weights(copy: Any, trained: Any, tmp_path: Path) -> None:
    """And not against the file beside them, which here is wrong and says that it is right."""
    run = copy()
    other = load_model(run)
    other.network.classifier.bias.data += 100 * other.network.classifier.bias.new_tensor([0, 1, 0])
    (tmp_path / "wrong").mkdir()
    from mobilenets.exports.beside import graph_of

    file = graph_of(other, tmp_path / "wrong")
    shutil.copy(tmp_path / "wrong/model.onnx", run)
    bundle = read_bundle(run)
    write_bundle(run, replace(bundle, graph=replace(file, about={"weights": file_hash(run / "model.safetensors")})))
    assert mobilenets.Predictor(run)(trained.data / "cat/000.png")[0].label == "dog"
    result = mobilenets.export(run, tmp_path / "out", data=trained.data)
    assert result["passed"] and result["top1_reference"] > 0.9
    assert "graph" not in json.loads((tmp_path / "out/model.json").read_bytes())


def test_evidence_of_other_places_than_described(copy: Any, trained: Any) -> None:
    run = copy()
    bundle = read_bundle(run)
    write_bundle(run, replace(bundle, graph=replace(bundle.graph, evidence=(0.0, 1.0, 2.0, 3.0, 4.0))))  # type: ignore[type-var]
    with pytest.raises(InputError, match=r"places, but model\.json describes 5"):
        mobilenets.Predictor(run).explain(trained.data / "owl/003.png")


def test_a_runtime_has_no_other_device(trained: Any) -> None:
    with pytest.raises(InputError, match="runtime 'onnxruntime' runs on the CPU here"):
        mobilenets.Predictor(trained.run, "cuda", runtime="onnxruntime")
