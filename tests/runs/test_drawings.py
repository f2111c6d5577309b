"""What ``predict`` draws, and that it never draws over or among the user's pictures."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import mobilenets
from mobilenets.cli import main
from mobilenets.errors import InputError
from mobilenets.runs.drawings import safe_stem


@pytest.fixture(scope="module")
def predictor(trained: Any) -> mobilenets.Predictor:
    return mobilenets.Predictor(trained.run)


def held(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_explain_one_picture(trained: Any, predictor: mobilenets.Predictor) -> None:
    path = trained.data / "owl/003.png"
    drawn = predictor.explain(path)
    assert drawn.mode == "RGB" and drawn.size == (320, 320)
    [best] = predictor(path, top=1)
    with Image.open(path) as image:
        for picture in (str(path), path.read_bytes(), image):
            assert predictor.explain(picture, best.label).tobytes() == drawn.tobytes()
    assert predictor.explain(path, "cat").tobytes() != drawn.tobytes()
    assert predictor.explain(path, caption="owl").height > 320
    with pytest.raises(InputError, match="class 'eel' is unknown to this model; it knows cat, dog, owl"):
        predictor.explain(path, "eel")


def test_a_file_an_answer(trained: Any, predictor: mobilenets.Predictor, tmp_path: Path) -> None:
    before = held(trained.data)
    pictures = [trained.data / "cat", trained.data / "dog/000.png", b"", ("../../up", trained.data / "owl/000.png")]
    answers = list(mobilenets.predict(predictor, pictures, explain=tmp_path / "drawn"))
    assert held(trained.data) == before
    files = [Path(answer["explanation"]) for answer in answers if "explanation" in answer]
    assert len(files) == 22 and ["explanation" in one for one in answers].count(False) == 1 and "error" in answers[21]
    assert [file.name for file in files[:1] + files[20:]] == ["000.png", "000-2.png", "up.png"]
    assert {file.parent for file in files} == {tmp_path / "drawn"} and len(set(files)) == 22
    assert sorted(tmp_path.rglob("*.png")) == sorted(files)
    with Image.open(files[20]) as image:
        best = answers[20]["predictions"][0]
        plain = predictor.explain(trained.data / "dog/000.png", best["label"])
        assert image.crop((0, 0, *plain.size)).tobytes() == plain.tobytes() and image.height > plain.height
    plain_answers = list(mobilenets.predict(predictor, pictures))
    assert [one["predictions"] for one in plain_answers[:21]] == [one["predictions"] for one in answers[:21]]


def test_again_into_the_same_places(
    trained: Any, predictor: mobilenets.Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mobilenets")
    for _ in range(2):
        drawn = {"explain": tmp_path, "sheet": tmp_path / "sheet.png"}
        list(mobilenets.predict(predictor, [trained.data / "cat/000.png", trained.data / "dog/000.png"], **drawn))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["000-2.png", "000.png", "sheet.png"]
    assert caplog.messages[-2:] == [f"explanations: 2, in {tmp_path}", f"contact sheet: {tmp_path / 'sheet.png'}"]


def test_nothing_of_the_users_is_replaced(trained: Any, predictor: mobilenets.Predictor, tmp_path: Path) -> None:
    own = tmp_path / "album"
    own.mkdir()
    shutil.copy(trained.data / "cat/000.png", own / "000.png")
    (own / "000-2.png").mkdir()
    (own / "001.png").symlink_to(trained.data / "cat/001.png")
    before = held(own) | held(trained.data)
    [one] = mobilenets.predict(predictor, trained.data / "cat/000.png", explain=own)
    [two] = mobilenets.predict(predictor, trained.data / "cat/001.png", explain=own)
    assert [Path(answer["explanation"]).name for answer in (one, two)] == ["000-3.png", "001-2.png"]
    assert {name: content for name, content in (held(own) | held(trained.data)).items() if name in before} == before
    with pytest.raises(InputError, match="already exists and is not a contact sheet written by mobilenets"):
        mobilenets.predict(predictor, b"", sheet=own / "000.png")
    with pytest.raises(InputError, match=r"000\.png is a file: give a folder"):
        mobilenets.predict(predictor, b"", explain=own / "000.png")


def test_never_below_a_folder_of_pictures(trained: Any, predictor: mobilenets.Predictor, tmp_path: Path) -> None:
    for place in (
        {"explain": trained.data / "drawn"},
        {"sheet": trained.data / "cat/sheet.png"},
        {"explain": trained.data},
    ):
        with pytest.raises(InputError, match="is inside the picture folder"):
            list(mobilenets.predict(predictor, trained.data, **place))
    assert not (trained.data / "drawn").exists() and not (trained.data / "cat/sheet.png").exists()


def test_never_beside_a_picture(trained: Any, predictor: mobilenets.Predictor, tmp_path: Path) -> None:
    photo = tmp_path / "photos/mine.png"
    photo.parent.mkdir()
    shutil.copy(trained.data / "owl/000.png", photo)
    with pytest.raises(InputError, match=r"photos holds mine\.png: give another folder"):
        list(mobilenets.predict(predictor, [photo], explain=photo.parent))
    assert set(held(photo.parent)) == {"mine.png"}
    assert len(list(mobilenets.predict(predictor, [photo], explain=photo.parent / "looked"))) == 1


def test_a_sheet_of_all(trained: Any, predictor: mobilenets.Predictor, tmp_path: Path) -> None:
    file = tmp_path / "new/sheet.png"
    answers = mobilenets.predict(predictor, [trained.data, b""], sheet=file)
    assert len(list(answers)) == 61
    with Image.open(file) as image:
        assert image.format == "PNG" and image.width > 1000
    assert [path.name for path in file.parent.iterdir()] == ["sheet.png"]
    with pytest.raises(InputError, match=r"a contact sheet is a PNG; give a name that ends in \.png"):
        mobilenets.predict(predictor, b"", sheet=tmp_path / "sheet.jpg")


def test_a_picture_that_goes_meanwhile(
    trained: Any, predictor: mobilenets.Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        shutil.copy(trained.data / "cat/000.png", tmp_path / f"in/{number}.png")
    answers = mobilenets.predict(predictor, tmp_path / "in", explain=tmp_path / "out", sheet=tmp_path / "s.png")
    assert "explanation" in next(answers)
    (tmp_path / "in/1.png").unlink()
    with caplog.at_level(logging.INFO, "mobilenets"):
        [last] = answers
    assert "predictions" in last and "explanation" not in last
    assert "can no longer be read" in caplog.text and (tmp_path / "s.png").exists()


def test_on_the_command_line(trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = trained.data / "cat/000.png"
    words = ["predict", str(trained.run), str(picture)]
    assert main([*words, "--explain", str(tmp_path / "x"), "--sheet", str(tmp_path / "s.png")]) == 0
    assert (tmp_path / "x/000.png").exists() and (tmp_path / "s.png").exists()
    explained = f"explanations: 1, in {tmp_path / 'x'}\n"
    assert capsys.readouterr().err.strip() == f"{explained}contact sheet: {tmp_path / 's.png'}"
    assert main([*words, "--explain", str(picture)]) == 2
    assert capsys.readouterr().err.startswith(f"mobilenets: {picture} is a file")


QUICK: dict[str, Any] = {"device": "cpu", "threads": 1, "workers": 1, "epochs": 1, "augment": "none", "size": 32}


def test_the_report_explains_the_mistakes(photos: Path, tmp_path: Path) -> None:
    # A rate that teaches it nothing, so that there are mistakes.
    mobilenets.train(photos, tmp_path / "run", model="mobilenet_v1_cifar", lr=1e-9, **QUICK)
    page = (tmp_path / "run/report.html").read_text("utf-8")
    assert page.count('alt="what the network looked at"') == page.count('<span class="wrong">') > 0


def test_a_last_map_of_one_cell(photos: Path, tmp_path: Path) -> None:
    table: dict[str, Any] = {"model": "mobilenet_v2", "width": 0.1, "variant": "standard", "lr": 1e-9}
    mobilenets.train(photos, tmp_path / "run", **table, **QUICK)
    page = (tmp_path / "run/report.html").read_text("utf-8")
    assert '<span class="wrong">' in page and "what the network looked at" not in page
    with pytest.raises(InputError, match="last feature map is 1 × 1"):
        mobilenets.predict(tmp_path / "run", b"", explain=tmp_path / "x")
    list(mobilenets.predict(tmp_path / "run", photos, sheet=tmp_path / "sheet.png"))
    assert (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(
    ("image", "stem"),
    [
        ("photos/rose.jpg", "rose"),
        ("a/塑料瓶 (1).png", "塑料瓶 (1)"),
        ("-", "picture"),
        ("..", "picture"),
        ("a:b*c?.png", "a_b_c_"),
        ("x\n\udce9.png", "x__"),
        ("con.png", "con_"),
        (".hidden.png", "hidden"),
        ("é.png", "é"),
    ],
)
def test_names(image: str, stem: str) -> None:
    assert safe_stem(image) == stem


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_any_name_is_one_file_below_the_folder(image: str) -> None:
    stem = safe_stem(image)
    assert stem and len(stem.encode()) <= 121
    assert not set(stem) & set('/\\:*?"<>|\0') and stem.isprintable() and stem[0] not in ".-" and stem[-1] not in " ."
