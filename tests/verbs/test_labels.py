"""classes.json beside the data: into the model, through evaluate, into the answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mobilenets
from mobilenets.cli import main
from mobilenets.errors import InputError
from mobilenets.runtime.bundle import read_bundle

LABELS = {
    "classes": {
        "cat": {"names": {"zh": "猫", "en": "cat"}, "group": "furry"},
        "dog": {"names": {"zh": "狗", "en": "dog"}, "group": "furry"},
        "owl": {"names": {"zh": "猫头鹰"}, "group": "feathered"},
    },
    "groups": {
        "furry": {"names": {"zh": "毛"}, "color": "#aa5500"},
        "feathered": {"names": {"zh": "羽"}},
    },
}


@pytest.fixture
def labelled(trained: Any, tmp_path: Path) -> Path:
    """Give a copy of the trained run whose model.json has labels."""
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    value = json.loads((run / "model.json").read_text("utf-8"))
    (run / "model.json").write_text(json.dumps(value | {"labels": LABELS}), encoding="utf-8")
    return run


def test_training_takes_them_into_the_model(tmp_path: Path, draw: Any) -> None:
    data = draw(tmp_path / "pets", {"cat": 4, "dog": 4, "owl": 4})
    (data / "classes.json").write_text(json.dumps(LABELS), encoding="utf-8")
    machine = {"device": "cpu", "threads": 1, "workers": 1}
    network = {"model": "mobilenet_v1_cifar", "size": 32, "width": 0.25, "epochs": 1, "batch": 4}
    metrics = mobilenets.train(data, tmp_path / "run", **machine, **network)
    labels = read_bundle(tmp_path / "run").labels
    assert labels is not None
    assert labels.to_json() == LABELS
    assert set(metrics["groups"]["groups"]) == {"furry", "feathered"}
    assert (tmp_path / "run" / "confusion_groups.png").is_file()
    report = (tmp_path / "run" / "report.html").read_text("utf-8")
    # In the table, and what the pictures of the batch are; the folder alone is called owl.
    assert report.count("<bdi>猫 cat</bdi>") >= 2
    assert "By group" in report


def test_a_broken_file_stops_training(tmp_path: Path, draw: Any) -> None:
    data = draw(tmp_path / "pets", {"cat": 4, "dog": 4})
    (data / "classes.json").write_text("{")
    with pytest.raises(InputError, match=r"classes\.json: not JSON"):
        mobilenets.train(data, tmp_path / "run", size=32)
    assert not (tmp_path / "run").exists()


def test_evaluate_scores_both_levels(
    labelled: Path, trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = mobilenets.evaluate(labelled, trained.data, out=tmp_path / "measured")
    assert {path.name for path in (tmp_path / "measured").iterdir()} == {
        "metrics.json",
        "confusion.png",
        "confusion_groups.png",
        "reliability.png",
    }
    groups = result["groups"]
    assert groups["right_class"] + groups["wrong_class_right_group"] + groups["wrong_group"] == result["images"]
    assert groups["right_class"] == round(result["top1"] * result["images"])
    assert result["sure"] is None
    assert main(["evaluate", str(labelled), str(trained.data)]) == 0
    out = capsys.readouterr().out
    assert "wrong class, right group" in out
    assert "feathered" in out


def test_predict_names_them(labelled: Path, trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(trained.data / "cat/000.png")
    assert main(["predict", str(labelled), picture, "--language", "zh", "--top", "1"]) == 0
    assert " · 毛 · " in capsys.readouterr().out
    assert main(["predict", str(labelled), picture, "--language", "fr"]) == 2
    assert "its classes have names in en, zh" in capsys.readouterr().err
    assert main(["predict", str(trained.run), picture, "--language", "zh"]) == 2
    assert "no names by language" in capsys.readouterr().err


def test_not_sure(labelled: Path, trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first = mobilenets.evaluate(labelled, trained.data, accuracy=0.5)
    threshold = first["sure"]["threshold"]
    assert read_bundle(labelled).threshold == threshold
    assert first["sure"]["accuracy"] >= 0.5
    # It stays, and is told again.
    assert mobilenets.evaluate(labelled, trained.data)["sure"] == first["sure"]
    pictures = sorted((trained.data / "dog").iterdir())
    value = json.loads((labelled / "model.json").read_text("utf-8"))
    answers = list(mobilenets.predict(labelled, pictures))
    for answer in answers:
        assert answer["sure"] is (answer["predictions"][0]["probability"] >= threshold)
    (labelled / "model.json").write_text(json.dumps(value | {"threshold": 1.0}), encoding="utf-8")
    assert main(["predict", str(labelled), str(pictures[0])]) == 0
    assert "not sure: " in capsys.readouterr().out


@pytest.mark.parametrize("accuracy", [0, 1.5, -1])
def test_a_wish_that_is_none(labelled: Path, trained: Any, accuracy: float) -> None:
    with pytest.raises(InputError, match="give a fraction"):
        mobilenets.evaluate(labelled, trained.data, accuracy=accuracy)


def test_a_wish_that_cannot_be_met_stores_nothing(
    labelled: Path, trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong"
    # Every picture under another name than its own.
    for label, name in (("cat", "dog"), ("dog", "owl"), ("owl", "cat")):
        shutil.copytree(trained.data / label, wrong / name)
    before = (labelled / "model.json").read_bytes()
    result = mobilenets.evaluate(labelled, wrong, accuracy=1.0)
    # The figures are there all the same.
    assert result["faults"][0].startswith("even its surest answers are not") and result["top1"] < 0.1
    assert (labelled / "model.json").read_bytes() == before
    out = tmp_path / "measured"
    assert main(["evaluate", str(labelled), str(wrong), "--accuracy", "1", "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert (
        f"top-1  {100 * result['top1']:.2f} %" in said.out and "mobilenets: even its surest answers are not" in said.err
    )
    assert json.loads((out / "metrics.json").read_text("utf-8"))["faults"] == result["faults"]


def test_classes_are_listed_by_name(labelled: Path, trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(labelled), str(trained.data)]) == 0
    said = capsys.readouterr().out
    names = mobilenets.evaluate(labelled, trained.data)["names"]
    assert set(names) == {"cat", "dog", "owl"} and all(name in said for name in names.values())
    assert mobilenets.evaluate(trained.run, trained.data)["names"] is None
