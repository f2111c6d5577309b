"""What every verb prints, as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.base.cells import write_cells
from mobilenets.cli import main
from mobilenets.cli.check import checked
from mobilenets.cli.export import exported
from mobilenets.cli.output import print_result
from mobilenets.cli.predict import predicted, rows
from mobilenets.cli.text import printable, sentence
from mobilenets.runtime.predictor import EnginePredictor

NAMES = [
    "a b.png",
    "猫.png",
    "two\nlines.png",
    "tab\tand \x1b[31mred.png",
    os.fsdecode(b"bytes\xff.png"),
    "'quo\"te',.png",
]
EVALUATE_KEYS = {"images", "loss", "top1", "top5", "top1_interval", "ece", "classes", "confusion"}


@pytest.fixture(scope="module")
def named(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Give good pictures and a broken one, with every kind of name."""
    place = tmp_path_factory.mktemp("pictures") / "名 x"
    place.mkdir()
    for name in NAMES:
        shutil.copy(trained.data / "dog/001.png", place / name)
    (place / os.fsdecode(b"broken\xfe.png")).write_text("no picture")
    return [str(place / name) for name in [*NAMES, os.fsdecode(b"broken\xfe.png")]]


def test_names_are_shown_as_people_write_them() -> None:
    assert printable("苹果\u3000红 क\u200cख 👩\u200d👧 a\xa0b") == "苹果\u3000红 क\u200cख 👩\u200d👧 a\xa0b"
    assert printable("a\nb\u202ec\udce9") == "a\\nb\\u202ec\\udce9"
    assert sentence("Up is odd") == "Up is odd." and sentence("up/ is a link") == "up/ is a link."


def test_results_command_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a verb prints: names of classes come from other people's models."""
    name = "cat\x1b]0;owned\x07\x9b2J"
    for as_json in (False, True):
        print_result(SimpleNamespace(json=as_json), {"class": name}, lambda result: f"one\n{result['class']}")  # type: ignore[arg-type]
        said = capsys.readouterr().out
        assert "\x1b" not in said and "\x07" not in said and "\x9b" not in said and "owned" in said
    assert json.loads(said)["class"] == name
    answer = {"image": "a", "predictions": [{"label": name, "probability": 1.0, "group": "g"}]}
    assert predicted(answer | {"groups": [{"label": "g", "name": name}]}).isprintable()
    assert predicted({"image": "a\n", "error": f"damaged: {name}"}).isprintable()


def test_predictions_are_no_formulas() -> None:
    cells = rows({"image": "-1.png", "predictions": [{"label": "=cmd|x", "probability": 0.5}]})
    assert write_cells(cells) == "'-1.png,1,'=cmd|x,0.500000,\n"


def test_predict_json(trained: Any, named: list[str], command: Any) -> None:
    status, out, err = command("predict", trained.run, *named, "--json", "--top", 99)
    assert (status, err) == (1, "")
    out.encode("utf-8")
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["image"] for answer in answers] == named
    assert set(answers[-1]) == {"image", "error"}
    for answer in answers[:-1]:
        assert set(answer) == {"image", "predictions", "known", "distance"}
        assert all(set(entry) == {"label", "probability"} for entry in answer["predictions"])
        probabilities = [entry["probability"] for entry in answer["predictions"]]
        assert {entry["label"] for entry in answer["predictions"]} == {"cat", "dog", "owl"}
        assert sum(probabilities) == pytest.approx(1)
        assert probabilities == sorted(probabilities, reverse=True)
        assert answer["predictions"] == answers[0]["predictions"]
    assert "猫" in out  # readable where the encoding allows it


def test_predict_csv(trained: Any, named: list[str], command: Any) -> None:
    status, out, err = command("predict", trained.run, *named, "--format", "csv", "--top", 2)
    assert (status, err) == (1, "")
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    escaped = [name.encode("utf-8", "backslashreplace").decode() for name in named]
    assert [row["image"] for row in rows] == [name for name in escaped[:-1] for _ in range(2)] + escaped[-1:]
    assert [row["rank"] for row in rows] == ["1", "2"] * len(NAMES) + [""]
    assert rows[0]["label"] == "dog"
    assert 1 >= float(rows[0]["probability"]) > float(rows[1]["probability"]) >= 0
    assert rows[0]["error"] == ""
    assert rows[-1]["error"].startswith("not a picture but text")


def test_predict_text(trained: Any, named: list[str], command: Any) -> None:
    status, out, err = command("predict", trained.run, *named, "--top", 1)
    assert (status, err) == (1, "")
    lines = out.splitlines()
    assert len(lines) == len(named)
    assert all(line.isprintable() for line in lines)
    assert lines[0].startswith(f"{named[0]}: dog ")
    assert lines[0].endswith(" %")
    assert r"two\nlines.png: dog" in lines[2]
    assert r"bytes\udcff.png: dog" in lines[4]
    assert r"broken\udcfe.png: not read: not a picture but text" in lines[-1]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_output_without_unicode(trained: Any, named: list[str], encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for form in ("text", "json", "csv"):
        output = io.TextIOWrapper(io.BytesIO(), encoding)
        monkeypatch.setattr(sys, "stdout", output)
        assert main(["predict", str(trained.run), *named, "--format", form]) == 1
        written = output.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
        if form == "json":
            assert [json.loads(line)["image"] for line in written.splitlines()] == named
        else:
            assert r"\u732b.png" in written


def test_predict_standard_input(trained: Any, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = trained.data / "owl/000.png"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(picture.read_bytes())))
    status, out, _ = command("predict", trained.run, "-", picture, "--json")
    given, file = map(json.loads, out.splitlines())
    assert (status, given["image"]) == (0, "-")
    assert given["predictions"] == [
        {"label": entry["label"], "probability": pytest.approx(entry["probability"], abs=1e-6)}
        for entry in file["predictions"]
    ]


def test_predict_of_a_model_whose_outputs_overflow(
    trained: Any, tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflowing(self: Any, prepared: Any) -> Any:
        rows = np.where(np.arange(len(prepared))[:, None] == 1, np.nan, np.full(3, 1 / 3))
        return rows, [None] * len(rows)

    monkeypatch.setattr(EnginePredictor, "asked", overflowing)
    pictures = sorted((trained.data / "cat").iterdir())[:3]
    status, out, err = command("predict", trained.run, *pictures, "--json")
    good, bad, other = map(json.loads, out.splitlines())
    assert (status, err) == (1, "") and "predictions" in good and "predictions" in other
    assert bad["error"].startswith("the network's output is not finite") and bad["code"] == "fault"
    status, out, _ = command("predict", trained.run, *pictures)
    assert status == 1
    assert out.splitlines()[1].startswith(f"{pictures[1]}: no answer: the network's output is not finite")


def test_predict_no_standard_input(trained: Any, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO()))
    assert command("predict", trained.run, "-") == (1, "-: not read: the file is empty\n", "")
    monkeypatch.setattr(sys, "stdin", None)
    status, out, err = command("predict", trained.run, "-")
    assert (status, out) == (2, "")
    assert err == "mobilenets: standard input is closed: give a file instead of -\n"


def test_predict_says_once_what_is_no_picture(trained: Any, command: Any, tmp_path: Path) -> None:
    Image.new("RGB", (9, 5), "red").save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("x")
    status, out, err = command("predict", trained.run, tmp_path, "--top", 1)
    assert (status, out.count("\n")) == (0, 1)
    assert err == f"{tmp_path / 'notes.txt'}: .txt is not read (not an image)\n"


def test_predict_folder_and_missing_file(trained: Any, command: Any, tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    Image.new("RGB", (9, 5), "red").save(tmp_path / "deep/er/b.png")
    Image.new("L", (5, 9)).save(tmp_path / "deep/a.png")
    status, out, _ = command("predict", trained.run, tmp_path / "none.jpg", tmp_path / "deep", "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert answers[0] == {"image": str(tmp_path / "none.jpg"), "error": "there is no such file"}
    assert [answer["image"] for answer in answers[1:]] == [
        str(tmp_path / name) for name in ("deep/a.png", "deep/er/b.png")
    ]


def test_evaluate(trained: Any, command: Any, tmp_path: Path) -> None:
    status, out, err = command("evaluate", trained.run, trained.data, "--json", "--out", tmp_path / "measured")
    result = json.loads(out)
    assert (status, out.count("\n")) == (0, 1)
    assert "measured on 12 pictures that the model held out; the 48 that it was trained on are left out" in err
    assert result.keys() >= EVALUATE_KEYS
    assert result["images"] == sum(map(sum, result["confusion"])) == 12
    low, high = result["top1_interval"]
    assert 0 <= low <= result["top1"] <= result["top5"] <= 1
    assert result["top1"] <= high <= 1
    assert set(result["classes"]) == {"cat", "dog", "owl"}
    assert all(set(score) == {"precision", "recall", "f1", "images"} for score in result["classes"].values())
    assert json.loads((tmp_path / "measured/metrics.json").read_bytes()) == result
    for name in ("confusion.png", "reliability.png"):
        with Image.open(tmp_path / "measured" / name) as picture:
            assert min(picture.size) > 200

    status, out, _ = command("evaluate", trained.run, trained.data)
    lines = out.splitlines()
    assert lines[0] == "12 pictures (validation)"
    assert lines[1].startswith(f"top-1  {100 * result['top1']:.2f} %   95 % interval {100 * low:.2f} to ")
    assert lines[2] == "always answering the largest class, cat:  33.33 %"
    assert result["baseline_top1"] == 4 / 12
    assert [line.split()[:2] for line in lines[-5:-2]] == [["cat", "4"], ["dog", "4"], ["owl", "4"]]


def test_summary(command: Any, tmp_path: Path) -> None:
    words = ("summary", "mobilenet_v1", "--width", 0.25, "--size", 128)
    status, out, err = command(*words, "--json", "--diagram", tmp_path / "v1.png")
    result = json.loads(out)
    assert (status, err, out.count("\n")) == (0, "", 1)
    assert {"name", "width", "size", "classes", "parameters", "macs", "layers"} <= result.keys()
    assert (tmp_path / "v1.png").is_file()
    status, out, _ = command(*words)
    assert out.startswith("mobilenet_v1 (standard), width 0.25, 128 × 128 pixels, 1000 classes\n\nlayer ")
    assert f"{result['parameters']:,}" in out
    rows = out.split("\n\n")[1].splitlines()
    assert len(rows) == len(result["layers"]) + 2
    assert out.splitlines()[-1] == f"{result['parameters'] / 1e6:.2f} M parameters, {result['macs'] / 1e6:.1f} M " + (
        "multiply-accumulates"
    )


def test_fetch(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, _ = command("fetch", "digits", tmp_path / "my digits", "--json")
    result = json.loads(out)
    assert status == 0
    assert result == {
        "name": "digits",
        "folder": str(tmp_path / "my digits"),
        "size": 8,
        "train": 1438,
        "validation": 359,
        "classes": list("0123456789"),
    }
    monkeypatch.setattr("mobilenets.verbs.fetch.fetch", lambda *_, **__: result)
    status, out, err = command("fetch", "digits", tmp_path / "my digits")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"digits: 1438 training and 359 validation pictures of 10 classes in {tmp_path / 'my digits'}",
        f"Next:  mobilenets train '{tmp_path / 'my digits'}' --out run --size 8",
    ]


def test_train_says_where_and_what_next(trained: Any, command: Any, tmp_path: Path, undrawn: None) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)  # a finished run, which --resume only reports on again
    status, out, err = command("train", trained.data, "--out", run, "--resume")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "12 pictures (validation)"
    assert any(line.startswith("4 epochs, model of epoch 4; ") and line.endswith(" of it training") for line in lines)
    metrics = json.loads((run / "metrics.json").read_bytes())
    assert metrics["total_seconds"] >= metrics["seconds"] and 0 < metrics["baseline_top1"] < 1
    said = [f"  {number}. {step}" for number, step in enumerate(metrics["next_steps"], 1)]
    assert said and lines[lines.index("What would help next:") + 1 :][: len(said)] == said
    assert f"The report:  {run / 'report.html'}" in lines
    assert lines[-4:] == [
        "Next:",
        f"  mobilenets predict {run} {trained.data} --top 3",
        f"  mobilenets serve {run}    # a page to try it on",
        f"  mobilenets export {run}   # a file for a phone, a browser or a server",
    ]
    assert "top-1 " in err.splitlines()[-1]
    status, out, _ = command("train", trained.data, "--out", run, "--resume", "--json")
    assert out.count("\n") == 1
    assert json.loads(out).keys() >= EVALUATE_KEYS


def test_table_of_ones_own_trains(trained: Any, command: Any, tmp_path: Path, undrawn: None) -> None:
    table = tmp_path / "table.json"
    table.write_text("[[1, 8, 1, 2], [4, 12, 2, 2]]")
    words = ["--table", table, "--size", 24, "--epochs", 1, "--threads", 1, "--width", 0.25]
    status, out, _ = command("train", trained.data, "--out", tmp_path / "run", *words)
    assert status == 0
    assert "\n1 epoch, model of epoch 1; " in out
    description = json.loads((tmp_path / "run/model.json").read_bytes())["architecture"]
    assert description["variant"] == "custom"
    assert json.loads((tmp_path / "run/recipe.json").read_bytes())["recipe"]["table"] == [[1, 8, 1, 2], [4, 12, 2, 2]]
    assert command("predict", tmp_path / "run", trained.data / "cat/000.png").status == 0


def test_an_export_that_answers_the_same_says_so() -> None:
    result: dict[str, Any] = {
        "format": "onnx",
        "precision": "float32",
        "runtime": "ONNX Runtime",
        "images": 17,
        "same_answers": 17,
        "evaluated_on": "validation",
        "top1_exported": 14 / 17,
        "top1_reference": 14 / 17,
        "top1_change": 0.0,
        "top1_change_interval": [-0.1289, 0.1289],
        "pictures_lost": 0,
        "pictures_gained": 0,
        "worst_class": None,
        "max_difference": 1e-6,
        "probe_difference": 1e-6,
        "passed": True,
        "file": "small/model.onnx",
        "bytes": 9,
    }
    lines = exported(result).splitlines()
    assert lines[1] == "top-1  82.35 %, the model's 82.35 %: the same answer on all 17 pictures"
    assert lines[3] == "on new pictures, at most 16 % get another answer (95 % confidence)"
    result |= {"same_answers": 15, "top1_change": -1 / 17, "top1_change_interval": [-0.2, 0.1], "pictures_lost": 1}
    lines = exported(result).splitlines()
    assert lines[1].endswith("82.35 %: -5.88 points   95 % interval -20.00 to +10.00")
    assert not any("new pictures" in line for line in lines)


def test_every_class_is_named_that_something_is_said_of() -> None:
    names = ["ant", "bee", "cat"]
    problems = [{"kind": "unreached_box", "path": name, "detail": "2 of 3 boxes"} for name in names]
    result = dict.fromkeys(("refused", "fixes", "report")) | {
        "images": 9,
        "classes": dict.fromkeys(names, 3),
        "boxes": 1,
        "halves": {"train": 9},
        "headlines": [],
        "counts": {"unreached_box": 3},
        "problems": problems,
        "faults": 0,
        "notes": [],
    }
    told = checked(result)
    assert "3 classes have boxes that no anchor reaches: ant (2 of 3 boxes); bee, cat too" in told
    assert told.startswith("1 box of 3 classes in 9 pictures")
