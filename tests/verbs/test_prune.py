"""``prune``: fewer channels, a run like any other, compared with the run it came from on pictures neither learned."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mobilenets
from mobilenets.bench import channels
from mobilenets.cli import main
from mobilenets.errors import InputError
from mobilenets.models.network import Network
from mobilenets.models.prune import groups as groups_of
from mobilenets.models.saved import SavedModel, load_model
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle
from mobilenets.shrinking.device import Layers
from mobilenets.verbs import prune as verb


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a network take a millisecond for a thousand of its multiply-accumulates, and each channel alike."""

    def milliseconds(networks: list[Network], threads: int, seconds: float) -> list[float]:
        return [network.plan.macs / 1e3 for network in networks]

    def a_channel(network: Network, groups: list[Any], threads: int, seconds: float) -> dict[str, float]:
        every = sum(group.channels for group in groups)
        return {group.name: network.plan.macs / 1e3 / every for group in groups}

    monkeypatch.setattr(verb, "milliseconds", milliseconds)
    monkeypatch.setattr(verb, "milliseconds_a_channel", a_channel)


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_what_layers_take_on_a_device_gives_the_share_that_was_asked_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of V1 each pointwise layer loses channels on both sides, so that its savings do not add up."""
    network = mobilenets.create_model(name, classes=3, width=0.5, size=64)
    found, rng = groups_of(network.architecture, network.plan), np.random.default_rng(0)
    monkeypatch.setattr(verb, "worth", lambda *_: {one.name: rng.random(one.channels) for one in found})
    bundle = Bundle(network.architecture.to_json(), ("a", "b", "c"), Preprocessing(64))
    times = {"logits" if part.name == "classifier" else part.name: part.macs / 1e6 for part in network.plan.operations}
    layers = Layers(network.plan.macs / 1e6, times)
    left = verb.narrowed_there(SavedModel(network, bundle), Path(), Path(), 0.5, layers).network
    assert 0.45 < left.plan.macs / network.plan.macs <= 0.5


def stopped(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("clock", "undrawn")
def test_a_run_whose_features_were_compared_goes_on_without(trained: Any, tmp_path: Path) -> None:
    """Pruning leaves fewer features than its teacher has."""
    shutil.copytree(trained.run, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    record["recipe"] |= {"teacher": [str(trained.run)], "feature_weight": 2.0}
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(record))
    mobilenets.prune(tmp_path / "run", trained.data, to=0.8, steps=1, epochs=1, out=tmp_path / "out")
    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text())["recipe"]
    assert recipe["teacher"] == [str(trained.run)] and recipe["feature_weight"] == 0.0


@pytest.mark.usefixtures("clock", "undrawn")
def test_from_the_command_line_stopped_and_taken_up(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "narrow"
    command = ["prune", str(trained.run), str(trained.data), "--steps", "1", "--epochs", "1", "--out", str(out)]
    with monkeypatch.context() as patch:
        patch.setattr(verb, "train", stopped)
        assert main(command) == 130
    assert capsys.readouterr().err.splitlines()[-1].endswith("to continue: run the same command again")
    assert (
        main([*command, "--to", "0.5"]) == 2 and "begun with another model or other settings" in capsys.readouterr().err
    )
    monkeypatch.setattr(verb, "narrowed", stopped)  # what is left was chosen, and is kept
    assert main([*command, "--json"]) == 0
    start = tmp_path / "narrow-rounds" / "start-1"
    assert list(start.parent.iterdir()) == [start]
    assert json.loads((out / "recipe.json").read_text())["recipe"]["weights"] == str(start)
    assert load_model(start).network.plan.macs == load_model(out).network.plan.macs
    result = json.loads(capsys.readouterr().out)
    before, after = load_model(trained.run).network, load_model(out).network
    assert result["macs"] == [before.plan.macs, after.plan.macs]
    assert abs(result["share"] - 0.7) < 0.05
    assert result["share"] == pytest.approx(after.plan.macs / before.plan.macs)
    assert all(now <= was for was, now in result["channels"].values())
    assert result["compare"]["models"][1]["model"] == str(out)
    assert result["compare"]["evaluated_on"] == "not learned from"
    assert json.loads((out / "prune.json").read_text())["run"] == str(out)
    # The same pictures are held out, and the run says where it came from.
    assert (out / "seen.csv").read_text() == (trained.run / "seen.csv").read_text()
    with pytest.raises(InputError, match="narrow: is there already"):
        mobilenets.prune(trained.run, trained.data, out=out)
    out.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="narrow-rounds: is there already"):
        mobilenets.prune(trained.run, trained.data, out=out)


def test_parts_are_timed_by_the_runtime(trained: Any) -> None:
    network = load_model(trained.run).network
    groups = groups_of(network.architecture, network.plan)
    found = channels.milliseconds_a_channel(network, groups, 1, 0.02)
    assert list(found) == [group.name for group in groups]
    assert all(0 < value < 10 for value in found.values())
    [once] = channels.milliseconds([network], 1, 0.02)
    assert 0 < once < 1000


@pytest.mark.parametrize(
    ("floor", "to", "message"),
    [(0.8, 0.7, "takes 80% of its time with 8 channels"), (0.6, 0.65, "its time hardly follows its channels: 65%")],
)
def test_a_network_whose_time_does_not_follow_its_channels_is_left_alone(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, floor: float, to: float, message: str
) -> None:
    monkeypatch.setattr(verb, "milliseconds", lambda networks, *_: [1.0, floor][: len(networks)])
    with pytest.raises(InputError, match=message):
        mobilenets.prune(trained.run, trained.data, to=to, out=tmp_path / "new")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("clock")
def test_the_nearest_of_noisy_times_is_taken_and_said(
    trained: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    saved = load_model(trained.run)
    shares = iter([1.0, 0.8, 0.9, 1.1])
    found = groups_of(saved.network.architecture, saved.network.plan)
    monkeypatch.setattr(verb, "worth", lambda *_: {one.name: np.arange(float(one.channels)) for one in found})
    tried = []

    def milliseconds(networks: list[Network], *_: Any) -> list[float]:
        tried.append(networks[1])
        return [1.0, next(shares)]

    monkeypatch.setattr(verb, "milliseconds", milliseconds)
    left = verb.narrowed(saved, trained.run, saved, trained.data, 0.7, 1)
    assert left.network is tried[1] and "takes 80 % of the time, not 70 %" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"to": 1.0}, "to 1: give the share"),
        ({"to": float("nan")}, "to nan: give the share"),
        ({"steps": 0}, "steps 0"),
        ({"device": "tpu"}, "tpu"),
        ({"threads": 0}, "threads 0"),
        ({"epochs": 0}, "epochs"),
        ({"data": "nowhere"}, "nowhere"),
        ({"model": "nowhere"}, "nowhere: no such model"),
    ],
)
def test_what_cannot_be(trained: Any, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    given = {"model": trained.run, "data": trained.data, "out": tmp_path / "new", **settings}
    with pytest.raises(InputError, match=message):
        mobilenets.prune(**given)
    assert not (tmp_path / "new").exists()
