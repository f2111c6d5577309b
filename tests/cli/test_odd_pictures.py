"""A folder with odd and broken pictures trains, names what it left out, and changes no file."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from mobilenets.cli import main

ORIENTATION = 0x0112
BROKEN = {
    "cut.jpg": "the picture is damaged",
    "text.jpg": "not a picture but text",
    "empty.jpg": "the file is empty",
}
ODD = ("inks.jpg", "deep.png", "phone.jpg", "moving.gif")


class Ran(NamedTuple):
    data: Path
    run: Path
    out: str
    err: str
    before: dict[str, tuple[str, int]]


def fill(data: Path, draw: Callable[..., Path]) -> None:
    draw(data, {"cat": 16, "dog": 16}, 24)
    rng = np.random.default_rng(1)
    # Smooth, so that JPEG keeps it, and different at every corner.
    coarse = Image.fromarray(rng.integers(0, 255, (3, 4, 3), np.uint8))
    photo = coarse.resize((64, 48), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    photo.save(data / "cat/phone.jpg", exif=exif, quality=95)
    photo.save(data / "cat/whole.jpg")
    content = (data / "cat/whole.jpg").read_bytes()
    (data / "cat/whole.jpg").unlink()
    (data / "cat/cut.jpg").write_bytes(content[: len(content) // 2])
    (data / "dog/text.jpg").write_text("I am no picture")
    (data / "dog/empty.jpg").touch()
    photo.convert("CMYK").save(data / "dog/inks.jpg")
    Image.fromarray(rng.integers(0, 65535, (24, 24), np.uint16)).save(data / "dog/deep.png")
    frames = [Image.fromarray(rng.integers(0, 255, (24, 24), np.uint8)) for _ in range(3)]
    frames[0].save(data / "cat/moving.gif", save_all=True, append_images=frames[1:])


def marks(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, draw: Callable[..., Path]) -> Ran:
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO

    place = tmp_path_factory.mktemp("odd")
    data, run = place / "pets", place / "run"
    fill(data, draw)
    before = marks(data)
    settings = "--model mobilenet_v1_cifar --size 32 --epochs 1 --batch 4 --seed 3 --threads 1 --workers 2 --device cpu"
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        assert main(["train", str(data), "--out", str(run), "--json", *settings.split()]) == 0
    return Ran(data, run, out.getvalue(), err.getvalue(), before)


def test_no_file_is_changed(ran: Ran) -> None:
    assert marks(ran.data) == ran.before


def test_output_is_json_alone(ran: Ran) -> None:
    result = json.loads(ran.out)
    assert result["run"] == str(ran.run)
    assert Path(result["report"]).is_file()
    assert {"images", "loss", "top1", "top5", "top1_interval", "ece", "classes", "confusion"} <= result.keys()


@pytest.mark.parametrize("name", BROKEN)
def test_left_out_is_named(ran: Ran, name: str) -> None:
    lines = [line for line in ran.err.splitlines() if name in line]
    assert len(lines) == 1
    assert BROKEN[name] in lines[0]
    problems = json.loads((ran.run / "recipe.json").read_bytes())["data"]["problems"]
    assert [(p["kind"], BROKEN[name] in p["detail"]) for p in problems if name in p["path"]] == [("unreadable", True)]
    assert name in (ran.run / "report.html").read_text("utf-8")
    assert name not in (ran.run / "split.csv").read_text("utf-8")


def test_how_many_are_left_out_is_said(ran: Ran) -> None:
    assert "3 of 39 pictures cannot be read and are left out" in ran.err


@pytest.mark.parametrize("name", ODD)
def test_odd_but_whole_is_used(ran: Ran, name: str) -> None:
    assert name in (ran.run / "split.csv").read_text("utf-8")
    # Two of them are the same picture in two classes, which is said.
    lines = [
        line for line in ran.err.splitlines() if name in line and "copy in the folder of another class" not in line
    ]
    assert lines == []


def predicted(ran: Ran, capsys: pytest.CaptureFixture[str], *pictures: Path) -> list[dict[str, float]]:
    capsys.readouterr()
    assert main(["predict", str(ran.run), *map(str, pictures), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [{p["label"]: p["probability"] for p in json.loads(line)["predictions"]} for line in lines]


def test_rotated_is_predicted_as_its_upright_twin(ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Image.open(ran.data / "cat/phone.jpg") as stored:
        pixels = stored.convert("RGB")
    pixels.info = {}
    pixels.save(tmp_path / "lying.png")
    pixels.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")
    rotated = ran.data / "cat/phone.jpg"
    phone, upright, lying = predicted(ran, capsys, rotated, tmp_path / "upright.png", tmp_path / "lying.png")
    assert phone == upright
    assert phone != lying


def test_animation_is_predicted_as_its_first_frame(
    ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in ((0, "first.png"), (1, "second.png")):
        with Image.open(ran.data / "cat/moving.gif") as moving:
            moving.seek(number)
            moving.convert("RGB").save(tmp_path / name)
    moving_picture = ran.data / "cat/moving.gif"
    animated, first, second = predicted(ran, capsys, moving_picture, tmp_path / "first.png", tmp_path / "second.png")
    assert animated == first
    assert animated != second


def test_predict_goes_on_past_the_broken(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["predict", str(ran.run), str(ran.data), "--json"]) == 1
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    bad = {Path(answer["image"]).name: answer["error"] for answer in answers if "error" in answer}
    assert bad.keys() == BROKEN.keys()
    assert all(BROKEN[name] in error for name, error in bad.items())
    good = [answer for answer in answers if "predictions" in answer]
    assert len(good) == 36
    assert {Path(answer["image"]).name for answer in good} >= set(ODD)


def test_evaluate_names_them_too(ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A model that does not say what it learned from is measured on all.
    (tmp_path / "model").mkdir()
    for name in ("model.json", "model.safetensors"):
        shutil.copy(ran.run / name, tmp_path / "model")
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "model"), str(ran.data), "--json"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert (result["images"], result["evaluated_on"]) == (36, "all")
    assert sorted(Path(p["path"]).name for p in result["problems"]) == sorted(BROKEN)
    assert all(name in printed.err for name in BROKEN)


def test_too_many_unreadable(tmp_path: Path, draw: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    data = draw(tmp_path / "pets", {"cat": 4, "dog": 4})
    (data / "cat/broken.jpg").touch()
    assert main(["train", str(data), "--out", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    last = printed.err.splitlines()[-1]
    assert last.startswith("mobilenets: 1 of 9 pictures cannot be read")
    assert "--max-unreadable" in last
    assert not (tmp_path / "run").exists()
