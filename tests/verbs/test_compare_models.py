"""``compare RUN RUN DATA``: whether the second of two models is better, on pictures that neither learned from."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mobilenets
from mobilenets.cli import main
from mobilenets.cli.compare import paired
from mobilenets.datasets.folder import content_hash
from mobilenets.drawing.pair import pair_figure
from mobilenets.errors import InputError
from mobilenets.models.saved import load_model, save_weights
from mobilenets.runtime.bundle import read_bundle, write_bundle

CLASSES = ("cat", "dog", "owl")


def spoilt(run: Path, place: Path, classes: tuple[str, ...] = CLASSES) -> Path:
    """Copy a run whose classifier then prefers owls, with its classes in another order and what it saw."""
    place.mkdir()
    saved = load_model(run)
    state = saved.network.state_dict()
    order = [CLASSES.index(name) for name in classes]
    state["classifier.weight"], state["classifier.bias"] = (
        state[f"classifier.{part}"][order] for part in ("weight", "bias")
    )
    state["classifier.bias"] = state["classifier.bias"] + torch.tensor([float(name == "owl") for name in classes]) * 20
    bundle = replace(saved.bundle, classes=classes, graph=None, weights=None, none_of_these=None)
    write_bundle(place, bundle)
    save_weights(place / "model.safetensors", state)
    for name in ("seen.csv", "recipe.json", "split.csv"):
        shutil.copy(run / name, place)
    return place


@pytest.fixture
def worse(trained: Any, tmp_path: Path) -> Path:
    return spoilt(trained.run, tmp_path / "worse", ("owl", "cat", "dog"))


@pytest.fixture
def fresh(draw: Callable[..., Path], tmp_path: Path) -> Path:
    """Give 3 × 8 pictures that no model has seen."""
    data = draw(tmp_path / "fresh", dict.fromkeys(CLASSES, 8), size=24)
    for picture in data.rglob("*.png"):
        picture.write_bytes(picture.read_bytes() + b"0")
    return data


def test_a_bare_install_says_at_once_that_it_cannot_draw(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: Any) -> None:
        raise AssertionError("the pictures were answered first")

    monkeypatch.setattr("mobilenets.verbs.compare_models.evaluate_predictors", measured)
    monkeypatch.setitem(sys.modules, "mobilenets.drawing.pair", None)
    with pytest.raises(ModuleNotFoundError):
        mobilenets.compare_models(trained.run, trained.run, trained.data, out=tmp_path / "out")


def test_the_better_of_two(trained: Any, worse: Path, fresh: Path, tmp_path: Path) -> None:
    result = mobilenets.compare_models(worse, trained.run, fresh, out=tmp_path / "out")
    own = [mobilenets.evaluate(model, fresh)["top1"] for model in (worse, trained.run)]
    assert [one["top1"] for one in result["models"]] == own
    assert result["images"] == 24 and result["evaluated_on"] == "all"
    counts = [result[f"{who}_right"] for who in ("both", "only_first", "only_second", "neither")]
    assert sum(counts) == 24 and counts[2] >= 12
    assert result["change"] == pytest.approx(own[1] - own[0])
    assert result["change_interval"][0] < result["change"] < result["change_interval"][1]
    assert result["better"] == "second" and result["p_value"] < 0.001
    assert result["pictures_needed"] < 24
    again = mobilenets.compare_models(trained.run, worse, fresh)
    assert (again["better"], again["change"], again["p_value"]) == ("first", -result["change"], result["p_value"])
    assert json.loads((tmp_path / "out/compare.json").read_bytes()) == result
    with Image.open(tmp_path / "out/compare.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 400


def test_two_that_are_the_same(trained: Any, fresh: Path) -> None:
    result = mobilenets.compare_models(trained.run, trained.run / "model.onnx", fresh)
    assert (result["better"], result["p_value"], result["change"]) == (None, 1.0, 0.0)
    assert result["pictures_needed"] is None and result["smallest_difference"] is None
    assert "No difference can be told: both gave the same answer to every picture." in paired(result)
    pair_figure(result).draw_without_rendering()


def test_what_either_learned_from_is_left_out(
    trained: Any, worse: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The second has also learned from three pictures that the first held out, and does not hold out the others."""
    shutil.copytree(trained.data, tmp_path / "pets")
    lines = (worse / "seen.csv").read_text().splitlines()
    held = [number for number, line in enumerate(lines) if line.endswith(",validation")]
    for number in held[:3]:
        lines[number] = lines[number].replace(",validation", ",train")
    lines = [line for number, line in enumerate(lines) if number not in held[3:]]
    (worse / "seen.csv").write_text("\n".join(lines) + "\n")
    with caplog.at_level(logging.INFO, "mobilenets"):
        result = mobilenets.compare_models(trained.run, worse, tmp_path / "pets")
    assert (result["images"], result["evaluated_on"]) == (9, "not learned from")
    assert [one["learned"] for one in result["models"]] == [48, 51]
    assert result["notes"] == [
        f"left out: 51 pictures that a model learned from ({trained.run} from 48, {worse} from 51)",
        f"{trained.run} chose its epoch on 9 of these 9 pictures, the other on 0: that makes it look a little better "
        "than it is",
    ]
    assert all(note in caplog.text for note in result["notes"])
    taught = {line.split(",")[0] for line in lines if line.endswith(",train")}
    for picture in (tmp_path / "pets").rglob("*.png"):
        if content_hash(picture).hex() not in taught:
            picture.unlink()
    with pytest.raises(InputError, match="one of the two models learned from every picture there: give pictures that"):
        mobilenets.compare_models(trained.run, worse, tmp_path / "pets")


def test_a_model_that_does_not_say_what_it_learned_from(trained: Any, worse: Path, fresh: Path) -> None:
    (worse / "seen.csv").unlink()
    (worse / "recipe.json").unlink()
    result = mobilenets.compare_models(worse, trained.run, fresh)
    assert [one["learned"] for one in result["models"]] == [None, 0]
    assert result["notes"] == [
        f"{worse} does not say what it was trained on; if it was some of these pictures, it looks better than it is"
    ]


def test_a_test_set_is_opened_for_both_and_that_is_said_once(
    trained: Any, worse: Path, fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    for half in ("train", "validation"):
        shutil.copytree(trained.data, tmp_path / "set" / half)
    fresh.rename(tmp_path / "set" / "test")
    mobilenets.evaluate(run, tmp_path / "set")
    capsys.readouterr()
    assert main(["compare", str(run), str(worse), str(tmp_path / "set")]) == 0
    said = capsys.readouterr()
    assert (said.out + said.err).count("measured on this test set once before") == 1
    result = mobilenets.compare_models(worse, run, tmp_path / "set")
    assert result["evaluated_on"] == "test" and len(result["notes"]) == 2
    assert result["notes"][0].startswith(f"{worse}: measured on this test set once before")
    assert [len(json.loads((one / "test.json").read_bytes())["openings"]) for one in (run, worse)] == [3, 2]


def test_models_that_cannot_be_compared(trained: Any, fresh: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained.run, other)
    write_bundle(other, replace(read_bundle(other), classes=("cat", "dog", "emu")))
    with pytest.raises(InputError, match="only the first knows owl; only the second knows emu; compare models of the"):
        mobilenets.compare_models(trained.run, other, fresh)
    with pytest.raises(InputError, match="nowhere"):
        mobilenets.compare_models(trained.run, "nowhere", fresh)


def test_the_command(
    trained: Any, worse: Path, fresh: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        return (main([str(word) for word in words]), *capsys.readouterr())

    monkeypatch.chdir(worse.parent)
    status, out, err = command("compare", "worse", trained.run, fresh)
    assert (status, err) == (0, "")
    leak, *lines = out.splitlines()
    # The fresh pictures are those of the training with a byte more, which one of the two models can tell.
    assert leak.startswith(f"{trained.run}: Leak: ") and "have a copy in training" in leak
    assert lines[0] == "24 pictures (all)" and lines[1].startswith("worse")
    assert lines[3].startswith("second minus first  +") and "95 % interval" in lines[3]
    assert "exact McNemar test  p = " in lines[4] and lines[6] == f"{trained.run} is better than worse."
    assert json.loads(command("compare", "worse", trained.run, fresh, "--json")[1])["better"] == "second"
    for words, said in (
        (("worse", trained.run), "give both and a folder of pictures: mobilenets compare RUN RUN DATA"),
        (("worse", fresh, trained.run), "the model comes first"),
        (("worse", trained.run, fresh, "--size", "32"), "are for networks by name: leave them out"),
    ):
        status, out, err = command("compare", *words)
        assert (status, out) == (2, "") and said in err and err.count("\n") == 1


def test_what_is_said_where_nothing_can_be_told() -> None:
    row = {"learned": 0, "top1": 0.9, "top1_interval": [0.8, 0.95]}
    result = {
        "models": [{"model": "runs"} | row, {"model": "runs/a-2"} | row],
        "images": 200,
        "evaluated_on": "test",
        "both_right": 170,
        "neither_right": 12,
        "same_answers": 181,
        "only_first_right": 7,
        "only_second_right": 11,
        "change": 0.02,
        "change_interval": [-0.02, 0.06],
        "p_value": 0.48,
        "better": None,
        "pictures_needed": 1759,
        "smallest_difference": 0.0575,
        "notes": ["so", "runs: so"],
    }
    assert paired(result).endswith(
        "No difference can be told: one of 2.00 points takes about 1,759 pictures (80 % power). These 200 tell 5.8 "
        "points or more.\nSo.\nruns: so."
    )
    figure = pair_figure(result)
    figure.draw_without_rendering()
    upper, lower = figure.axes
    assert upper.get_title("left") == "No difference can be told (p = 0.48, 200 pictures)"
    assert np.isclose(sum(bar.get_width() for bar in lower.patches), 200)
