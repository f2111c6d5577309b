"""``sparsify``: weights that are 0, a run like any other, compared with the run it came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mobilenets
from mobilenets.cli import main
from mobilenets.errors import InputError
from mobilenets.models.saved import load_model
from mobilenets.verbs import sparsify as verb


@pytest.fixture(autouse=True)
def _quick(undrawn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "SECONDS", 0.02)


def stopped(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def test_from_the_command_line_stopped_and_taken_up(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "sparse"
    command = ["sparsify", str(trained.run), str(trained.data), "--epochs", "2", "--out", str(out)]
    with monkeypatch.context() as patch:
        patch.setattr("mobilenets.training.loop.Training._close_epoch", stopped)
        assert main(command) == 130
    assert capsys.readouterr().err.splitlines()[-1].endswith("to continue: run the same command again")
    assert main([*command, "--sparsity", "0.5"]) == 2
    assert "begun with another model or other settings" in capsys.readouterr().err
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {(zeros, round(0.75 * count)) for count, zeros in result["layers"].values()} == {
        (zeros, zeros) for _, zeros in result["layers"].values()
    }
    assert result["zeros"] == sum(zeros for _, zeros in result["layers"].values()) > 1000
    assert verb.zeros(load_model(out).network) == result["layers"]
    assert result["zipped"][1] < 0.7 * result["zipped"][0] and result["bytes"][1] < 1.01 * result["bytes"][0]
    assert result["left_out"] == [] and all(0 < value < 1000 for value in result["milliseconds"])
    assert result["compare"]["models"][1]["model"] == str(out)
    assert result["compare"]["evaluated_on"] == "not learned from"
    assert json.loads((out / "sparsify.json").read_text()) == result
    assert (out / "sparsity.png").stat().st_size > 1000
    # The same pictures are held out, and the run says where it came from.
    assert (out / "seen.csv").read_text() == (trained.run / "seen.csv").read_text()
    assert json.loads((out / "metrics.json").read_text())["epoch"] == 2
    with pytest.raises(InputError, match="sparse: 75% of its weights are 0 already, and they stay"):
        mobilenets.sparsify(out, trained.data, sparsity=0.5)
    with pytest.raises(InputError, match="sparse: is there already"):
        mobilenets.sparsify(trained.run, trained.data, out=out)


def test_two_of_four(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").symlink_to(trained.run)
    result = mobilenets.sparsify(tmp_path / "run", trained.data, pattern="2:4", epochs=1)
    assert result["run"] == str(tmp_path / "run-sparse-2of4") and result["sparsity"] == 0.5
    assert {2 * zeros - count for count, zeros in result["layers"].values()} == {0}
    said = verb_text(result | {"left_out": ["head.conv"]})
    assert "50.00 % of " in said and "left out, because 2:4 does not fit: head.conv" in said


@pytest.mark.parametrize("go_on", [mobilenets.prune, mobilenets.quantize, mobilenets.sparsify])
def test_pictures_of_other_classes_are_refused_before_anything_is_written(
    trained: Any, tmp_path: Path, go_on: Any
) -> None:
    source = next((trained.data).rglob("*.png"))
    for name in ("spoon", "fork"):
        for number in range(5):
            (tmp_path / "others" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "others" / name / f"{number}.png").write_bytes(source.read_bytes())
    with pytest.raises(InputError, match="class folders that the model does not know: fork, spoon"):
        go_on(trained.run, tmp_path / "others", out=tmp_path / "out", epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["others"]


def verb_text(result: dict[str, Any]) -> str:
    from mobilenets.cli.sparsify import sparsified

    return sparsified(result)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 1.0}, "sparsity 1"),
        ({"sparsity": float("nan")}, "sparsity nan"),
        ({"sparsity": 0.75, "pattern": "2:4"}, "leave --sparsity out"),
        ({"pattern": "1:4"}, "1:4"),
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
        mobilenets.sparsify(**given)
    assert not (tmp_path / "new").exists()


def test_a_folder_of_other_things_is_left_alone(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    with pytest.raises(InputError, match="is there already; choose another --out"):
        mobilenets.sparsify(trained.run, trained.data, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
