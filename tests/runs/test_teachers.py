"""Which models teach a run, of which classes, and how they see; and pictures without labels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mobilenets.datasets.folder import read_folder
from mobilenets.datasets.layout import Layout
from mobilenets.datasets.loader import Loader
from mobilenets.datasets.prepare import prepare
from mobilenets.errors import InputError
from mobilenets.models.engine import NetworkEngine
from mobilenets.models.saved import load_classifier
from mobilenets.pictures.decode import decode
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs import teacher_model
from mobilenets.runs import teachers as module
from mobilenets.runs.teachers import Teachers, open_teachers
from mobilenets.runs.together import refuse_together
from mobilenets.runs.unlabelled import begin_unlabelled
from mobilenets.tasks.classification.task import Classification
from mobilenets.training.loop import Training
from mobilenets.training.recipe import Recipe
from mobilenets.verbs.export import export
from mobilenets.verbs.sparsify import zeros as zeros_of
from mobilenets.verbs.train import train

CPU = torch.device("cpu")
CLASSES = ("cat", "dog", "owl")


def opened(*places: Path, classes: tuple[str, ...] = CLASSES, **settings: Any) -> Teachers:
    found = open_teachers(Recipe(teacher=list(places), **settings), CPU)
    assert found is not None
    return Teachers(found.models, classes)


@pytest.fixture
def pixels(trained: Any) -> Any:
    """Give six pictures as the trained model prepares them, before its numbers, N×S×S×3."""
    folder, preprocessing = read_folder(trained.data), load_classifier(trained.run).bundle.preprocessing
    return np.stack([np.asarray(preprocessing.fit(decode(one.path))) for one in folder.samples[::10]])


def own_answers(run: Path, pixels: Any) -> Any:
    saved = load_classifier(run)
    images = torch.from_numpy(saved.bundle.preprocessing.normalise(pixels)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return torch.log_softmax(saved.network.eval()(images), 1).numpy()


def test_it_says_what_the_model_says(trained: Any, pixels: Any) -> None:
    teacher, expected = opened(trained.run), own_answers(trained.run, pixels)
    contract = load_classifier(trained.run).bundle.preprocessing
    np.testing.assert_allclose(teacher(contract.normalise(pixels), contract), expected, atol=1e-4)
    other = Preprocessing(32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    np.testing.assert_allclose(teacher(other.normalise(pixels), other), expected, atol=1e-3)
    assert (
        teacher(contract.normalise(pixels[:1]), contract).tobytes()
        == teacher(contract.normalise(pixels), contract)[:1].tobytes()
    )


def test_it_gives_its_features_too(trained: Any, pixels: Any) -> None:
    """They are what its classifier reads, and follow what it says."""
    saved = load_classifier(trained.run)
    contract = saved.bundle.preprocessing
    images, engine = contract.normalise(pixels), NetworkEngine(saved.network, CPU)
    features, logits = engine.features(images)
    teacher = opened(trained.run, feature_weight=1.0)
    found, said = (one(images, contract) for one in (teacher, opened(trained.run)))
    assert found.shape == (len(pixels), 3 + teacher.features)
    np.testing.assert_allclose(found[:, :3], said, atol=1e-4)
    np.testing.assert_allclose(found[:, 3:], features, atol=1e-4)
    np.testing.assert_array_equal(teacher_model._both(engine, images), np.concatenate([logits, features], 1))


def test_a_view_of_another_size_is_brought_to_its_own(trained: Any) -> None:
    """Shrunk with antialiasing, which of blocks of 8 × 8 in 64 × 64 pixels changes those at their borders alone."""
    whole, rng = Preprocessing(64), np.random.default_rng(0)
    small = np.repeat(np.repeat(rng.integers(90, 150, (2, 8, 8, 3), np.uint8), 4, 1), 4, 2)
    large = np.repeat(np.repeat(small, 2, 1), 2, 2)
    found, expected = opened(trained.run)(whole.normalise(large), whole), own_answers(trained.run, small)
    assert np.abs(np.exp(found) - np.exp(expected)).max() < 0.05


def test_classes_are_matched_by_name(trained: Any, pixels: Any) -> None:
    contract = load_classifier(trained.run).bundle.preprocessing
    images = contract.normalise(pixels)
    every = np.exp(opened(trained.run)(images, contract))
    two = np.exp(opened(trained.run, classes=("owl", "cat"))(images, contract))
    np.testing.assert_allclose(two, every[:, [2, 0]] / every[:, [2, 0]].sum(1, keepdims=True), rtol=1e-4)
    with pytest.raises(InputError, match=r"does not know cow of DATA's classes; it knows cat, dog, owl"):
        opened(trained.run, classes=("cat", "cow"))


def test_of_several_the_mean_counts(trained: Any, pixels: Any, tmp_path: Path) -> None:
    """An exported file may be one of them."""
    shutil.copytree(trained.run, tmp_path / "run")
    file = Path(export(tmp_path / "run", tmp_path / "half", pixels=True, probabilities=True, tolerance=100)["file"])
    contract = load_classifier(trained.run).bundle.preprocessing
    images = contract.normalise(pixels)
    one, other = (np.exp(opened(place)(images, contract)) for place in (trained.run, file))
    assert np.allclose(one, other, atol=1e-3)
    both = opened(trained.run, file)
    np.testing.assert_allclose(np.exp(both(images, contract)), (one + other) / 2, rtol=1e-4, atol=1e-6)
    assert len({both.mark, opened(trained.run).mark, opened(file).mark}) == 3


@pytest.fixture
def lesson(trained: Any, quick_settings: dict[str, Any], draw: Any, tmp_path: Path) -> dict[str, Any]:
    """Give settings with a teacher, and three usable pictures without labels of five."""
    folder = draw(tmp_path / "more" / "deep", {"any": 3}, size=30)
    (folder / "bad.png").write_bytes(b"no picture")
    split = (trained.run / "split.csv").read_text().splitlines()
    held = next(line.split(",")[0] for line in split if ",validation" in line)
    shutil.copy(trained.data / held, folder / "copy.png")
    shutil.copytree(trained.run, tmp_path / "teacher")
    taught = {"teacher": tmp_path / "teacher", "unlabelled": tmp_path / "more", "max_unreadable": 0.2}
    return quick_settings | taught | {"epochs": 1, "batch": 17}


def test_a_run_says_who_taught_it(trained: Any, lesson: dict[str, Any], tmp_path: Path) -> None:
    result = train(trained.data, tmp_path / "run", **lesson)
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    about = record["teaching"]
    assert result["taught_by"] == about and record["recipe"]["teacher"] == [str(tmp_path / "teacher")]
    [teacher] = about["teachers"]
    assert teacher["sha256"] == json.loads((trained.run / "model.json").read_text())["weights_sha256"]
    assert about["unlabelled"]["pictures"] == 3
    assert about["unlabelled"]["left_out"] == ["deep/bad.png", "deep/copy.png"]
    notes = " ".join(result["notes"])
    assert "1 of the 5 pictures without labels cannot be read" in notes and "are copies of held-out pictures" in notes
    assert "Taught at 16 pixels by teacher (mobilenet_v1_cifar 1 at 32 pixels), which is right on" in notes
    assert "taught by teacher" in (tmp_path / "run" / "report.html").read_text()
    # What was learned from without a label counts as learned from.
    seen = [set((folder / "seen.csv").read_text().splitlines()) for folder in (tmp_path / "run", trained.run)]
    assert seen[0] > seen[1] and sorted(line.partition(",")[2] for line in seen[0] - seen[1]) == 3 * [",train"]
    # What the teacher learned from is not measured on.
    assert (tmp_path / "run" / "split.csv").read_text() == (trained.run / "split.csv").read_text()


def test_pictures_of_data_are_not_unlabelled(trained: Any, tmp_path: Path) -> None:
    data = prepare(trained.data, share=0.2, seed=0, max_unreadable=0)
    data = replace(data, layout=Layout(tmp_path, tmp_path / "train"))  # one beside which others lie
    for place, name in ((data.train[0].path, "labelled.png"), (data.validation[0].path, "held.png")):
        shutil.copy(place, tmp_path / name)
    recipe = Recipe(teacher="big", unlabelled=str(tmp_path), workers=1)
    with pytest.raises(InputError, match="no picture is left that is not one of DATA's"):
        begin_unlabelled(recipe, data)
    Image.new("RGB", (32, 32), "teal").save(tmp_path / "new.png")
    found = begin_unlabelled(recipe, data)
    assert [path.name for path in found.contents] == ["new.png"]
    assert [note.partition(" of the ")[0] for note in found.notes] == ["1", "1"]
    assert "held-out" in found.notes[0] and "labelled training" in found.notes[1]


def test_it_goes_on_with_the_same_teacher_only(
    trained: Any, lesson: dict[str, Any], tmp_path: Path, undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    step: Callable[..., float] = Training._step

    def stopped(self: Training, state: Any, group: Any) -> float:
        if state.step == 1:
            raise InputError("stopped")
        return step(self, state, group)

    like = load_classifier(trained.run).network.architecture  # and so with as many features
    lesson |= {"sparsity": 0.5, "keep": "last", "feature_weight": 2.0, "width": like.width, "size": like.size}
    train(trained.data, tmp_path / "whole", **lesson)
    with monkeypatch.context() as patch, pytest.raises(InputError, match="stopped"):
        patch.setattr(Training, "_step", stopped)
        train(trained.data, tmp_path / "run", **lesson)
    weights, more = tmp_path / "teacher" / "model.safetensors", tmp_path / "more" / "new.png"
    shutil.copy(tmp_path / "more" / "deep" / "any" / "000.png", more)
    with pytest.raises(InputError, match="the pictures have changed since this run began"):
        train(trained.data, tmp_path / "run", resume=True)
    more.unlink()
    known = weights.read_bytes()
    shutil.rmtree(tmp_path / "teacher")
    shutil.copytree(tmp_path / "whole", tmp_path / "teacher")
    with pytest.raises(InputError, match="not the teacher that this run began with"):
        train(trained.data, tmp_path / "run", resume=True)
    shutil.rmtree(tmp_path / "teacher")
    shutil.copytree(trained.run, tmp_path / "teacher")
    assert weights.read_bytes() == known
    train(trained.data, tmp_path / "run", resume=True)
    both = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("run", "whole")]
    assert both[0] == both[1]
    assert all(2 * zeros == count for count, zeros in zeros_of(load_classifier(tmp_path / "run").network).values())
    shutil.rmtree(tmp_path / "teacher")  # of a finished run nobody asks it any more
    train(trained.data, tmp_path / "run", resume=True)


def test_the_teacher_is_tried_on_views_of_the_students_size(trained: Any) -> None:
    folder = read_folder(trained.data)
    loader = Loader(folder.samples, 3, Preprocessing(32), Classification(), workers=1)
    teachers = opened(trained.run)
    good = module.try_teacher(module.Lesson(teachers), loader)
    assert good is not None and good > 0.8
    assert module.try_teacher(module.Lesson(teachers), module.replace(loader, samples=())) is None


def test_what_cannot_teach(trained: Any, finder: Any, quick_settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a model that tells classes apart"):
        opened(finder.run)
    with pytest.raises(InputError, match="feature_weight: features are those of one teacher"):
        opened(trained.run, trained.run, feature_weight=1.0)
    with pytest.raises(InputError, match="feature_weight: the teacher has 1024 features and the network 64: leave"):
        train(trained.data, tmp_path / "run", teacher=trained.run, feature_weight=1.0, **quick_settings)
    like = load_classifier(trained.run).network.architecture
    alike = quick_settings | {"model": "mobilenet_v1_cifar", "width": like.width, "size": like.size}
    hint = {"teacher": trained.run, "feature_weight": 1.0}
    with pytest.raises(InputError, match="feature_weight: without effect where only the classifier learns"):
        train(trained.data, tmp_path / "run", **(alike | hint | {"freeze": "backbone"}))
    choosing = {"weights": "none", "minutes": 1, "model": "mobilenet_v2", "width": 0.35}
    with pytest.raises(InputError, match="1024 features, and no network that --minutes can choose"):
        train(trained.data, tmp_path / "run", **(hint | choosing))
    inside = trained.data / "cat"
    with pytest.raises(InputError, match="is inside the picture folder"):
        train(trained.data, tmp_path / "run", teacher=trained.run, unlabelled=inside, **quick_settings)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="teacher: not in several processes yet, and this training has 2; leave"):
        refuse_together(SimpleNamespace(count=2), Recipe(teacher="big"))  # type: ignore[arg-type]
