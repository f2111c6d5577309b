"""The rungs of ``shrink``: who is trained for how long, by a clock of the test's own, and taken up again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mobilenets
from mobilenets.models.int8 import Rounding
from mobilenets.models.prune import groups
from mobilenets.models.saved import SavedModel, load_classifier
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.request import Request
from mobilenets.runtime.bundle import Bundle
from mobilenets.shrinking.candidates import FLOAT, Candidate, Measured
from mobilenets.shrinking.device import Device, Layers
from mobilenets.shrinking.front import Point
from mobilenets.shrinking.halving import Budget, Pace
from mobilenets.shrinking.points import Lines
from mobilenets.training.recipe import Recipe
from mobilenets.verbs import shrink_train
from mobilenets.verbs.shrink_train import Search, climb, remeasured, resized, with_twins

WIDTHS = [1.0, 0.75, 0.5, 0.35, 0.25, 0.2, 0.15, 0.1, 0.09, 0.08, 0.07, 0.06]
ENTRIES = [Candidate("anew", "mobilenet_v2", width, 96) for width in WIDTHS]
PICTURES = 100


class World:
    """A machine that takes a second for an epoch of the widest, ``slow`` times as long as it was taken for."""

    def __init__(self, folder: Path, seconds: float | None, slow: float = 1.0) -> None:
        self.now, self.slow, self.trained = 0.0, slow, list[tuple[str, int, int]]()
        measured = {(one.name, FLOAT): Measured(one, FLOAT, one.width, 1, round(1000 * one.width)) for one in ENTRIES}
        nothing: dict[str, Any] = dict.fromkeys(("run", "data", "saved", "recipe", "work", "judged", "limit"))
        self.search = Search(
            **nothing,
            whole=18,
            longest=18,
            pictures=PICTURES,
            lines=Lines(folder / "points.jsonl"),
            budget=Budget(seconds, 0.0, lambda: self.now),
            threads=1,
            measured=measured,
            run_ms=1.0,
            here_ms=1.0,
            pace=Pace(1 / (1000 * PICTURES), 0.5),
            control=ENTRIES[3],
        )

    def train(self, search: Search, candidate: Candidate, rung: int, epochs: int, _: float) -> bool:
        """Take the time; as a real training does, end when it is up."""
        takes = self.slow * (epochs * candidate.width + 0.5)
        self.now += min(takes, max(0.5 * self.slow, search.budget.training()))
        self.trained.append((candidate.name, rung, epochs))
        right = "1" * round(100 * candidate.width) + "0" * (100 - round(100 * candidate.width))
        about = {"bytes": 1, "macs": 1, "seconds": 1.0, "folder": "x", "estimated": False, "epochs": epochs}
        point = Point(candidate=candidate, precision=FLOAT, rung=rung, ms=1.0, choosing=right, reporting=right, **about)
        search.lines.add("point", point.to_json())
        return True


def test_the_better_third_is_trained_longer_and_the_control_always(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, None)
    monkeypatch.setattr(shrink_train, "_train", world.train)
    climb(replace(world.search, limit=object()), ENTRIES)  # type: ignore[arg-type]
    by_rung = [[one for one in world.trained if one[1] == rung] for rung in range(3)]
    assert [len(some) for some in by_rung] == [12, 8, 5]
    assert {epochs for name, _, epochs in by_rung[0] if name != "v2-0.35-96"} == {2}
    assert ("v2-0.35-96", 0, 20) in by_rung[0]  # as long as the run and then as the others
    assert {name for name, *_ in by_rung[1]} >= {"v2-1-96", "v2-1-96-taught", "v2-0.35-96"}
    assert "v2-0.35-96" in {name for name, *_ in by_rung[2]} and {epochs for *_, epochs in by_rung[2]} == {12}


def test_with_time_for_one_it_is_one_that_goes_on_from_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, 8.0)
    monkeypatch.setattr(shrink_train, "_train", world.train)
    own = Candidate("pruned", "mobilenet_v2", 1.0, 96, 0.7)
    world.search.measured[own.name, FLOAT] = Measured(own, FLOAT, 0.7, 1, 700)
    climb(world.search, [ENTRIES[3], ENTRIES[0], own])
    assert [name for name, *_ in world.trained] == [own.name] and world.now <= 8
    (tmp_path / "more").mkdir()
    world = World(tmp_path / "more", None)
    monkeypatch.setattr(shrink_train, "_train", world.train)
    world.search.measured[own.name, FLOAT] = Measured(own, FLOAT, 0.7, 1, 700)
    climb(world.search, [ENTRIES[3], own])
    assert {name for name, *_ in world.trained} == {own.name, ENTRIES[3].name}


@pytest.mark.parametrize("slow", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("seconds", [20.0, 60.0, 600.0])
def test_it_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, slow: float) -> None:
    world = World(tmp_path, seconds, slow)
    monkeypatch.setattr(shrink_train, "_train", world.train)
    climb(world.search, ENTRIES)
    assert world.trained and world.now <= seconds
    if slow == 1.0 and seconds > 20:
        assert world.now > 0.4 * seconds or max(rung for _, rung, _ in world.trained) == 2


def test_stopped_and_taken_up_the_same_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "whole").mkdir()
    whole = World(tmp_path / "whole", None)
    monkeypatch.setattr(shrink_train, "_train", whole.train)
    climb(whole.search, ENTRIES)
    world, left = World(tmp_path, None), 15

    def until(*words: Any) -> bool:
        if len(world.trained) == left:
            raise KeyboardInterrupt
        return world.train(*words)

    monkeypatch.setattr(shrink_train, "_train", until)
    with pytest.raises(KeyboardInterrupt):
        climb(world.search, ENTRIES)
    left = 1000
    again = replace(world.search, lines=Lines(tmp_path / "points.jsonl"))
    climb(again, ENTRIES)
    assert world.trained == whole.trained
    assert (tmp_path / "points.jsonl").read_bytes() == (tmp_path / "whole/points.jsonl").read_bytes()


def test_the_control_is_trained_as_long_as_the_run_whatever_the_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, None)
    monkeypatch.setattr(shrink_train, "_train", world.train)
    climb(replace(world.search, longest=9), ENTRIES)
    assert {(name, epochs) for name, rung, epochs in world.trained if rung == 0} >= {("v2-1-96", 1), ("v2-0.35-96", 19)}


def test_a_candidate_is_trained_at_its_size_and_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``--minutes`` a training chooses the settings that were not asked for: 224 is also the size by default."""
    asked: dict[str, Any] = {}

    def begun(*_: Any, **settings: Any) -> None:
        asked.update(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(shrink_train, "train_since", begun)
    monkeypatch.setattr(shrink_train, "_recipe", lambda *_: Recipe(size=224, freeze="none", patience=3))
    search = replace(World(tmp_path, 60.0).search, work=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        shrink_train._train(search, replace(ENTRIES[0], size=224), 0, 2, 0.0)
    recipe = asked.pop("recipe")
    assert Request(tmp_path, tmp_path, recipe, asked, resume=False).stated >= {"size", "epochs", "freeze", "minutes"}
    # The pictures held out say nothing of when it ends, because the figures are taken on some of them.
    assert (asked["size"], recipe.epochs, recipe.keep, recipe.patience) == (224, 2, "last", None)


def test_the_layers_of_a_device_choose_what_is_pruned(trained: Any, tmp_path: Path) -> None:
    """What is slow there goes first, and what is left takes the share there that was asked for."""
    saved = load_classifier(trained.run)
    network = saved.network
    found = groups(network.architecture, network.plan)
    slow = found[3]
    times = {part.name: 30.0 if part.name in slow.filters else 1.0 for part in network.plan.convolutions}
    layers = Layers(sum(times.values()), times)
    device = Device({}, {FLOAT: 1.0}, "run-32", 1, layers)
    run = {"run": trained.run, "data": trained.data, "saved": saved, "work": tmp_path, "device": device}
    own = Candidate("pruned", "mobilenet_v2", 1.0, 32, 0.8)
    known = Measured(own, FLOAT, 0.8 * layers.whole, 1000, 1000, estimated=True)
    search = replace(World(tmp_path, None).search, **run, run_ms=layers.whole)
    left = load_classifier(shrink_train._start(search, own)).network
    counts = {group.name: group.channels for group in groups(left.architecture, left.plan)}
    gone = {group.name: group.channels - counts[group.name] for group in found}
    assert gone[slow.name] == max(gone.values()) and not any(count % 8 for count in counts.values())
    taken = remeasured(search, own, known, left)
    assert taken.estimated and 0.75 * layers.whole <= taken.ms <= 0.8 * layers.whole


def test_a_run_that_was_trained_for_int8_is_tried_at_other_sizes() -> None:
    network = mobilenets.create_model("mobilenet_v2", classes=2, width=0.35, size=64)
    network.int8 = Rounding(network.plan)
    bundle = Bundle(network.architecture.to_json(), ("a", "b"), Preprocessing(64))
    found = resized(SavedModel(network, bundle), 32)
    assert found.network.architecture.size == found.bundle.preprocessing.size == 32
    assert found.network.int8 is None and found.network.classifier.weight.equal(network.classifier.weight)


def test_twins() -> None:
    first, second = ENTRIES[:2]
    taught = replace(first, taught=True)
    assert with_twins([first], second) == [first, second, taught]
    assert with_twins([taught, first], None) == [taught, first]
