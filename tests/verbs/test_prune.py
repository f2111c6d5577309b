"""``prune``: fewer channels, a run like any other, compared with the run it came from on pictures neither learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mobilenets
from mobilenets.bench import channels
from mobilenets.cli import main
from mobilenets.errors import InputError
from mobilenets.models.network import Network
from mobilenets.models.prune import groups
from mobilenets.models.saved import load_classifier, load_model
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


@pytest.mark.usefixtures("clock", "undrawn")
def test_from_the_command_line(trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "narrow"
    command = ["prune", str(trained.run), str(trained.data), "--to", "0.7", "--steps", "1", "--epochs", "1"]
    assert main([*command, "--out", str(out), "--json"]) == 0
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
    with pytest.raises(InputError, match="is there already"):
        mobilenets.prune(trained.run, trained.data, out=out)


def test_parts_are_timed_by_the_runtime(trained: Any) -> None:
    network = load_model(trained.run).network
    found_groups = groups(network.architecture, network.plan)
    found = channels.milliseconds_a_channel(network, found_groups, 1, 0.02)
    assert list(found) == [group.name for group in found_groups]
    assert all(0 < value < 10 for value in found.values())
    [once] = channels.milliseconds([network], 1, 0.02)
    assert 0 < once < 1000


@pytest.mark.usefixtures("clock")
def test_only_what_cannot_get_narrower_is_refused(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = load_classifier(trained.run)
    with pytest.raises(InputError, match="with the fewest channels"):
        verb._narrowed(saved, trained.run, saved, trained.data, 0.01, 1)
    # On a busy machine the clock may never agree, however narrow the network: that is no reason to give up.
    whole = saved.network.plan.macs / 1e3
    monkeypatch.setattr(verb, "milliseconds", lambda *_: [whole, 0.8 * whole])
    left = verb._narrowed(saved, trained.run, saved, trained.data, 0.7, 1).network
    assert left.plan.macs < saved.network.plan.macs


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"to": 1.0}, "to 1: give the share"),
        ({"to": float("nan")}, "to nan: give the share"),
        ({"steps": 0}, "steps 0"),
        ({"epochs": 0}, "epochs 0"),
        ({"device": "tpu"}, "tpu"),
        ({"threads": 0}, "threads 0"),
        ({"data": "nowhere"}, "nowhere"),
        ({"model": "nowhere"}, "nowhere: no such model"),
    ],
)
def test_what_cannot_be(trained: Any, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    given = {"model": trained.run, "data": trained.data, "out": tmp_path / "new", **settings}
    with pytest.raises(InputError, match=message):
        mobilenets.prune(**given)
    assert not (tmp_path / "new").exists()
