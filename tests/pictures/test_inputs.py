from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.errors import UnreadablePicture
from mobilenets.pictures.decode import decode
from mobilenets.pictures.inputs import is_one, source_of

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
PHOTO = Image.fromarray(PIXELS)


def png() -> bytes:
    stream = io.BytesIO()
    PHOTO.save(stream, "PNG")
    return stream.getvalue()


class Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation("seek")


GIVEN: dict[str, Callable[[], Any]] = {
    "bytes": png,
    "bytearray": lambda: bytearray(png()),
    "memoryview": lambda: memoryview(png()),
    "file in memory": lambda: io.BytesIO(png()),
    "a stream": lambda: Unseekable(png()),
    "image": lambda: PHOTO,
    "array": lambda: PIXELS,
    "not in one piece": lambda: np.repeat(PIXELS, 2, 1)[:, ::2],
    "OpenCV's, turned round": lambda: np.ascontiguousarray(PIXELS[..., ::-1])[..., ::-1],
    "read only": lambda: np.frombuffer(PIXELS.tobytes(), np.uint8).reshape(PIXELS.shape),
    "opaque": lambda: np.dstack([PIXELS, np.full(PIXELS.shape[:2], 255, np.uint8)]),
}


@pytest.mark.parametrize("give", GIVEN.values(), ids=GIVEN)
def test_all_give_the_same_picture(give: Callable[[], Any]) -> None:
    assert decode(source_of(give())).tobytes() == PHOTO.tobytes()


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())
    assert decode(source_of(str(path))).tobytes() == decode(source_of(path)).tobytes() == PHOTO.tobytes()
    with path.open("rb") as stream:
        assert decode(source_of(stream)).tobytes() == PHOTO.tobytes()
    with path.open("r", encoding="latin-1") as text, pytest.raises(UnreadablePicture, match=r'open\(path, "rb"\)'):
        source_of(text)  # type: ignore[arg-type]
    with pytest.raises(UnreadablePicture, match=r"the file object cannot be read: .*closed"):
        source_of(stream)


def test_what_was_just_written_is_read_from_its_start() -> None:
    stream: IO[bytes] = io.BytesIO()
    PHOTO.save(stream, "PNG")
    assert decode(source_of(stream)).tobytes() == PHOTO.tobytes()


def test_grey_and_transparent_arrays() -> None:
    grey = PIXELS[..., 0]
    for array in (grey, grey[..., None]):
        assert np.array_equal(np.asarray(decode(source_of(array))), grey[..., None].repeat(3, -1))
    clear = np.dstack([PIXELS, np.zeros(PIXELS.shape[:2], np.uint8)])
    assert (np.asarray(decode(source_of(clear))) == 255).all()


def test_nothing_of_the_callers_is_changed() -> None:
    array, before = PIXELS.copy(), PIXELS.copy()
    decode(source_of(array)).putpixel((0, 0), (1, 2, 3))
    assert np.array_equal(array, before)
    image = PHOTO.copy()
    decode(source_of(image)).putpixel((0, 0), (1, 2, 3))
    assert image.tobytes() == PHOTO.tobytes()


class Tensor:
    """Has what tells a tensor of PyTorch apart."""

    shape = (3, 6, 9)

    def permute(self, *_: int) -> Tensor:
        return self


REFUSED = [
    (None, "not NoneType"),
    (3, "not int"),
    (["a.jpg"], "not list: for several pictures use mobilenets.predict"),
    ({"a": "a.jpg"}, "not dict: for several"),
    (PIXELS / 255, r"uint8 from 0 to 255, not float64, of 0 to 1: \(array \* 255\)"),
    (PIXELS.astype(np.int64), "not int64$"),
    (PIXELS.transpose(2, 0, 1), "not 3×6×9: move the channels last"),
    (PIXELS[None], "not 1×6×9×3: for several pictures"),
    (PIXELS[0, 0], "not 3$"),
    (np.zeros((0, 5, 3), np.uint8), "no pixels"),
    (np.array(None), "not object"),
    (Tensor(), "a tensor is not a picture: pass an array"),
    ("https://example.com/a.jpg", "a web address: download the picture first"),
    ("S3://bucket/a.jpg", "web address"),
    ("file:///tmp/a.jpg", "without file://"),
    ("data:image/png;base64,iVBORw0K", "data URL"),
]


@pytest.mark.parametrize(("thing", "line"), REFUSED)
def test_what_is_refused_says_what_to_give(thing: Any, line: str) -> None:
    with pytest.raises(UnreadablePicture, match=line):
        source_of(thing)


def test_closed_images(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())
    loaded = Image.open(path)
    loaded.load()
    loaded.close()
    made = Image.new("RGB", (4, 4))
    made.close()
    unloaded = Image.open(path)
    unloaded.close()
    for image in (loaded, made, unloaded):
        with pytest.raises(UnreadablePicture, match="this Pillow image is closed: pass it while it is open"):
            decode(image)


def test_one_or_several() -> None:
    for one in (*GIVEN.values(), lambda: "a.jpg", lambda: Path("a.jpg"), Tensor):
        assert is_one(one())
    for several in ([PHOTO], (PHOTO,), iter([PHOTO]), np.stack([PIXELS, PIXELS]), {"a": PHOTO}, None, 3):
        assert not is_one(several)


def test_an_empty_path_is_no_folder() -> None:
    with pytest.raises(UnreadablePicture, match="the path is empty"):
        source_of("")
