"""``train MORE --weights RUN``: more pictures or another class, without a picture changing sides."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mobilenets
from mobilenets.cli.train import trained as words_of
from mobilenets.datasets.folder import content_hash
from mobilenets.errors import InputError
from mobilenets.runtime.bundle import read_bundle

COURSE: dict[str, Any] = {
    "epochs": 1,
    "batch": 8,
    "lr": 1e-3,
    "augment": "none",
    "device": "cpu",
    "threads": 1,
    "workers": 1,
}


@pytest.fixture(autouse=True)
def _undrawn(undrawn: None) -> None:
    pass


def add(folder: Path, count: int, kind: int, first: int = 1000) -> None:
    """Write pictures that no other fixture draws: noise with more of one colour."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        pixels = np.random.default_rng((kind, number)).integers(0, 130, (24, 24, 3), np.uint8)
        pixels[..., kind % 3] += 90
        Image.fromarray(pixels).save(folder / f"{number}.png")


def halves(run: Path) -> dict[str, set[str]]:
    """Return the contents of the pictures of each half, from the run's own files."""
    record = json.loads((run / "recipe.json").read_bytes())
    found: dict[str, set[str]] = {"train": set(), "validation": set()}
    with (run / "split.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            found[row["split"]].add(content_hash(Path(record["data"]["folder"]) / row["image"]).hex())
    return found


def more(trained: Any, folder: Path, count: int = 10) -> Path:
    """Copy the pictures that the run learned from, under other names, and add some of each class."""
    for kind, name in enumerate(("cat", "dog", "owl")):
        (folder / name / "old").mkdir(parents=True)
        for number, picture in enumerate(sorted((trained.data / name).iterdir())):
            shutil.copy(picture, folder / name / "old" / f"IMG_{number}.png")
        add(folder / name, count, kind)
    return folder


def test_no_picture_changes_sides(trained: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = more(trained, tmp_path / "more")
    # Pictures in another class's folder, and copies, stay where they were too.
    moved = next((data / "cat/old").iterdir())
    moved.rename(data / "dog" / moved.name)
    shutil.copy(next((data / "owl/old").iterdir()), data / "owl" / "copy.png")
    with caplog.at_level(logging.INFO, "mobilenets"):
        metrics = mobilenets.train(data, tmp_path / "run", weights=str(trained.run), seed=7, **COURSE)
    before, after = halves(trained.run), halves(tmp_path / "run")
    assert before["train"] <= after["train"] and before["validation"] <= after["validation"]
    new = after["validation"] - before["validation"]
    assert len(new) == 6 and len(after["train"]) == 48 + 24
    assert metrics["seen_by_source"] == 0 and metrics["images"] in (18, 19)
    [note] = metrics["notes"][:1]
    assert note.startswith("the split of the model it starts from (or of its teacher) was kept: ")
    assert note.endswith("6 of 30 new ones are held out") and note in caplog.text
    assert json.loads((tmp_path / "run/recipe.json").read_bytes())["data"]["notes"][0] == note
    assert "never trained on" in caplog.text


def test_the_same_data_with_another_seed(trained: Any, tmp_path: Path) -> None:
    """Another seed would draw other pictures; the run that it begins with has drawn already."""
    metrics = mobilenets.train(trained.data, tmp_path / "run", weights=str(trained.run), seed=5, **COURSE)
    assert halves(tmp_path / "run") == halves(trained.run)
    assert metrics["seen_by_source"] == 0
    before = metrics["before"]
    assert before["top1"] == mobilenets.evaluate(trained.run, trained.data)["top1"]
    assert before["top1_now"] == metrics["top1"] and before["images"] == metrics["images"] == 12
    assert before["change"] == pytest.approx(before["top1_now"] - before["top1"])
    assert before["change_interval"][0] <= before["change"] <= before["change_interval"][1]


def test_through_a_chain_whose_links_are_gone(trained: Any, tmp_path: Path) -> None:
    first = shutil.copytree(trained.run, tmp_path / "first")
    for kind, name in enumerate(("cat", "dog", "owl")):
        add(tmp_path / "second_data" / name, 10, kind)
    mobilenets.train(tmp_path / "second_data", tmp_path / "second", weights=str(first), **COURSE)
    shutil.rmtree(first)
    # The third sees the first's pictures again, under a third seed.
    metrics = mobilenets.train(
        trained.data, tmp_path / "third", weights=str(tmp_path / "second/model.safetensors"), seed=9, **COURSE
    )
    assert halves(tmp_path / "third") == halves(trained.run)
    assert metrics["seen_by_source"] == 0
    with (tmp_path / "third/seen.csv").open(newline="") as stream:
        seen = list(csv.DictReader(stream))
    assert len(seen) == 60 + 30 and {row["split"] for row in seen} == {"train", "validation"}


def test_a_half_given_by_the_user_is_measured_as_it_is_and_said(trained: Any, tmp_path: Path) -> None:
    shutil.copytree(trained.data, tmp_path / "data/train")
    shutil.copytree(trained.data, tmp_path / "data/validation")
    metrics = mobilenets.train(tmp_path / "data", tmp_path / "run", weights=str(trained.run), **COURSE)
    assert (metrics["images"], metrics["seen_by_source"]) == (60, 48)
    [note] = [note for note in metrics["notes"] if "training pictures of the model it started from" in note]
    assert note.startswith(
        "48 of the 60 pictures measured on were already training pictures of the model it started from (80.00 %)"
    )
    # The comparison is on the others.
    assert metrics["before"]["images"] == 12


def test_a_bundle_that_does_not_say_what_it_saw(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    for name in ("model.json", "model.safetensors"):
        shutil.copy(trained.run / name, tmp_path / "bundle")
    metrics = mobilenets.train(trained.data, tmp_path / "run", weights=str(tmp_path / "bundle"), **COURSE)
    assert metrics["seen_by_source"] is None
    assert any("does not say which pictures it was trained on" in note for note in metrics["notes"])
    assert metrics["before"]["images"] == 12


def test_a_new_class(trained: Any, tmp_path: Path) -> None:
    data = more(trained, tmp_path / "data", 5)
    add(data / "bee", 10, 4)
    metrics = mobilenets.train(data, tmp_path / "run", weights=str(trained.run), **COURSE)
    assert read_bundle(tmp_path / "run").origin["head"] == "extended"
    assert any(
        note.startswith("new classes: bee; the classifier's weights for the others were kept")
        for note in metrics["notes"]
    )
    before = metrics["before"]
    assert before["classes"] == ["cat", "dog", "owl"] and before["images"] == metrics["images"] - 2
    # What it knew is not lost for the class that came before the others.
    assert before["top1_now"] > 0.5
    shown = words_of(metrics | {"data": "data"})
    assert (
        f"Before ({trained.run}): top-1 {100 * before['top1']:.2f} % on the {before['images']} pictures of the 3"
        in shown
    )
    same = words_of(metrics | {"data": "data", "before": before | {"gained": 0, "lost": 0}})
    assert "now exactly the same pictures are right" in same


def test_a_class_that_is_gone_and_one_renamed(trained: Any, tmp_path: Path) -> None:
    for name, folder in (("cat", "house cat"), ("dog", "dog")):
        shutil.copytree(trained.data / name, tmp_path / "data" / folder)
    metrics = mobilenets.train(tmp_path / "data", tmp_path / "run", weights=str(trained.run), **COURSE)
    assert "class cat is now called house cat: its pictures are those of cat" in metrics["notes"]
    assert any(note.startswith("DATA has no pictures of owl, which the model knew") for note in metrics["notes"])
    assert read_bundle(tmp_path / "run").origin["head"] == "kept"
    assert metrics["before"]["classes"] == ["dog", "house cat"] and metrics["before"]["images"] == 8


def test_new_pictures_alone_may_make_it_forget(trained: Any, tmp_path: Path) -> None:
    for kind, name in enumerate(("cat", "dog", "owl")):
        add(tmp_path / "data" / name, 6, kind)
    metrics = mobilenets.train(tmp_path / "data", tmp_path / "run", weights=str(trained.run), **COURSE)
    assert any("put old and new pictures into one folder" in note for note in metrics["notes"])


def test_another_task_is_not_compared(trained: Any, photos: Path, tmp_path: Path, draw: Callable[..., Path]) -> None:
    data = draw(tmp_path / "data", {"oak": 6, "elm": 6}, size=31)
    metrics = mobilenets.train(data, tmp_path / "run", weights=str(trained.run), **COURSE)
    assert metrics["before"] is None
    assert [note for note in metrics["notes"] if "are too few" not in note] == []


def test_a_resumed_run_says_the_same(trained: Any, tmp_path: Path) -> None:
    data = more(trained, tmp_path / "data", 5)
    whole = mobilenets.train(data, tmp_path / "run", weights=str(trained.run), **COURSE)
    again = mobilenets.train(data, tmp_path / "run", resume=True)
    for key in ("before", "notes", "seen_by_source", "top1"):
        assert again[key] == whole[key]


def test_a_source_that_is_lost_meanwhile_ends_nothing(
    trained: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start = shutil.copytree(trained.run, tmp_path / "start")
    mobilenets.train(trained.data, tmp_path / "run", weights=str(start), **COURSE)
    for name in ("model.safetensors", "model.onnx"):
        (start / name).unlink()
    again = mobilenets.train(trained.data, tmp_path / "run", resume=True)
    assert again["before"] is None and again["images"] == 12
    assert "the model that training started from is not compared" in caplog.text


def test_a_damaged_record_of_what_was_seen(trained: Any, tmp_path: Path) -> None:
    run = shutil.copytree(trained.run, tmp_path / "run")
    (run / "seen.csv").write_text("something,else\n1,2\n")
    with pytest.raises(InputError, match=r"seen\.csv: damaged"):
        mobilenets.evaluate(run, trained.data)
