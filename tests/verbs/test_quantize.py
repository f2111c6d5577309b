"""``quantize``: a run trained for int8, stopped and taken up to the same bytes, and what it is worth."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mobilenets
from mobilenets.cli import main
from mobilenets.cli.export import exported as words_of_export
from mobilenets.cli.quantize import quantized
from mobilenets.datasets.loader import Batch
from mobilenets.errors import InputError
from mobilenets.exports.job import Options
from mobilenets.models.saved import load_classifier, load_model
from mobilenets.runtime.exported import file_hash
from mobilenets.training import checkpoint
from mobilenets.training.loop import Training
from mobilenets.training.recipe import Recipe
from mobilenets.verbs import export as exporting
from mobilenets.verbs import quantize as verb

WEIGHTS = "model.safetensors"


def stopping_before(epoch: int, place: int) -> Callable[..., float]:
    step: Callable[[Training, Any, list[Batch]], float] = Training._step

    def pressed(self: Training, state: checkpoint.State, group: list[Batch]) -> float:
        rate = step(self, state, group)
        if (state.epoch, state.step) == (epoch, place):
            raise KeyboardInterrupt
        return rate

    return pressed


@pytest.mark.usefixtures("undrawn")
def test_from_the_command_line_stopped_and_taken_up(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    command = ["quantize", str(run), str(trained.data), "--epochs", "2"]
    out = tmp_path / "run-int8"
    with monkeypatch.context() as patch:
        patch.setattr("mobilenets.training.loop.CHECKPOINT_SECONDS", -1.0)
        patch.setattr(Training, "_step", stopping_before(1, 2))
        assert main(command) == 130
    assert capsys.readouterr().err.splitlines()[-1].endswith("to continue: run the same command again")
    assert main([*command, "--lr", "1e-3"]) == 2
    assert "begun with another model or other settings" in capsys.readouterr().err
    monkeypatch.setattr(verb, "_rounded", None)  # it is there already
    assert main([*command, "--json"]) in (0, 1)
    result = json.loads(capsys.readouterr().out)
    whole = shutil.copytree(tmp_path / "run-int8-start", tmp_path / "whole-start")
    (whole / "quantize.json").write_text(
        json.dumps(
            {
                "sha256": file_hash(run / WEIGHTS),
                "epochs": 2,
                "lr": 1e-4,
                "per_tensor": False,
            }
        )
    )
    mobilenets.quantize(run, trained.data, out=tmp_path / "whole", epochs=2)
    assert (out / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    assert [one["name"] for one in result["models"]] == ["float", "int8 before", "int8 after", "float after"]
    assert result["images"] == 12 and result["evaluated_on"] == "not learned from"
    assert result["as_trained"]["same_answers"] == 12 and result["as_trained"]["max_difference"] < 0.02
    chosen = result["export"]["quantization"]["chosen"]
    assert chosen["activations"] == "learned" and chosen["float_blocks"] == result["float_blocks"]
    # The last epoch is kept, so that the pictures held out chose nothing; and a run as any other came out.
    recipe = json.loads((out / "recipe.json").read_text())["recipe"]
    assert (recipe["keep"], recipe["precision"], recipe["model"]) == ("last", "int8", "mobilenet_v1_cifar")
    assert (out / "seen.csv").read_text() == (run / "seen.csv").read_text()
    assert mobilenets.evaluate(out, trained.data)["top1"] == result["models"][3]["top1"]
    learned, begun = (load_model(folder).network.int8 for folder in (out, tmp_path / "run-int8-start"))
    assert learned is not None and begun is not None and not learned.logs.equal(begun.logs)
    assert load_model(run).network.int8 is None
    with pytest.raises(InputError, match="run-int8: is there already"):
        mobilenets.quantize(run, trained.data)
    said = quantized(result)
    assert "int8 after, from float" in said and "a run: " in said


@pytest.mark.usefixtures("undrawn")
def test_what_cannot_be_quantized_so(trained: Any, finder: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only classifiers are trained for int8"):
        mobilenets.quantize(finder.run, finder.data, out=tmp_path / "boxes")
    bundle = tmp_path / "bundle"
    shutil.copytree(trained.run, bundle)
    (bundle / "recipe.json").unlink()
    with pytest.raises(InputError, match=r"no recipe\.json there"):
        mobilenets.quantize(bundle, trained.data)
    # Steps that nobody found are not trained from.
    with pytest.raises(InputError, match="has no steps for it: use mobilenets quantize"):
        mobilenets.train(
            trained.data, tmp_path / "new", weights=str(trained.run), freeze="none", precision="int8", epochs=1
        )
    assert not (tmp_path / "boxes").exists() and not (tmp_path / "bundle-int8-start").exists()


def test_where_no_gpu_can_it_is_trained_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verb._device("cpu") == "cpu"
    monkeypatch.setattr(verb, "pick_device", torch.device)
    assert (verb._device("mps"), verb._device("cuda:1")) == ("cpu", "cuda:1")


def test_an_export_that_lost_too_much_points_here(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobilenets.tasks.classification.gate.colour_faults", lambda *_: ("it lost its colours",))
    result = mobilenets.export(trained.run, tmp_path / "out", data=trained.data, precision="int8", per_tensor=True)
    assert not result["passed"]
    assert result["advice"] == f"mobilenets quantize {trained.run} {trained.data} --per-tensor"
    assert result["advice"] in words_of_export(result)
    # It would fill the zeros of a sparse run, and refuses that.
    monkeypatch.setattr(exporting, "load_recipe", lambda _: Recipe(sparsity=0.5, keep="last"))
    saved = load_classifier(trained.run)
    assert exporting._advice(saved, trained.run, trained.data, Options("onnx", "int8")) is None
