"""``shrink``: latency first, then successive halving, and the export of the best that fits; stopped and taken up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mobilenets.cli import main
from mobilenets.errors import InputError
from mobilenets.models.network import Network
from mobilenets.runs.predictor import Predictor
from mobilenets.shrinking.latency import Timed
from mobilenets.verbs import shrink as verb
from mobilenets.verbs import shrink_end, shrink_train

A_MS = 1e6  # multiply-accumulates


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a network take a millisecond for a million of its multiply-accumulates; gives what was timed untrained."""
    timed: list[str] = []

    def untrained(_: Any, wanted: Sequence[Any], classes: int, *__: Any) -> list[Timed]:
        timed.extend(f"{one.name}-{one.width:g}-{one.size} {precision}" for one, precision in wanted)
        plans = [(one.plan(classes), 0.5 if precision == "int8" else 1.0) for one, precision in wanted]
        return [Timed(1.0, 0), *(Timed(plan.macs / A_MS * share, 4 * plan.parameters) for plan, share in plans)]

    def milliseconds(networks: list[Network], *_: Any) -> list[float]:
        return [network.plan.macs / A_MS for network in networks]

    def anew(_: Any, points: Sequence[Any], __: float) -> list[Any]:
        return list(points)

    monkeypatch.setattr(verb, "time_all", untrained)
    monkeypatch.setattr(verb, "onnx_file", lambda *_: b"")
    monkeypatch.setattr(shrink_train, "milliseconds", milliseconds)
    monkeypatch.setattr(shrink_train, "narrowed", lambda saved, *_: saved)
    monkeypatch.setattr(shrink_end, "timed_anew", anew)
    monkeypatch.setattr(shrink_end, "TRIED", 1)
    return timed


def stopping_after(count: int, real: Callable[..., Any]) -> Callable[..., Any]:
    left = iter(range(count))

    def train(*words: Any, **settings: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(*words, **settings)

    return train


@pytest.mark.usefixtures("undrawn")
def test_from_the_command_line_stopped_and_taken_up(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clock: list[str]
) -> None:
    out = tmp_path / "small"
    command = ["shrink", str(trained.run), "--data", str(trained.data), "--candidates", "2", "--epochs", "1"]
    command += ["--out", str(out)]
    with monkeypatch.context() as patch:
        patch.setattr(shrink_train, "train_since", stopping_after(1, shrink_train.train_since))
        assert main(command) == 130
    assert capsys.readouterr().err.splitlines()[-1].endswith("to continue: run the same command again")
    assert not out.exists()
    lines = (tmp_path / "small-candidates" / "points.jsonl").read_bytes()
    count = len(clock)
    assert main([*command, "--threads", "2"]) == 2 and "begun with another model" in capsys.readouterr().err
    with monkeypatch.context() as patch, pytest.raises(InputError, match="the held-out pictures have changed"):
        patch.setattr(verb, "fingerprint", lambda *_, **__: "other")
        verb.shrink(trained.run, trained.data, most=2, epochs=1, out=out)
    monkeypatch.chdir(tmp_path)  # the same from elsewhere, and within another limit
    command[1], command[-1] = os.path.relpath(trained.run), "small"
    command += ["--within", "900MB"]
    assert main([*command, "--json"]) == 0
    assert len(clock) == count  # nothing was timed again
    assert (tmp_path / "small-candidates" / "points.jsonl").read_bytes().startswith(lines)
    result = json.loads(capsys.readouterr().out)
    names = [point["name"] for point in result["points"]]
    assert "run-32" in names and result["control"] in names and len(names) == len(set(names))
    assert result["front"] and result["chosen"]["name"] in names
    assert {pair["second"] for pair in result["compare"]} >= {name for name in names if name.endswith("-int8")}
    assert (out / "front.png").stat().st_size > 10_000
    assert json.loads((out / "shrink.json").read_text()) == result
    # The control was trained as long as what is cut of the run: as the run itself, and then as the others.
    by_name = {point["name"]: point for point in result["points"]}
    cut = next(point for point in result["points"] if point["candidate"]["how"] in ("cut", "pruned"))
    assert by_name[result["control"]]["epochs"] >= cut["epochs"]
    assert any("not calibrated" in note for note in result["notes"]) == (result["chosen"]["rung"] >= 0)
    # All the epochs that weights were trained, whatever --epochs says of those to come.
    whole = json.loads((trained.run / "metrics.json").read_text())["epochs"]
    assert by_name["run-32"]["epochs"] == whole > 1 and by_name[result["control"]]["epochs"] > whole
    assert Predictor(out)(trained.data / "dog/001.png")[0]
    assert main(command) == 2 and "is there already" in capsys.readouterr().err
    # Killed after the export and before its last lines: the same call ends it.
    (out / "shrink.json").unlink()
    monkeypatch.setattr(shrink_train, "train_since", None)
    assert main([*command, "--json"]) == 0
    assert json.loads((out / "shrink.json").read_text())["points"] == result["points"]
    # A candidate taken up again is measured as any run is.
    one = tmp_path / "small-candidates" / by_name[result["control"]]["folder"]
    assert "calibration" not in json.loads((one / "model.json").read_text())
    assert main(["train", str(trained.data), "--resume", "--out", str(one)]) == 0
    assert "calibration" in json.loads((one / "model.json").read_text()) and (one / "metrics.json").exists()


@pytest.mark.usefixtures("clock")
def test_a_slow_device_changes_the_choice(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shrink_end, "TRIED", 0)
    row = {"model": "exported-onnx/model.onnx", "threads": 1, "batch": 1, "precision": "float32", "p50_ms": 100.0}
    device = tmp_path / "slow.json"
    device.write_text(json.dumps([row]))
    command = ["shrink", str(trained.run), "--data", str(trained.data), "--candidates", "1", "--epochs", "1"]
    command += ["--device", str(device), "--json"]
    found = {}
    for within in ("101ms", "30ms"):
        assert main([*command, "--within", within, "--out", str(tmp_path / within)]) == 0
        found[within] = json.loads(capsys.readouterr().out)
    slow, slower = (found[within]["chosen"] for within in found)
    assert slower["ms"] <= 30 < slow["ms"] <= 101 and slower["estimated"]
    assert found["30ms"]["device"] == "run-32"
    [run] = [point for point in found["30ms"]["points"] if point["name"] == "run-32"]
    assert run["ms"] == 100 and not run["estimated"]
    assert main([*command, "--within", "1ms", "--out", str(tmp_path / "none")]) == 2
    assert "nothing that is tried fits; the least is" in capsys.readouterr().err


@pytest.mark.usefixtures("clock")
def test_times_of_another_network_are_refused_and_others_go_on(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"model": "run-32.onnx", "threads": 1, "batch": 1, "p50_ms": 9.0, "layers": {"conv1": 2.0, "fc": 1.0}}
    device = tmp_path / "device.json"
    command = ["shrink", str(trained.run), "--data", str(trained.data), "--candidates", "1", "--epochs", "1"]
    command += ["--device", str(device), "--out", str(tmp_path / "small")]
    device.write_text(json.dumps([row]))
    assert main(command) == 2
    assert "has layers, but no time of body" in capsys.readouterr().err
    device.write_text(json.dumps([row | {"layers": {}, "bytes": 10}]))
    assert main(command) == 2
    assert "so it is another network: time what --write writes for this run" in capsys.readouterr().err
    # What was timed here stays true whatever the device says: nothing has to be removed.
    device.write_text(json.dumps([row | {"layers": {}}]))
    monkeypatch.setattr(shrink_train, "train_since", stopping_after(0, shrink_train.train_since))
    assert main(command) == 130


def test_untrained_candidates_are_written_for_a_device(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], clock: list[str]
) -> None:
    out = tmp_path / "device"
    command = ["shrink", str(trained.run), "--data", str(trained.data), "--candidates", "2", "--write", str(out)]
    assert main(command) == 0
    assert "python bench.py" in capsys.readouterr().out and clock
    names = {path.name for path in out.iterdir()}
    assert {"bench.py", "run-32.onnx", "run-32-int8.onnx"} < names and len(names) == 7
    assert main(command) == 2 and "is there already" in capsys.readouterr().err
    assert main([*command, "--minutes", "2"]) == 2
    assert "minutes: without effect where candidates are only written" in capsys.readouterr().err


@pytest.mark.usefixtures("clock")
def test_stopped_while_candidates_are_written_nothing_is_left(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> Path:
        raise KeyboardInterrupt

    settings: dict[str, Any] = {"most": 1, "write": tmp_path / "device"}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(verb, "write_device_script", stopped)
        verb.shrink(trained.run, trained.data, **settings)
    assert not list(tmp_path.iterdir())
    assert verb.shrink(trained.run, trained.data, **settings)["written"] == str(tmp_path / "device")
