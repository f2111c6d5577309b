from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mobilenets.errors import FaultFound, InputError, UnreadablePicture
from mobilenets.pictures.decode import MAX_SIDE, decode
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.answers import largest, softmax
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.predictor import EnginePredictor

ORIENTATION = 0x0112


def corners(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Stand in for a network: the red of each corner, so that turning a picture changes the answer."""
    return np.stack([images[:, 0, 0, 0], images[:, 0, -1, 0], images[:, -1, 0, 0]], axis=1)


@pytest.fixture
def predictor() -> EnginePredictor:
    return EnginePredictor(Bundle({}, ("left", "right", "below"), Preprocessing(8, resize="stretch")), corners)


@pytest.fixture
def photo() -> Image.Image:
    pixels = np.zeros((16, 12, 3), np.uint8)
    pixels[:8, 6:, 0] = 255  # the upper right corner is red
    pixels[8:, :, 0] = 100
    return Image.fromarray(pixels)


def encoded(image: Image.Image, form: str, **settings: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **settings)
    return stream.getvalue()


def lying(image: Image.Image) -> Image.Image:
    """Give the picture as a phone held sideways stores it."""
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return Image.open(io.BytesIO(encoded(turned, "PNG", exif=exif)))


def test_best_first(predictor: EnginePredictor, photo: Image.Image) -> None:
    answer = predictor(photo)
    assert [entry.label for entry in answer] == ["right", "below", "left"]
    # 255, 100 and 0 become 1, -0.216 and -1.
    expected = np.exp([1, 100 / 127.5 - 1, -1])
    assert [entry.probability for entry in answer] == pytest.approx(list(expected / expected.sum()), abs=1e-6)


def test_path_text_bytes_and_image_agree(predictor: EnginePredictor, photo: Image.Image, tmp_path: Path) -> None:
    content = encoded(photo, "PNG")
    (tmp_path / "photo.png").write_bytes(content)
    expected = predictor(photo)
    assert predictor(tmp_path / "photo.png") == expected
    assert predictor(str(tmp_path / "photo.png")) == expected
    assert predictor(content) == expected
    assert predictor(Image.open(io.BytesIO(content))) == expected


def test_image_with_orientation(predictor: EnginePredictor, photo: Image.Image) -> None:
    stored = lying(photo)
    assert predictor(stored) == predictor(photo)
    assert predictor(stored.convert("RGB")) == predictor(photo)  # Pillow hands EXIF on
    plain = stored.convert("RGB")
    plain.info = {}
    plain.getexif().clear()
    assert predictor(Image.fromarray(np.asarray(plain))) != predictor(photo)


def inks(image: Image.Image) -> Image.Image:
    return image.convert("CMYK")


def veiled(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def deep(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257)


def indexed(image: Image.Image) -> Image.Image:
    image = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    image.info["transparency"] = 0
    return image


@pytest.mark.parametrize(("kind", "form"), [(inks, "TIFF"), (veiled, "PNG"), (deep, "PNG"), (indexed, "PNG")])
def test_image_is_taken_as_its_file_would_be(kind: Any, form: str, photo: Image.Image) -> None:
    image = kind(photo)
    before = (image.mode, image.tobytes(), dict(image.info))
    seen = decode(image)
    assert seen.mode == "RGB"
    assert seen.tobytes() == decode(encoded(image, form)).tobytes()
    assert (image.mode, image.tobytes(), dict(image.info)) == before
    assert not np.array_equal(np.asarray(seen), np.zeros_like(np.asarray(seen)))


def test_cmyk_jpeg_opened_by_pillow(photo: Image.Image) -> None:
    content = encoded(photo.convert("CMYK"), "JPEG", quality=95)
    with Image.open(io.BytesIO(content)) as image:
        assert decode(image).tobytes() == decode(content).tobytes()
        assert image.mode == "CMYK"


def test_an_rgb_image_is_not_handed_back_itself(photo: Image.Image) -> None:
    photo.info["comment"] = "mine"
    seen = decode(photo)
    seen.putpixel((0, 0), (9, 9, 9))
    assert photo.getpixel((0, 0)) == (0, 0, 0)
    assert photo.info == {"comment": "mine"}


def test_unusable_images(predictor: EnginePredictor, photo: Image.Image) -> None:
    cut = Image.open(io.BytesIO(encoded(photo.resize((200, 200)), "PNG")[:-100]))
    with pytest.raises(UnreadablePicture, match="truncated"):
        predictor(cut)
    with pytest.raises(UnreadablePicture, match="no pixels"):
        predictor(Image.new("RGB", (0, 5)))
    with pytest.raises(UnreadablePicture, match="the limit is"):
        predictor(Image.new("L", (MAX_SIDE + 1, 1)))
    with pytest.raises(UnreadablePicture, match="the file is empty"):
        predictor(b"")
    with pytest.raises(UnreadablePicture, match="there is no such file"):
        predictor("nowhere.jpg")


@pytest.mark.parametrize("thing", [None, 3, {}])
def test_what_is_no_picture(predictor: EnginePredictor, thing: Any) -> None:
    with pytest.raises(UnreadablePicture, match=r"a picture is a path, the bytes of a file, .*, not "):
        predictor(thing)


def test_a_file_is_named(predictor: EnginePredictor, tmp_path: Path) -> None:
    with pytest.raises(UnreadablePicture, match=r"^nowhere\.jpg: there is no such file$"):
        predictor("nowhere.jpg")
    with pytest.raises(UnreadablePicture, match="this is a folder"):
        predictor(tmp_path)


def test_top(predictor: EnginePredictor, photo: Image.Image) -> None:
    assert len(predictor(photo, top=99)) == 3
    assert predictor(photo, top=1) == predictor(photo)[:1]
    for top in (0, -1):
        with pytest.raises(InputError, match=f"top {top}: give a number of at least 1"):
            predictor(photo, top=top)


def test_batch(predictor: EnginePredictor, photo: Image.Image) -> None:
    pictures = [photo, photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    prepared = [predictor.prepare(picture) for picture in pictures]
    assert all(one.shape == (8, 8, 3) and one.dtype == np.float32 for one in prepared)
    assert predictor.batch(prepared) == [predictor(picture) for picture in pictures]
    assert predictor.batch(np.stack(prepared)) == predictor.batch(prepared)
    assert predictor.batch([]) == []


@pytest.mark.parametrize("classes", [1, 2, 5, 1000])
@pytest.mark.parametrize("top", [1, 5, 1000])
def test_the_largest_are_those_of_sorting_all(classes: int, top: int) -> None:
    rng = np.random.default_rng(classes)
    for number in range(30):
        values = np.round(rng.random(classes), 1 if number % 2 else 3)
        if number % 5 == 4:
            values[rng.integers(classes)] = np.nan
        assert np.array_equal(largest(values, top), np.argsort(-values, kind="stable")[:top])


def test_equal_probabilities_keep_the_order_of_classes(predictor: EnginePredictor) -> None:
    assert [entry.label for entry in predictor(Image.new("RGB", (4, 4)))] == ["left", "right", "below"]


def test_softmax() -> None:
    logits = np.array([[1000.0, 0.0], [-1000.0, -1000.0]], np.float32)
    assert softmax(logits).tolist() == [[1.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_an_output_that_is_no_number_is_no_answer(photo: Image.Image, value: float) -> None:
    def overflowing(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        given = corners(images)
        given[0, 1] = value
        return given

    broken = EnginePredictor(Bundle({}, ("left", "right", "below"), Preprocessing(8, resize="stretch")), overflowing)
    with pytest.raises(FaultFound, match=r"^the network's output is not finite: its weights are broken"):
        broken(photo)
    first, second = broken.probabilities([broken.prepare(photo)] * 2)
    with pytest.raises(FaultFound):
        broken.answer(first)
    assert broken.answer(second)["predictions"][0]["label"] == "right"
