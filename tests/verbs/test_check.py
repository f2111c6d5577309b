"""``check`` from end to end, on little data, and what the command says of it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mobilenets
from mobilenets.cli import main
from mobilenets.errors import InputError


def draw_scenes(folder: Path, names: tuple[str, ...], count: int, seed: int) -> None:
    """Write pictures of random patches, of one size and format: nothing tells the classes but their content."""
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rng = np.random.default_rng((seed, label, number))
            patches = Image.fromarray(rng.integers(0, 255, (7, 7, 3), np.uint8))
            patches.resize((64, 64), Image.Resampling.BICUBIC).save(folder / name / f"{number:02}.png")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    draw_scenes(tmp_path / "photos/train", ("cat", "dog"), 10, 0)
    draw_scenes(tmp_path / "photos/validation", ("cat", "dog"), 5, 1)
    return tmp_path / "photos"


@pytest.fixture
def say(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Give what runs the command beside the pictures: exit status and output."""
    monkeypatch.chdir(data.parent)
    return lambda *words: (main(["check", *words]), capsys.readouterr().out)


def leak(data: Path) -> None:
    """Do as the tutorial's script did: copy training pictures into the validation folder."""
    for number in range(3):
        shutil.copy(data / f"train/cat/0{number}.png", data / f"validation/cat/1{number}.png")


def test_nothing_is_found_and_nothing_is_written(data: Path, say: Any) -> None:
    assert say("photos") == (
        0,
        "30 pictures of 2 classes (20 train, 10 validation)\nNothing wrong was found.\n",
    )
    assert [path.name for path in data.parent.iterdir()] == ["photos"]


def test_a_leak_is_the_first_line(data: Path, say: Any) -> None:
    leak(data)
    status, out = say("photos")
    assert status == 1
    assert out.startswith(
        "3 of 13 validation pictures are in training too: the accuracy measured on them is too high ("
    )
    assert "train photos --fixes checks/photos-1/fixes.csv" in out
    assert {path.name for path in Path("checks/photos-1").iterdir()} == {"check.html", "check.json", "fixes.csv"}
    say("photos")
    assert Path("checks/photos-2/check.html").is_file()


def test_a_page_without_a_place_is_said_and_costs_no_finding(
    data: Path, say: Any, caplog: pytest.LogCaptureFixture
) -> None:
    leak(data)
    (data.parent / "checks").write_text("a file of the user's")
    status, out = say("photos", "--json")
    result = json.loads(out)
    assert (status, len(result["problems"]), result["out"]) == (1, 3, None)
    assert "use another --out, for the page and fixes.csv" in caplog.text
    assert (data.parent / "checks").read_text() == "a file of the user's"


def test_what_training_refuses_is_said_before_the_fixes(data: Path, say: Any) -> None:
    leak(data)
    shutil.copytree(data / "validation/dog", data / "validation/Dog")
    status, out = say("photos", "--no-crops")
    assert status == 1
    assert out.startswith("Training is refused until this is mended: photos/validation has two folders for the class")
    assert "Mend the class folders, which no fix does; look at the page, edit the fixes, then:\n" in out
    shutil.rmtree(data / "validation/Dog")
    assert mobilenets.check(data, "found", crops=False)["refused"] is None


def test_json_has_what_is_promised(data: Path, say: Any) -> None:
    leak(data)
    (data / "train/cat/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    status, out = say("photos", "--json", "--out", "found")
    result = json.loads(out)
    assert status == 1
    assert (result["images"], result["classes"]) == (34, {"cat": 19, "dog": 15})
    leaks = [one for one in result["problems"] if one["kind"] == "leak"]
    assert leaks[0] == {
        "kind": "leak",
        "path": "validation/cat/10.png",
        "detail": "same file",
        "partner": "train/cat/00.png",
        "score": 1.0,
        "suggestion": "drop partner",
    }
    assert [one["path"] for one in result["problems"] if one["kind"] == "unreadable"] == ["train/cat/broken.jpg"]
    assert {"kind", "path", "detail"} <= result["problems"][-1].keys()
    assert json.loads(Path("found/check.json").read_text("utf-8")) == result


def test_the_page_shows_pictures_side_by_side_and_needs_no_network(data: Path, tmp_path: Path) -> None:
    leak(data)
    (data / "train/<b>&").mkdir()
    result = mobilenets.check(data, tmp_path / "found")
    page = Path(result["report"]).read_text("utf-8")
    assert page.count('src="data:image/') == 6
    assert not re.findall(r"(?:src|href)=\"(?!data:image|#)", page) and "<script" not in page
    assert "<b>&" not in page and "&lt;b&gt;&amp;" in page
    assert "3 of 13 validation pictures" in page


def test_train_on_the_fixes_measures_honestly(data: Path, tmp_path: Path) -> None:
    """The fixes of a leak leave what is measured as it is, and take its copies out of training."""
    from mobilenets.datasets.prepare import prepare
    from mobilenets.doctor.fixes import fixing, read_fixes, to_json

    leak(data)
    result = mobilenets.check(data, tmp_path / "found")
    fix = fixing(to_json(read_fixes(Path(result["fixes"]))))
    dataset = prepare(data, share=0.2, seed=0, max_unreadable=0, fix=fix)
    assert (len(dataset.train), len(dataset.validation), dataset.copies) == (17, 13, 0)
    assert prepare(data, share=0.2, seed=0, max_unreadable=0).copies == 3
    with Path(result["fixes"]).open(newline="") as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == [f"train/cat/0{number}.png" for number in range(3)]


def test_the_same_findings_for_any_number_of_threads(data: Path, tmp_path: Path) -> None:
    leak(data)
    found = [mobilenets.check(data, tmp_path / str(count), workers=count)["problems"] for count in (1, 3)]
    assert found[0] == found[1]


def test_no_picture_is_touched(data: Path, tmp_path: Path) -> None:
    leak(data)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in data.rglob("*.png")}
    mobilenets.check(data, tmp_path / "found")
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in data.rglob("*") if path.is_file()}


def test_edited_fixes_are_not_overwritten(data: Path, tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "found/fixes.csv").write_text("mine")
    with pytest.raises(InputError, match="may have been edited: choose another --out"):
        mobilenets.check(data, tmp_path / "found")
    assert (tmp_path / "found/fixes.csv").read_text() == "mine"


def test_many_findings_make_no_large_page(data: Path, tmp_path: Path) -> None:
    for number in range(100):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(data / f"train/dog/blank-{number}.png")
    page = Path(mobilenets.check(data, tmp_path / "found")["report"]).read_text("utf-8")
    assert page.count('src="data:image/') <= 60
    assert "100 pictures are blank" in page and re.search(r"And 70 more", page)
