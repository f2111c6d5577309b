"""A temperature in the weights: divided by once, whoever answers, and whatever stopped the process that did it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mobilenets
from mobilenets.cli import main
from mobilenets.datasets.folder import Sample, read_folder
from mobilenets.errors import InputError
from mobilenets.exports.beside import write_graph
from mobilenets.measure.metrics import Evaluation
from mobilenets.models.saved import load_model, save_weights
from mobilenets.runs import calibrating
from mobilenets.runs.calibrating import Settled, settle, untempered, write_settled
from mobilenets.runtime.answers import softmax
from mobilenets.runtime.bundle import read_bundle, write_bundle
from mobilenets.tasks.classification.task import classified
from mobilenets.tasks.evaluate import evaluate_predictors

CLASSES = ("cat", "dog", "owl")
FILES = ("model.safetensors", "model.onnx", "model.json")


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory, draw: Any) -> Path:
    """Give pictures that the trained run has not seen, of its classes."""
    return Path(draw(tmp_path_factory.mktemp("new") / "pets", dict.fromkeys(CLASSES, 12), size=23))


@pytest.fixture
def run(trained: Any, tmp_path: Path) -> Path:
    """Give a run as one was before there were temperatures."""
    run = Path(shutil.copytree(trained.run, tmp_path / "run"))
    saved = load_model(run)
    save_weights(run / "model.safetensors", saved.network.state_dict())
    write_graph(run, replace(saved, bundle=replace(saved.bundle, calibration={})))
    return run


def answers(run: Path, samples: tuple[Sample, ...], root: Path) -> Evaluation:
    """Give what a run answers, without its temperature, and with the same rounding whether it has a file or not."""
    [found] = evaluate_predictors([mobilenets.Predictor(run, "cpu", runtime="torch")], samples, root)
    return untempered(classified(found), load_model(run))


def calibrate(run: Path, new: Path, again: bool = False) -> Settled:
    """Calibrate a run on pictures, as the end of its training does."""
    saved = load_model(run)
    settled = settle(saved, answers(run, read_folder(new, CLASSES).samples, new), again=again)
    write_settled(run, saved, settled.saved)
    return settled


def logits(run: Path, samples: tuple[Sample, ...], root: Path, **settings: Any) -> Any:
    [found] = evaluate_predictors([mobilenets.Predictor(run, **settings)], samples, root)
    return found.logits  # type: ignore[attr-defined]


def contents(run: Path) -> list[bytes]:
    return [(run / name).read_bytes() for name in FILES]


def test_every_engine_answers_with_it(run: Path, new: Path) -> None:
    samples = read_folder(new, CLASSES).samples
    raw, weights = logits(run, samples, new), load_model(run).network.classifier
    settled = calibrate(run, new)
    record = settled.saved.bundle.calibration
    temperature = record["temperature"]
    assert abs(temperature - 1) > 0.05 and record["pictures"] == 36 and record["cross_fitted"]
    assert record == dict(read_bundle(run).calibration)
    now = load_model(run).network.classifier
    for name in ("weight", "bias"):
        ours, theirs = getattr(now, name).detach().numpy(), getattr(weights, name).detach().numpy()
        np.testing.assert_allclose(ours * temperature, theirs, rtol=1e-6)
    for runtime in ("onnxruntime", "torch"):
        np.testing.assert_allclose(logits(run, samples, new, runtime=runtime), raw / temperature, atol=2e-5)
    np.testing.assert_allclose(settled.evaluation.logits, raw / temperature, atol=1e-5)  # type: ignore[attr-defined]
    result = mobilenets.export(run, run.parent / "exported", data=new, probabilities=True)
    assert result["passed"]
    answers = mobilenets.predict(run.parent / "exported", [sample.path for sample in samples])
    best = [answer["predictions"][0]["probability"] for answer in answers]
    np.testing.assert_allclose(best, softmax(raw / temperature).max(axis=1), atol=1e-5)
    assert read_bundle(run.parent / "exported").calibration == record


def test_it_is_divided_by_once(run: Path, new: Path) -> None:
    calibrate(run, new)
    once = contents(run)
    again = calibrate(run, new)
    assert contents(run) == once
    assert again.before is not None and again.after is not None
    assert again.before.ece == pytest.approx(again.saved.bundle.calibration["ece_before"], abs=1e-3)
    assert again.after.ece == pytest.approx(again.saved.bundle.calibration["ece_after"], abs=1e-3)
    anew = calibrate(run, new, again=True).saved.bundle.calibration
    assert anew["temperature"] == pytest.approx(again.saved.bundle.calibration["temperature"], rel=2e-3)
    assert anew["ece_before"] == pytest.approx(again.saved.bundle.calibration["ece_before"], abs=1e-3)


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_process_that_was_killed_between_its_files(
    run: Path, new: Path, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(run, run.parent / "other")
    calibrate(other, new)
    done, count = contents(other), 0

    def stop(write: Any) -> Any:
        def writing(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count > written:
                raise KeyboardInterrupt
            return write(*arguments)

        return writing

    # The record, the weights, and then what is made of both.
    for name in ("write_graph", "write_bundle", "save_weights"):
        monkeypatch.setattr(calibrating, name, stop(getattr(calibrating, name)))
    with pytest.raises(KeyboardInterrupt):
        calibrate(run, new)
    monkeypatch.undo()
    samples = read_folder(new, CLASSES).samples
    factor = logits(run, samples, new) / logits(other, samples, new)
    temperature = read_bundle(other).calibration["temperature"]
    assert np.median(factor) == pytest.approx(temperature if written < 2 else 1, rel=1e-4)
    calibrate(run, new)
    assert contents(run) == done


def test_a_record_of_other_weights_counts_for_nothing(run: Path, new: Path) -> None:
    raw = load_model(run).network.state_dict()
    calibrate(run, new)
    done = contents(run)
    write_bundle(run, replace(read_bundle(run), weights=None))
    save_weights(run / "model.safetensors", raw)
    assert calibrate(run, new).saved.bundle.calibration["temperature"] != 1
    assert contents(run) == done


def test_pictures_beside_those_measured_give_it(run: Path, new: Path) -> None:
    samples = read_folder(new, CLASSES).samples
    fit, measured = (answers(run, some, new) for some in (samples[::2] + samples[1::6], samples[3::6]))
    settled = settle(load_model(run), measured, fit)
    record = settled.saved.bundle.calibration
    assert not record["cross_fitted"] and record["pictures"] == 24
    assert settled.after is not None and settled.after.images == settled.evaluation.images == measured.images
    assert record["ece_after"] == settled.after.ece


def test_the_loss_in_the_figures_is_cross_fitted_as_the_calibration_error_is(run: Path, new: Path) -> None:
    settled = calibrate(run, new)
    figures, record = settled.figures, settled.saved.bundle.calibration
    assert (figures["loss"], figures["ece"]) == (record["loss_after"], record["ece_after"])
    low, high = figures["loss_interval"]
    assert low < figures["loss"] < high
    assert figures["loss"] != settled.evaluation.loss  # type: ignore[attr-defined]


def test_evaluate_calibrates_an_older_run(
    run: Path, new: Path, trained: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    value = json.loads((run / "model.json").read_bytes())
    (run / "model.json").write_text(json.dumps(value | {"threshold": 0.4}), "utf-8")
    assert main(["evaluate", str(run), str(new), "--calibrate"]) == 0
    said = capsys.readouterr()
    record = read_bundle(run).calibration
    assert f"before calibration (temperature {record['temperature']:g}, from 36 pictures, cross-fitted)" in said.out
    # It was found on other probabilities.
    assert read_bundle(run).threshold is None and "see --accuracy" in said.err
    result = mobilenets.evaluate(run, new, calibrate=True, accuracy=0.5)
    assert result["ece"] == result["calibration"]["ece_after"]
    assert read_bundle(run).threshold == result["sure"]["threshold"]
    with pytest.raises(InputError, match=r"the model learned from 48 of these pictures"):
        mobilenets.evaluate(run, _all_seen(run, trained.data, new.parent), calibrate=True)
    mobilenets.export(run, run.parent / "file", data=new)
    with pytest.raises(InputError, match="an exported file is finished"):
        mobilenets.evaluate(run.parent / "file", new, calibrate=True)


def _all_seen(run: Path, data: Path, place: Path) -> Path:
    """Give pictures that the run learned from as a validation half."""
    folder = place / "known"
    for half in ("train", "validation"):
        shutil.copytree(data, folder / half)
    return folder


def test_an_update_starts_from_it_and_gets_its_own(run: Path, new: Path, tmp_path: Path) -> None:
    calibrate(run, new)
    result = mobilenets.import_weights(run / "model.safetensors", tmp_path / "imported", classes=CLASSES)
    imported = Path(result["model"])
    assert not read_bundle(imported).calibration
    ours, theirs = load_model(run).network.classifier, load_model(imported).network.classifier
    np.testing.assert_array_equal(ours.weight.detach().numpy(), theirs.weight.detach().numpy())


def test_where_a_test_half_is_measured_validation_gives_it(run: Path, draw: Any, tmp_path: Path) -> None:
    for half, count, size in (("train", 2, 25), ("validation", 9, 26), ("test", 3, 27)):
        draw(tmp_path / "data" / half, dict.fromkeys(CLASSES, count), size=size)
    result = mobilenets.evaluate(run, tmp_path / "data", calibrate=True)
    assert result["evaluated_on"] == "test" and result["images"] == 9
    assert result["calibration"]["pictures"] == 27 and not result["calibration"]["cross_fitted"]
