from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mobilenets
from mobilenets.datasets.folder import read_folder
from mobilenets.datasets.loader import Loader
from mobilenets.datasets.split import read_split
from mobilenets.errors import InputError
from mobilenets.models.engine import NetworkEngine
from mobilenets.models.saved import load_model
from mobilenets.runtime.answers import softmax
from mobilenets.tasks.classification.task import Classification
from mobilenets.tasks.evaluate import evaluate_loader

CLASSES = ("cat", "dog", "owl")


def held_out(run: Path) -> list[str]:
    with (run / "split.csv").open(newline="", encoding="utf-8") as stream:
        return [row["image"] for row in csv.DictReader(stream) if row["split"] == "validation"]


def probabilities(answer: dict[str, Any]) -> list[float]:
    named = {entry["label"]: entry["probability"] for entry in answer["predictions"]}
    return [named[name] for name in CLASSES]


def test_predict_gives_the_probabilities_of_evaluate(trained: Any) -> None:
    import torch

    saved = load_model(trained.run)
    samples = read_split(trained.run / "split.csv", trained.data, saved.bundle.classes).validation
    loader = Loader(samples, 3, saved.bundle.preprocessing, Classification())
    engine = NetworkEngine(saved.network, torch.device("cpu"))
    measured = evaluate_loader(Classification(), engine, loader, CLASSES, trained.data)
    answers = mobilenets.predict(trained.run, [sample.path for sample in samples])
    found = np.array([probabilities(answer) for answer in answers])
    assert found.shape == (12, 3)
    np.testing.assert_allclose(found, softmax(measured.logits), rtol=0, atol=1e-6)
    alone = mobilenets.Predictor(trained.run)
    for sample, row in zip(samples, found, strict=True):
        named = dict(alone(sample.path))
        np.testing.assert_allclose([named[name] for name in CLASSES], row, rtol=0, atol=1e-6)


def test_own_folder_is_measured_on_the_held_out(trained: Any) -> None:
    result = mobilenets.evaluate(trained.run, trained.data)
    names = held_out(trained.run)
    assert (result["images"], result["evaluated_on"]) == (len(names), "validation")
    # The same figures from predictions of those very pictures.
    answers = mobilenets.predict(trained.run, [trained.data / name for name in names])
    confusion = np.zeros((3, 3), int)
    losses = []
    for name, answer in zip(names, answers, strict=True):
        truth, found = CLASSES.index(name.split("/")[0]), probabilities(answer)
        confusion[truth, int(np.argmax(found))] += 1
        losses.append(-math.log(found[truth]))
    assert result["confusion"] == confusion.tolist()
    assert result["loss"] == pytest.approx(np.mean(losses), abs=1e-5)
    assert result["top1"] == pytest.approx(np.trace(confusion) / len(names))
    metrics = json.loads((trained.run / "metrics.json").read_bytes())
    assert {key: metrics[key] for key in ("confusion", "images", "top1")} == {
        key: result[key] for key in ("confusion", "images", "top1")
    }


def test_own_folder_by_another_way_there(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(trained.data)
    assert mobilenets.evaluate(trained.run, tmp_path / "link")["images"] == 12
    monkeypatch.chdir(trained.data.parent)
    assert mobilenets.evaluate("run/model.safetensors", "./pets/../pets/")["images"] == 12


def another_folder(data: Path, copy: Path) -> Path:
    """Copy a folder with every file changed behind its picture, so that none is known by its content."""
    shutil.copytree(data, copy)
    for picture in copy.rglob("*.png"):
        picture.write_bytes(picture.read_bytes() + b"0")
    return copy


def test_other_folders_are_measured_whole(trained: Any, tmp_path: Path) -> None:
    result = mobilenets.evaluate(trained.run, another_folder(trained.data, tmp_path / "copy"))
    assert (result["images"], result["evaluated_on"], result["seen_in_training"]) == (60, "all", 0)
    assert result["notes"] == []
    # A bundle without the record of its run cannot know.
    (tmp_path / "bundle").mkdir()
    for name in ("model.json", "model.safetensors", "split.csv"):
        shutil.copy(trained.run / name, tmp_path / "bundle")
    for record in (None, "{}"):
        if record is not None:
            (tmp_path / "bundle/recipe.json").write_text(record)
        result = mobilenets.evaluate(tmp_path / "bundle", trained.data)
        assert (result["images"], result["seen_in_training"]) == (60, None)
        assert result["notes"][0].startswith("the model does not say what it was trained on")


def test_pictures_learned_from_are_known_wherever_they_lie(trained: Any, tmp_path: Path) -> None:
    """Renamed, and with others added: what was learned from is left out, what is new is measured too."""
    shutil.copytree(trained.data, tmp_path / "more")
    for number, picture in enumerate(sorted((tmp_path / "more").rglob("*.png"))):
        picture.rename(picture.with_name(f"IMG_{number}.png"))
    held = mobilenets.evaluate(trained.run, tmp_path / "more")
    assert (held["images"], held["evaluated_on"], held["seen_in_training"]) == (12, "validation", 0)
    for name in CLASSES:
        picture = next((tmp_path / "more" / name).iterdir())
        (picture.parent / "new.png").write_bytes(picture.read_bytes() + b"0")
    more = mobilenets.evaluate(trained.run, tmp_path / "more")
    assert (more["images"], more["evaluated_on"], more["seen_in_training"]) == (15, "held out and new", 0)
    assert more["notes"] == [
        "measured on 12 pictures that the model held out and 3 new ones; the 48 that it was trained on are left out"
    ]


def test_a_half_that_was_learned_from_is_said(trained: Any, tmp_path: Path) -> None:
    for half in ("train", "validation"):
        shutil.copytree(trained.data, tmp_path / half)
    result = mobilenets.evaluate(trained.run, tmp_path)
    assert (result["images"], result["seen_in_training"]) == (60, 48)
    assert result["notes"] == ["the model was trained on 48 of these 60 pictures (80.00 %): the figures are too high"]


def test_other_contents_at_the_same_path(trained: Any, tmp_path: Path) -> None:
    """What was held out was overwritten with training pictures, and others were added: paths say nothing."""
    run, data = tmp_path / "run", tmp_path / "pets"
    shutil.copytree(trained.run, run)
    shutil.copytree(trained.data, data)
    record = json.loads((run / "recipe.json").read_bytes())
    record["data"]["folder"] = str(data)
    (run / "recipe.json").write_text(json.dumps(record))
    held = held_out(run)
    taught = next(name for name in (f"cat/{number:03}.png" for number in range(20)) if name not in held)
    for name in held[:5]:
        (data / name).write_bytes((data / taught).read_bytes())
    some = mobilenets.evaluate(run, data)
    assert (some["images"], some["evaluated_on"], some["seen_in_training"]) == (7, "validation", 0)
    assert some["notes"] == [
        "measured on 7 pictures that the model held out; the 53 that it was trained on are left out; 5 of the 12 that "
        "it held out are no longer there, or were changed"
    ]
    for number, name in enumerate(held):
        (data / name).write_bytes((data / taught).read_bytes())
        (data / name).with_name(f"new{number}.png").write_bytes((data / taught).read_bytes() + b"0")
    new = mobilenets.evaluate(run, data)
    assert (new["images"], new["evaluated_on"]) == (12, "new")
    assert new["notes"] == [
        "measured on 0 pictures that the model held out and 12 new ones; the 60 that it was trained on are left out; "
        "12 of the 12 that it held out are no longer there, or were changed"
    ]
    checked = mobilenets.export(run, tmp_path / "out", data=data)
    assert (checked["images"], checked["evaluated_on"], checked["notes"]) == (12, "new", new["notes"])
    for name in data.rglob("new*.png"):
        name.unlink()
    none = mobilenets.evaluate(run, data)
    assert (none["images"], none["evaluated_on"], none["seen_in_training"]) == (60, "all", 60)
    assert none["notes"] == ["the model was trained on 60 of these 60 pictures (100.00 %): the figures are too high"]


def test_a_test_set_is_opened_once(trained: Any, draw: Callable[..., Path], tmp_path: Path) -> None:
    run, data = tmp_path / "run", tmp_path / "photos"
    shutil.copytree(trained.run, run)
    for count, half in enumerate(("train", "validation", "test"), start=2):
        draw(data / half, dict.fromkeys(CLASSES, count), size=30 + count)
    # The check of an export leaves it closed.
    assert mobilenets.export(run, tmp_path / "out", data=data, tolerance=100)["evaluated_on"] == "validation"
    assert not (run / "test.json").exists()
    first, second = (mobilenets.evaluate(run, data) for _ in range(2))
    assert first["notes"] == [] and first["test_set"]["before"] == 0
    assert second["test_set"] == {"before": 1, "first": first["test_set"]["first"]}
    [note] = second["notes"]
    assert note.startswith("measured on this test set once before, first on 20") and "no longer unseen" in note
    assert mobilenets.evaluate(run, data / "validation")["test_set"] is None
    shutil.copytree(data / "test", tmp_path / "moved" / "test")
    for half in ("train", "validation"):
        (tmp_path / "moved" / half).symlink_to(data / half)
    assert mobilenets.evaluate(run, tmp_path / "moved")["test_set"]["before"] == 2


def test_a_run_from_before_contents_were_kept(trained: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    (run / "seen.csv").unlink()
    shutil.copytree(trained.data, tmp_path / "moved")
    for data in (trained.data, tmp_path / "moved"):
        assert mobilenets.evaluate(run, data)["images"] == 12
    # With a mark and line ends as spreadsheets leave them.
    (run / "split.csv").write_bytes(
        b"\xef\xbb\xbf" + (run / "split.csv").read_bytes().replace(b",", b";").replace(b"\n", b"\r\n")
    )
    assert mobilenets.evaluate(run, trained.data)["images"] == 12


@pytest.mark.parametrize(("halves", "which"), [(("train", "validation", "test"), "test"), (("train", "val"), "val")])
def test_which_half_is_measured(
    trained: Any, draw: Callable[..., Path], tmp_path: Path, halves: tuple[str, ...], which: str
) -> None:
    for count, half in enumerate(halves, start=2):
        draw(tmp_path / "photos" / half, dict.fromkeys(CLASSES, count))
    shutil.copytree(trained.run, tmp_path / "run")  # in which the opening of a test set is written down
    result = mobilenets.evaluate(tmp_path / "run", tmp_path / "photos")
    assert result["images"] == 3 * (len(halves) + 1)
    assert result["evaluated_on"] == ("test" if which == "test" else "validation")


def test_a_missing_class_shifts_no_label(trained: Any, tmp_path: Path) -> None:
    for half in ("train", "validation"):
        shutil.copytree(trained.data, tmp_path / half)
    shutil.rmtree(tmp_path / "validation/cat")
    result = mobilenets.evaluate(trained.run, tmp_path)
    whole = mobilenets.evaluate(trained.run, another_folder(trained.data, tmp_path / "whole"))
    assert result["classes"]["cat"]["images"] == 0
    assert result["confusion"] == [[0, 0, 0], *whole["confusion"][1:]]
    assert result["confusion"][2][2] > 15  # owls are still owls
    assert [(p["kind"], Path(p["path"]).name) for p in result["problems"]] == [("class_missing", "cat")]


def test_an_unknown_class_is_refused(trained: Any, tmp_path: Path, draw: Callable[..., Path]) -> None:
    draw(tmp_path / "pets", {"cat": 2, "dog": 2, "emu": 2})
    with pytest.raises(InputError, match="class folders that the model does not know: emu; it knows cat, dog, owl"):
        mobilenets.evaluate(trained.run, tmp_path / "pets")


def test_labels_follow_the_model_and_not_the_folder(trained: Any, tmp_path: Path) -> None:
    # The same weights, with the classes named the other way round: what was a cat is called an owl.
    shutil.copytree(trained.run, tmp_path / "run")
    description = json.loads((tmp_path / "run/model.json").read_bytes())
    from mobilenets.runtime.bundle import classes_hash

    names = ("owl", "dog", "cat")
    description |= {"classes": list(names), "classes_sha256": classes_hash(names)}
    del description["contract_sha256"]  # as an earlier release wrote it
    (tmp_path / "run/model.json").write_text(json.dumps(description))
    (tmp_path / "run/recipe.json").unlink()
    other = another_folder(trained.data, tmp_path / "pets")
    before = mobilenets.evaluate(trained.run, other)["confusion"]
    after = mobilenets.evaluate(tmp_path / "run", other)
    assert list(after["classes"]) == list(names)
    assert after["confusion"] == [before[2], before[1], before[0]]


def test_a_bad_device_is_refused_before_any_picture_is_read(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobilenets.verbs.evaluate.check_readable", lambda *_: pytest.fail("read"))
    with pytest.raises(InputError, match="device 'toaster'"):
        mobilenets.evaluate(trained.run, trained.data, device="toaster")


def test_contents_are_hashed_once(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mobilenets.datasets import folder

    hashed: list[Path] = []
    hash_of = folder.content_hash

    def counted(path: Path) -> bytes:
        hashed.append(path)
        return hash_of(path)

    monkeypatch.setattr(folder, "content_hash", counted)
    result = mobilenets.evaluate(trained.run, trained.data)
    assert result["copies"]["images"] == 0 and len(hashed) == len(set(hashed)) == 60


def test_every_picture_once(trained: Any) -> None:
    # More than a batch of pictures, and a last batch that is not full.
    folder = read_folder(trained.data)
    answers = list(mobilenets.predict(trained.run, [trained.data]))
    assert [answer["image"] for answer in answers] == [str(sample.path) for sample in folder.samples]


def test_a_moved_folder_is_known_again(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Only the pictures held out are measured, wherever the folder lies now."""
    run, data = trained
    here = mobilenets.evaluate(run, data)
    shutil.copytree(data, tmp_path / "moved")
    there = mobilenets.evaluate(run, tmp_path / "moved")
    assert (there["images"], there["evaluated_on"]) == (here["images"], "validation")
    assert there["confusion"] == here["confusion"]


def test_random_numbers_of_the_caller_are_left_alone(trained: tuple[Path, Path]) -> None:
    run, data = trained
    before = torch.get_rng_state()
    mobilenets.evaluate(run, data)
    mobilenets.Predictor(run)
    assert torch.equal(torch.get_rng_state(), before)
