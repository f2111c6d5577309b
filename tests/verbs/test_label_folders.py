"""Pictures measured with a model whose labels know its classes by other names, or not well enough."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mobilenets
from mobilenets.errors import InputError
from mobilenets.runs.held_out import pictures_to_export

LABELS = {
    "classes": {
        "cat": {"names": {"zh": "猫", "en": "house cat"}, "group": "furry"},
        "dog": {"names": {"zh": "狗"}, "group": "furry"},
        "owl": {"names": {"fr": "hibou à aigrettes"}, "group": "feathered"},
    },
    "groups": {"furry": {"names": {}}, "feathered": {"names": {}}},
}
CLASSES = ("cat", "dog", "owl")


@pytest.fixture
def labelled(trained: Any, tmp_path: Path) -> Path:
    """Give a copy of the trained run whose model.json has labels."""
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    relabel(run, LABELS)
    return run


@pytest.fixture
def renamed(trained: Any, tmp_path: Path) -> Path:
    """Give DATA with both halves, the class folders of the second called by names; one as macOS writes it."""
    data = tmp_path / "data"
    for label, name in (("cat", "House_Cat"), ("dog", "狗"), ("owl", "Hibou a\u0300 aigrettes")):
        shutil.copytree(trained.data / label, data / "train" / label)
        shutil.copytree(trained.data / label, data / "validation" / name)
    return data


def relabel(run: Path, labels: Any) -> None:
    value = json.loads((run / "model.json").read_text("utf-8"))
    (run / "model.json").write_text(json.dumps(value | {"labels": labels}), encoding="utf-8")


def test_folders_are_found_by_the_names_of_the_labels(labelled: Path, renamed: Path, trained: Any) -> None:
    result = mobilenets.evaluate(labelled, renamed)
    assert [result["classes"][name]["images"] for name in CLASSES] == [20, 20, 20]
    assert result["top1"] > 0.9
    halves = pictures_to_export(labelled, renamed, CLASSES, training=True)
    assert [len(halves.training), len(halves.measured)] == [60, 60]
    assert {sample.label for sample in halves.measured} == {0, 1, 2}
    # As a folder that is not split: what the model learned from is known again, and may calibrate an export.
    assert mobilenets.evaluate(labelled, renamed / "validation")["images"] == 12
    halves = pictures_to_export(labelled, renamed / "validation", CLASSES, training=True)
    assert [len(halves.training), len(halves.measured)] == [48, 12]
    with pytest.raises(InputError, match="class folders that the model does not know"):
        mobilenets.evaluate(trained.run, renamed)


def test_two_folders_of_one_class_are_not_measured(labelled: Path, renamed: Path) -> None:
    shutil.copytree(renamed / "train" / "cat", renamed / "validation" / "cat")
    with pytest.raises(InputError, match="two folders for the class 'cat', 'House_Cat' and 'cat'"):
        mobilenets.evaluate(labelled, renamed)


def test_evaluate_tells_why_nothing_is_scored_by_group(
    labelled: Path, trained: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert mobilenets.evaluate(labelled, trained.data)["groups"] is not None
    assert not warnings(caplog)
    relabel(labelled, LABELS | {"classes": {"cat": LABELS["classes"]["cat"], "dog": {}}})
    assert mobilenets.evaluate(labelled, trained.data)["groups"] is None
    [said] = warnings(caplog)
    assert said.startswith("no group for 'dog', 'owl': there are no scores or answers by group")


def test_evaluate_tells_of_labels_changed_since(
    labelled: Path, renamed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (renamed / "classes.json").write_text(json.dumps(LABELS), encoding="utf-8")
    mobilenets.evaluate(labelled, renamed)
    assert not warnings(caplog)
    changed = LABELS["classes"] | {"owl": {"group": "furry"}}
    (renamed / "classes.json").write_text(json.dumps(LABELS | {"classes": changed}), encoding="utf-8")
    result = mobilenets.evaluate(labelled, renamed)
    [said] = warnings(caplog)
    assert "differs from what the model has: the model keeps what it was trained with" in said
    assert set(result["groups"]["groups"]) == {"furry", "feathered"}


def test_training_tells_which_classes_lack_a_group(
    tmp_path: Path, draw: Any, caplog: pytest.LogCaptureFixture, undrawn: None
) -> None:
    data = draw(tmp_path / "pets", {"cat": 4, "dog": 4, "newt": 4})
    (data / "classes.json").write_text(json.dumps(LABELS), encoding="utf-8")
    machine = {"device": "cpu", "threads": 1, "workers": 1}
    network = {"model": "mobilenet_v1_cifar", "size": 32, "width": 0.25, "epochs": 1, "batch": 4}
    metrics = mobilenets.train(data, tmp_path / "run", **machine, **network)
    assert metrics["groups"] is None
    assert [said for said in warnings(caplog) if said.startswith("no group for 'newt': there are no scores")]


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "\ud800"])
def test_a_model_with_names_that_cannot_be_shown_is_refused(labelled: Path, trained: Any, name: str) -> None:
    relabel(labelled, {"classes": {"cat": {"names": {"en": name}}}})
    with pytest.raises(InputError, match=r"model\.json: .*has a character that cannot be shown"):
        mobilenets.evaluate(labelled, trained.data)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
