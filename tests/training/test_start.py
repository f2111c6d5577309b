from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mobilenets.datasets.folder import read_folder
from mobilenets.datasets.loader import Loader, in_order
from mobilenets.errors import InputError
from mobilenets.models.engine import to_tensor
from mobilenets.models.network import Network
from mobilenets.models.saved import SavedModel, load_model, save_weights
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle, read_bundle, write_bundle
from mobilenets.tasks.classification.task import Classification
from mobilenets.training.recipe import Recipe
from mobilenets.training.start import (
    architecture_of,
    follow,
    fresh_network,
    frozen_parts,
    preprocessing_of,
    refuse_lone_pictures,
    settle_norms,
)
from mobilenets.verbs.models import create_model
from mobilenets.verbs.train import train

CLASSES = ("blue", "green", "red")
WEIGHTS = "model.safetensors"


def begun(recipe: Recipe, classes: tuple[str, ...], saved: SavedModel | None) -> tuple[Network, dict[str, Any]]:
    return fresh_network(recipe, architecture_of(recipe, saved), classes, saved)


@pytest.fixture(autouse=True)
def _undrawn(undrawn: None) -> None:
    """Take the time of no plot: these tests are about weights."""


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a bundle at 224 pixels, with a preprocessing of its own and BatchNorm statistics that are not fresh."""
    folder = tmp_path_factory.mktemp("standard")
    torch.manual_seed(1)
    network = create_model("mobilenet_v1", 3, 0.25, size=224)
    for name, value in network.state_dict().items():
        if "running" in name:
            value.uniform_(0.5, 2)
    save_weights(folder / WEIGHTS, network.state_dict())
    contract = Preprocessing(224, "stretch", interpolation="bilinear", mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3))
    write_bundle(folder, Bundle(network.architecture.to_json(), CLASSES, contract, {"weights": "somewhere"}))
    return folder


@pytest.fixture(scope="module")
def saved(standard: Path) -> SavedModel:
    return load_model(standard)


def test_weights_bring_their_settings(saved: SavedModel) -> None:
    recipe = follow(Recipe(weights="x"), saved, {"weights"})
    assert (recipe.model, recipe.width, recipe.size, recipe.variant) == ("mobilenet_v1", 0.25, 224, "standard")
    assert (recipe.resize, recipe.interpolation, recipe.crop_fraction) == ("stretch", "bilinear", 0.875)
    assert preprocessing_of(recipe, saved) == saved.bundle.preprocessing


def test_training_goes_over_to_pillows_filter_and_says_so(saved: SavedModel, caplog: pytest.LogCaptureFixture) -> None:
    contract = dataclasses.replace(saved.bundle.preprocessing, interpolation="corner")
    corner = dataclasses.replace(saved, bundle=dataclasses.replace(saved.bundle, preprocessing=contract))
    with caplog.at_level("INFO", "mobilenets"):
        assert follow(Recipe(weights="x"), corner, {"weights"}).interpolation == "bilinear"
        assert "without antialiasing (corner); training resizes by Pillow's bilinear" in caplog.text
        caplog.clear()
        given = Recipe(weights="x", interpolation="lanczos")
        assert follow(given, corner, {"weights", "interpolation"}).interpolation == "lanczos"
    assert caplog.text == ""


def test_what_is_given_stands(saved: SavedModel) -> None:
    recipe = follow(Recipe(weights="x", size=32, resize="pad"), saved, {"weights", "size", "resize"})
    assert (recipe.model, recipe.size, recipe.variant, recipe.resize) == ("mobilenet_v1", 32, "auto", "pad")
    contract = preprocessing_of(recipe, saved)
    assert contract == dataclasses.replace(saved.bundle.preprocessing, size=32, resize="pad")


def test_a_table_of_ones_own_is_carried(tmp_path: Path) -> None:
    network = create_model("mobilenet_v2", 3, 1.0, size=40, table=[[1, 8, 1, 1], [2, 16, 2, 2]])
    save_weights(tmp_path / WEIGHTS, network.state_dict())
    write_bundle(tmp_path, Bundle(network.architecture.to_json(), CLASSES, Preprocessing(40)))
    own = load_model(tmp_path)
    again, _ = begun(follow(Recipe(weights="x"), own, {"weights"}), CLASSES, own)
    assert again.architecture == network.architecture
    assert_same(again.state_dict(), network.state_dict())


def test_from_224_to_32_pixels(saved: SavedModel) -> None:
    recipe = follow(Recipe(weights="x", size=32), saved, {"weights", "size"})
    network, origin = begun(recipe, CLASSES, saved)
    assert (network.architecture.size, network.architecture.variant) == (32, "small")
    assert origin == {"weights": "x", "head": "kept", "before": {"weights": "somewhere"}}
    assert_same(network.state_dict(), saved.network.state_dict())


@pytest.mark.parametrize(
    ("classes", "renamed", "known", "head"),
    [
        (("blue", "green"), {}, {0: 0, 1: 1}, "kept"),
        (("red", "green", "blue"), {}, {0: 2, 1: 1, 2: 0}, "kept"),
        (("blue", "green", "pink"), {}, {0: 0, 1: 1}, "extended"),
        (("azure", "green", "red"), {"azure": "blue"}, {0: 0, 1: 1, 2: 2}, "kept"),
        (("cat", "dog"), {}, {}, "replaced"),
    ],
)
def test_the_heads_rows_of_known_classes_are_kept(
    saved: SavedModel, classes: tuple[str, ...], renamed: dict[str, str], known: dict[int, int], head: str
) -> None:
    recipe = follow(Recipe(weights="x"), saved, {"weights"})
    network, origin = fresh_network(recipe, architecture_of(recipe, saved), classes, saved, renamed)
    state, given = network.state_dict(), saved.network.state_dict()
    assert origin["head"] == head
    rows = {"classifier.weight", "classifier.bias"}
    assert_same({n: t for n, t in state.items() if n not in rows}, {n: t for n, t in given.items() if n not in rows})
    assert state["classifier.weight"].shape == (len(classes), 256)
    # The others are as a fresh network of this seed has them.
    fresh, _ = begun(recipe.replace(weights="none"), classes, None)
    for name in rows:
        for row in range(len(classes)):
            source, place = (given, known[row]) if row in known else (fresh.state_dict(), row)
            assert torch.equal(state[name][row], source[name][place])


def test_one_name_among_imagenets_keeps_no_row() -> None:
    network = create_model("mobilenet_v1", 1000, 0.25, size=32).eval()
    names = tuple(f"class_{number}" for number in range(1000))
    saved = SavedModel(network, Bundle(network.architecture.to_json(), names, Preprocessing(32)))
    recipe = follow(Recipe(weights="x"), saved, {"weights"})
    assert begun(recipe, ("class_7", "dog", "owl"), saved)[1]["head"] == "replaced"
    assert begun(recipe, ("class_7", "class_9", "owl"), saved)[1]["head"] == "extended"


def test_the_saved_network_is_not_changed(saved: SavedModel) -> None:
    before = {name: tensor.clone() for name, tensor in saved.network.state_dict().items()}
    network, _ = begun(follow(Recipe(weights="x"), saved, {"weights"}), CLASSES, saved)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.zero_()
    assert_same(saved.network.state_dict(), before)


@pytest.mark.parametrize("changes", [{"width": 0.5}, {"model": "mobilenet_v2"}, {"model": "mobilenet_v1_cifar"}])
def test_another_network_is_refused(photos: Path, standard: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^the weights are for mobilenet_v1 at width 0.25 and do not") as caught:
        train(photos, tmp_path / "run", weights=str(standard), size=32, **changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("freeze", ["backbone", "2"])
def test_frozen_is_bit_identical(
    draw: Callable[..., Path], finished: Path, tmp_path: Path, small: dict[str, Any], freeze: str
) -> None:
    data = draw(tmp_path / "photos", {"a": 10, "b": 10}, size=21)
    del small["model"], small["width"], small["size"]
    result = train(data, tmp_path / "run", freeze=freeze, **small | {"ema": 0.5, "weights": str(finished)})
    before, after = load_file(finished / WEIGHTS), load_file(tmp_path / "run" / WEIGHTS)
    blocks = {name.split(".")[1] for name in before if name.startswith("body.")}
    frozen = blocks if freeze == "backbone" else {"conv0", "separable1"}
    kept = {name for name in before if name.split(".")[1] in frozen}
    assert any("running_mean" in name for name in kept)
    assert_same({name: after[name] for name in kept}, {name: before[name] for name in kept})
    for name in before.keys() - kept:
        assert before[name].shape != after[name].shape or not torch.equal(before[name], after[name]), name
    bundle = read_bundle(tmp_path / "run")
    assert bundle.classes == ("a", "b")
    assert bundle.origin["head"] == "replaced"
    assert result["parameters"] == sum(t.numel() for n, t in after.items() if "running" not in n and "num_" not in n)


def test_frozen_random_blocks_give_features_to_learn_from(photos: Path) -> None:
    """Fresh BatchNorm lets the features shrink away; after it has seen pictures they are of order 1 and differ."""
    folder = read_folder(photos)
    pictures = Loader(folder.samples, 3, Preprocessing(32), Classification(), workers=1, mixup=0.5)
    torch.manual_seed(0)
    network = create_model("mobilenet_v2", 3, 0.25, size=32).eval()
    plain = Loader(folder.samples, 3, Preprocessing(32), Classification(), workers=1)
    batch = next(iter(plain.batches(in_order(len(folder.samples), 64))))
    images = to_tensor(batch.images, torch.device("cpu"))
    norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    momentum = norms[0].momentum
    weights = {name: value.clone() for name, value in network.named_parameters()}
    with torch.inference_mode():
        assert network.trunk(images, len(network.body)).std(0).mean() < 1e-4
        settle_norms(tuple(network.body), pictures, torch.device("cpu"))
        assert 0.05 < network.trunk(images, len(network.body)).std(0).mean() < 5
    assert_same(dict(network.named_parameters()), weights)
    assert {norm.momentum for norm in norms} == {momentum}
    assert not any(part.training for part in network.body.modules())


def test_random_weights_may_be_frozen_with_a_warning(
    photos: Path, tmp_path: Path, small: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "two"):
        train(photos, tmp_path / name, freeze="backbone", **small)
    said = [record.getMessage() for record in caplog.records if "random, untrained weights" in record.getMessage()]
    assert len(said) == 2 and said[0].endswith("set --weights imagenet or MODEL, or leave --freeze out")
    one, two = (load_file(tmp_path / name / WEIGHTS) for name in ("one", "two"))
    assert_same(one, two)
    fresh, _ = begun(Recipe(**small), CLASSES, None)
    moved = {name for name, value in fresh.state_dict().items() if not torch.equal(value, one[name])}
    assert {"classifier.weight", "body.conv0.norm.running_var"} <= moved
    assert not [name for name in moved if name.startswith("body") and "running" not in name and "num_" not in name]
    # What it holds is not measured again when the run goes on.
    train(photos, tmp_path / "one", resume=True)
    assert_same(load_file(tmp_path / "one" / WEIGHTS), one)


def test_what_was_kept_is_said_once(
    draw: Callable[..., Path],
    finished: Path,
    tmp_path: Path,
    small: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = draw(tmp_path / "photos", {"a": 4, "b": 4}, size=21)
    with caplog.at_level(logging.INFO, "mobilenets"):
        train(data, tmp_path / "run", **small | {"epochs": 1, "weights": str(finished)})
    said = [record.getMessage() for record in caplog.records if "classifier" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("classifier replaced: 3 classes became 2; everything else kept (")


def test_freeze_more_blocks_than_there_are(photos: Path, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^freeze 7: this network has 6 blocks; choose at most that, or backbone$"):
        train(photos, tmp_path / "run", weights=str(finished), freeze="7")
    assert not (tmp_path / "run").exists()


def test_frozen_parts_are_blocks_from_the_input() -> None:
    network = create_model("mobilenet_v2", 3, 0.25, size=32)
    assert frozen_parts(network, "none") == ()
    assert frozen_parts(network, "backbone") == tuple(network.body)
    assert frozen_parts(network, "3") == tuple(list(network.body)[:3])


def test_a_batch_of_one(photos: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"model": "mobilenet_v1", "width": 0.25, "size": 32, "variant": "standard"}
    with pytest.raises(InputError, match=r"^batch 1: a step would see a single picture.* larger --batch or --size$"):
        train(photos, tmp_path / "run", batch=1, **settings)
    assert not (tmp_path / "run").exists()
    network = create_model("mobilenet_v1", 3, 0.25, size=32, variant="standard")
    with pytest.raises(InputError, match=r"^batch 2"):
        refuse_lone_pictures(Recipe(batch=2), network, 3)
    refuse_lone_pictures(Recipe(batch=2), network, 4)
    refuse_lone_pictures(Recipe(batch=1, weights="x", freeze="backbone"), network, 4)
    refuse_lone_pictures(Recipe(batch=1), create_model("mobilenet_v1", 3, 0.25, size=64, variant="standard"), 4)


def test_recipe_file_runs_again_to_the_same_bytes(photos: Path, tmp_path: Path, small: dict[str, Any]) -> None:
    settings = small | {"ema": 0.9, "mixup": 0.3, "dropout": 0.2, "balance": "sampling", "seed": 3, "accumulate": 2}
    train(photos, tmp_path / "one", **settings)
    train(photos, tmp_path / "two", recipe=tmp_path / "one" / "recipe.json")
    assert (tmp_path / "one" / WEIGHTS).read_bytes() == (tmp_path / "two" / WEIGHTS).read_bytes()
    assert (tmp_path / "one" / "split.csv").read_bytes() == (tmp_path / "two" / "split.csv").read_bytes()
    train(photos, tmp_path / "three", recipe=tmp_path / "one" / "recipe.json", seed=4)
    assert (tmp_path / "one" / WEIGHTS).read_bytes() != (tmp_path / "three" / WEIGHTS).read_bytes()


def test_recipe_file_with_weights_states_the_defaults_too(
    photos: Path, finished: Path, tmp_path: Path, small: dict[str, Any]
) -> None:
    """A default that the user gave against the weights' own is in the file like any other setting."""
    start = Path(shutil.copytree(finished, tmp_path / "start"))
    bundle = read_bundle(start)
    write_bundle(start, dataclasses.replace(bundle, preprocessing=Preprocessing(16, "stretch")))
    settings = small | {"weights": str(start), "epochs": 1}
    train(photos, tmp_path / "one", resize="crop", **settings)
    train(photos, tmp_path / "two", recipe=tmp_path / "one" / "recipe.json")
    train(photos, tmp_path / "followed", **settings)
    bundles = {name: read_bundle(tmp_path / name) for name in ("one", "two", "followed")}
    assert [bundles[name].preprocessing.resize for name in bundles] == ["crop", "crop", "stretch"]
    assert (tmp_path / "one" / WEIGHTS).read_bytes() == (tmp_path / "two" / WEIGHTS).read_bytes()
    recipes = [json.loads((tmp_path / name / "recipe.json").read_bytes())["recipe"] for name in ("one", "two")]
    assert recipes[0] == recipes[1]


def test_run_among_the_pictures(photos: Path, draw: Callable[..., Path], tmp_path: Path, small: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"is inside the picture folder .*: choose an --out outside it"):
        train(photos, photos / "run", **small)
    for part, count in (("train", 4), ("validation", 2)):
        draw(tmp_path / part, {"a": count, "b": count})
    with pytest.raises(InputError, match="is inside the picture folder"):
        train(tmp_path, tmp_path / "train" / "run", **small)
    assert train(tmp_path, tmp_path / "run", **small | {"epochs": 1})["images"] == 4


def test_odd_file_names(
    draw: Callable[..., Path], tmp_path: Path, small: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A name that is no text is written down and found again."""
    # pytest-xdist cannot hand on a captured note with such a name.
    caplog.set_level(logging.CRITICAL, logger="mobilenets")
    data = draw(tmp_path / "photos", {"a": 6, "b": 6})
    odd = b"caf\xe9.png"
    (data / "a" / "000.png").rename(Path(str(data).encode().decode()) / "a" / odd.decode("utf-8", "surrogateescape"))
    (data / "b" / b"caf\xe9.txt".decode("utf-8", "surrogateescape")).write_text("a note")
    first = train(data, tmp_path / "run", **small | {"epochs": 1})
    assert train(data, tmp_path / "run", resume=True)["loss"] == first["loss"]


def assert_same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
