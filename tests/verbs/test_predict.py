from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mobilenets
from mobilenets.errors import InputError
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.pictures.stream import default_workers
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.exported import Exported
from mobilenets.runtime.predictor import EnginePredictor


def test_kinds_of_pictures(trained: Any, tmp_path: Path) -> None:
    path = trained.data / "owl/003.png"
    with Image.open(path) as image:
        pictures = [path, str(path), path.read_bytes(), image, ("mine", path.read_bytes())]
        answers = list(mobilenets.predict(trained.run, pictures, top=1))
    assert [answer["image"] for answer in answers] == [str(path), str(path), "picture 3", "picture 4", "mine"]
    found = [answer["predictions"] for answer in answers]
    assert found[0][0]["label"] == "owl"
    assert all(len(entries) == 1 for entries in found)
    np.testing.assert_allclose([entries[0]["probability"] for entries in found], found[0][0]["probability"], atol=1e-6)


def test_one_picture_needs_no_list(trained: Any) -> None:
    path = trained.data / "cat/000.png"
    predictor = mobilenets.Predictor(trained.run)
    for picture in (path, str(path), path.read_bytes()):
        [answer] = mobilenets.predict(predictor, picture)
        assert answer["predictions"][0]["label"] == "cat"
    [answer] = mobilenets.predict(predictor, Image.new("RGB", (5, 5)))
    assert set(answer) == {"image", "predictions", "known", "distance"}


def test_unreadable_among_good(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    good = trained.data / "cat/000.png"
    pictures = [good] * 33 + [tmp_path / "broken.jpg", b"", tmp_path / "none.png", good]
    answers = list(mobilenets.predict(trained.run, pictures))
    assert ["error" in answer for answer in answers] == [False] * 33 + [True] * 3 + [False]
    assert answers[34] == {"image": "picture 35", "error": "the file is empty"}
    assert answers[-1]["predictions"][0]["label"] == "cat"


@pytest.mark.parametrize(("geometry", "ahead"), [("outside", 32), ("inside", 4)])
def test_few_whole_pictures_are_held(geometry: str, ahead: int) -> None:
    exported = Exported("m.onnx", "onnx", "float32", {"m.onnx": "0" * 64}, "uint8", "NHWC", geometry=geometry)
    bundle = Bundle({}, ("cat", "dog"), Preprocessing(8), export=exported)
    predictor = EnginePredictor(bundle, lambda images: np.array([[images.shape[1], 0]] * len(images), np.float32))
    taken: list[int] = []
    pictures = (taken.append(side) or Image.new("RGB", (9, side)) for side in range(1, 80))
    answers = mobilenets.predict(predictor, pictures)
    first = next(answers)
    assert ahead <= len(taken) < 2 * ahead + default_workers() and first["predictions"][0]["label"] == "cat"
    assert len(list(answers)) == 78


def test_all_unreadable(trained: Any) -> None:
    first, second = mobilenets.predict(trained.run, [b"", b"x"])
    assert first == {"image": "picture 1", "error": "the file is empty"}
    assert second["error"] == "not a picture but text"


def two_answers() -> EnginePredictor:
    """Stand in for a network: bright pictures are cats."""
    bundle = Bundle({}, ("cat", "dog"), Preprocessing(8, resize="stretch"))
    return EnginePredictor(bundle, lambda images: np.stack([images.mean((1, 2, 3)), 0 * images[:, 0, 0, 0]], 1))


def test_python_objects() -> None:
    bright, dark = np.full((9, 12, 3), 250, np.uint8), np.zeros((9, 12, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(bright).save(stream, "PNG")

    def said(pictures: Any) -> list[tuple[str, str]]:
        answers = mobilenets.predict(two_answers(), pictures, top=1)
        return [(answer["image"], answer["predictions"][0]["label"]) for answer in answers]

    for one in (bright, bright[..., 0], stream, bytearray(stream.getvalue()), memoryview(stream.getvalue())):
        assert said(one) == said([one]) == [("picture 1", "cat")]
    assert said(np.stack([bright, dark])) == said((bright, dark)) == [("picture 1", "cat"), ("picture 2", "dog")]
    assert said({"a": dark, "b": stream}) == said([("a", dark), ("b", bright)]) == [("a", "dog"), ("b", "cat")]


def test_one_bad_item_does_not_end_the_others(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    bright = np.full((9, 12, 3), 250, np.uint8)
    bad: list[Any] = [None, 3, [bright], bright / 255, "https://example.com/a.jpg", tmp_path / "empty", "no.jpg"]
    bad += [tmp_path / "no*.jpg", io.StringIO("words"), ("named", object()), ("three", bright, 1)]
    answers = list(mobilenets.predict(two_answers(), [*bad, bright]))
    assert all("error" in answer for answer in answers[:-1])
    assert answers[-1]["predictions"][0]["label"] == "cat"
    assert [answer["image"] for answer in answers[4:8]] == [str(one) for one in bad[4:8]]
    assert len(answers) == len(bad) + 1
    assert answers[5]["error"].startswith("has no pictures")
    assert answers[6]["error"] == "there is no such file"
    assert answers[7]["error"] == "no file fits this pattern"
    with pytest.raises(InputError, match="give files, folders, images or arrays, not NoneType"):
        mobilenets.predict(two_answers(), None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has no pictures"):
        mobilenets.predict(two_answers(), tmp_path / "empty")


def test_patterns(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "a[1].png", "c.txt"):
        Image.new("RGB", (5, 5)).save(tmp_path / name, "PNG")
    found = [Path(one["image"]).name for one in mobilenets.predict(two_answers(), str(tmp_path / "[ab].png"))]
    assert found == ["a.png", "b.png"]
    # A file of that very name comes before what the name would stand for as a pattern.
    [answer] = mobilenets.predict(two_answers(), str(tmp_path / "a[1].png"))
    assert answer["image"].endswith("a[1].png") and "predictions" in answer


def test_no_pictures(trained: Any) -> None:
    assert list(mobilenets.predict(trained.run, [])) == []


def test_what_is_wrong_is_said_at_once(trained: Any, tmp_path: Path) -> None:
    # Without waiting for the first answer to be asked for.
    with pytest.raises(InputError, match="top 0"):
        mobilenets.predict(trained.run, [b""], top=0)
    with pytest.raises(InputError, match="no such model"):
        mobilenets.predict(tmp_path / "nowhere", [b""])
    with pytest.raises(InputError, match="device 'toaster'"):
        mobilenets.Predictor(trained.run, device="toaster")
    with pytest.raises(InputError, match="has no pictures"):
        list(mobilenets.predict(trained.run, tmp_path))


def test_one_by_one_and_lazily(trained: Any) -> None:
    asked = []

    def pictures() -> Any:
        for number in range(100):
            asked.append(number)
            yield trained.data / "cat/000.png"

    answers = mobilenets.predict(trained.run, pictures())
    assert asked == []
    next(answers)
    assert 0 < len(asked) < 100


def test_a_file_beside_model_json_is_the_model(trained: Any) -> None:
    picture = trained.data / "dog/000.png"
    assert (
        mobilenets.Predictor(trained.run / "model.safetensors")(picture)
        == mobilenets.Predictor(str(trained.run))(picture)
        == mobilenets.Predictor(trained.run / "model.json")(picture)
    )
