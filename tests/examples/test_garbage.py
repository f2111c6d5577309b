"""The garbage example: its labels, and the stand-in set that its script draws."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mobilenets.cli import main
from mobilenets.datasets.folder import read_folder
from mobilenets.datasets.layout import find_data
from mobilenets.drawing import style
from mobilenets.pictures.decode import decode
from mobilenets.runtime.labels import Labels

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "garbage"
SIZES = {"00": 10, "01": 8, "02": 4, "03": 4}
BINS = {"00": "recyclable", "01": "other", "02": "hazardous", "03": "kitchen"}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """``draw.py`` as a module."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        spec = importlib.util.spec_from_file_location("draw_garbage", EXAMPLE / "draw.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(EXAMPLE))
    return module


@pytest.fixture(scope="module")
def shelf(script: ModuleType) -> object:
    font, stamps = script.find("NotoColorEmoji*.ttf"), Path("/usr/share/tuxpaint/stamps")
    if font is None or not stamps.is_dir():
        pytest.skip(f"needs the emoji font and Tux Paint's stamps: {script.PACKAGES}")
    return script.Shelf(font, stamps)


@pytest.fixture(scope="module")
def drawn(shelf: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("garbage") / "set"
    run(root)
    return root


def run(root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE / "draw.py"), str(root), "--pictures", "2", "--size", "48", *more]
    return subprocess.run(command, capture_output=True, text=True, check=not more)


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_labels_name_26_kinds_and_4_bins_in_both_languages() -> None:
    labels = Labels.from_json(json.loads((EXAMPLE / "classes.json").read_text(encoding="utf-8")))
    folders = [f"{first}_{number:02d}" for first, count in SIZES.items() for number in range(count)]
    assert list(labels.classes) == folders
    assert {folder: labels.group(folder) for folder in folders} == {folder: BINS[folder[:2]] for folder in folders}
    for part in (*labels.classes.values(), *labels.groups.values()):
        assert set(part.names) == {"zh", "en"}
        assert all("\u4e00" <= letter <= "\u9fff" for letter in part.names["zh"])
        assert part.names["en"].isascii()
    for language in ("zh", "en"):
        assert len({labels.name(folder, language) for folder in folders}) == 26
        assert len({labels.group_name(group, language) for group in labels.groups}) == 4
    assert len({labels.color(group) for group in labels.groups}) == 4
    assert (labels.name("00_00", "zh"), labels.name("02_01", "en")) == ("塑料瓶", "battery")


def test_no_source_is_used_twice_and_no_drawing_is_left_over(script: ModuleType) -> None:
    listed = [source for folder in script.SOURCES for own in script.sources(folder).values() for source in own]
    assert len(listed) == len(set(listed))
    assert {source for source in listed if source.isascii() and "/" not in source} == set(script.DRAWINGS)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_drawing_shows_something_that_fits_its_square(script: ModuleType, seed: int) -> None:
    for name, drawing in script.DRAWINGS.items():
        pen = script.Pen(np.random.default_rng(seed))
        drawing(pen)
        alpha = np.asarray(pen.image.getchannel("A"))
        assert (alpha > 0).mean() > 0.03, name
        assert not alpha[[0, -1]].any() and not alpha[:, [0, -1]].any(), f"{name} is cut off"


def test_classes_are_uneven_about_the_mean(script: ModuleType) -> None:
    trains = [number["train"] for number in script.counts(40, 12).values()]
    assert abs(np.mean(trains) - 40) < 1
    assert max(trains) > 3 * min(trains)
    assert {number["validation"] for number in script.counts(40, 12).values()} == {12}


def test_mobilenets_reads_the_set_without_complaint(drawn: Path, script: ModuleType) -> None:
    for split in script.SPLITS:
        folder = read_folder(drawn / split)
        assert folder.classes == tuple(script.SOURCES)
        assert not folder.problems
        numbers = np.bincount([sample.label for sample in folder.samples])
        assert numbers.tolist() == [number[split] for number in script.counts(2, 2).values()]
        for sample in folder.samples:
            picture = decode(sample.path)
            assert min(picture.size) == 48
            assert np.asarray(picture).std() > 3
    layout = find_data(drawn)
    assert (layout.train, layout.validation) == (drawn / "train", drawn / "validation")


def test_the_set_says_where_its_pictures_come_from(drawn: Path, script: ModuleType) -> None:
    classes = json.loads((drawn / "sources.json").read_text(encoding="utf-8"))["classes"]
    assert list(classes) == list(script.SOURCES)
    for folder, told in classes.items():
        assert told["train"] and told["validation"]
        assert told["disjoint"] and not set(told["train"]) & set(told["validation"]), folder
        for split in script.SPLITS:
            assert told["pictures"][split] == len(list((drawn / split / folder).iterdir()))
    assert (drawn / "classes.json").read_bytes() == (EXAMPLE / "classes.json").read_bytes()
    assert min(decode(drawn / "contact.png").size) > 500


def test_a_seed_always_draws_the_same(drawn: Path, script: ModuleType, shelf: object, tmp_path: Path) -> None:
    run(tmp_path / "again")
    assert digests(tmp_path / "again") == digests(drawn)
    one, other = (script.picture(shelf, "00_00", "🧴", 48, np.random.default_rng(seed)) for seed in (0, 1))
    assert one.tobytes() != other.tobytes()


def test_pictures_turned_by_exif_are_upright_when_decoded(script: ModuleType) -> None:
    wide = script.Image.new("RGB", (60, 40), "red")
    wide.paste("blue", (0, 0, 30, 40))
    turned = 0
    for seed in range(20):
        data = script.encode(wide, np.random.default_rng(seed))
        turned += script.Image.open(script.io.BytesIO(data)).size == (40, 60)
        upright = decode(data)
        assert upright.size == (60, 40)
        red, _, blue = upright.getpixel((5, 20))
        assert blue > red
    assert 0 < turned < 20


def test_from_the_set_to_an_answer_in_chinese(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's commands, on a small set and a small network."""
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(style, "DPI", 30)
    data, run, measured = str(drawn), str(tmp_path / "run"), tmp_path / "measured"
    recipe = ["--recipe", "garbage-mindspore", "--freeze", "backbone", "--epochs", "2", "--views", "1"]
    small = ["--width", "0.1", "--size", "32", "--device", "cpu", "--threads", "1", "--workers", "1"]
    assert main(["train", data, "--out", run, *recipe, *small]) == 0
    assert "random, untrained weights" in capsys.readouterr().err
    assert main(["evaluate", run, data, "--out", str(measured)]) == 0
    assert "wrong class, right group" in capsys.readouterr().out
    groups = json.loads((measured / "metrics.json").read_text("utf-8"))["groups"]
    assert set(groups["groups"]) == set(BINS.values())
    assert groups["right_class"] + groups["wrong_class_right_group"] + groups["wrong_group"] == 26 * 2
    assert (measured / "confusion_groups.png").is_file()
    report = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "塑料瓶 plastic bottle" in report and "有害垃圾 hazardous" in report
    picture = next((drawn / "validation" / "00_00").iterdir())
    assert main(["predict", run, str(picture), "--language", "zh", "--top", "1"]) == 0
    assert re.search("[一-鿿]+ · (可回收物|干垃圾|有害垃圾|湿垃圾) · ", capsys.readouterr().out)


def test_it_draws_into_no_folder_that_holds_something(drawn: Path) -> None:
    before = digests(drawn)
    result = run(drawn, "--seed", "3")
    assert result.returncode == 1
    assert result.stderr == f"{drawn} is not an empty folder; give another\n"
    assert digests(drawn) == before


@pytest.mark.parametrize("missing", ["--font", "--stamps"])
def test_it_says_what_to_install(missing: str, tmp_path: Path, shelf: object) -> None:
    result = run(tmp_path / "set", missing, str(tmp_path / "nowhere"))
    assert result.returncode == 1
    assert "apt-get install fonts-noto-color-emoji tuxpaint-stamps-default" in result.stderr
    assert not (tmp_path / "set").exists()
