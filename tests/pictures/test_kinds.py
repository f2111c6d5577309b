from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from mobilenets.errors import UnreadablePicture
from mobilenets.pictures import kinds
from mobilenets.pictures.decode import UnknownKind, decode, open_picture

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
PHOTO = Image.fromarray(np.linspace(0, 255, 24 * 32 * 3).astype(np.uint8).reshape(24, 32, 3))


def saved(form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    PHOTO.save(stream, form, **options)
    return stream.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"
TOLD = [
    (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "a web page.*download the picture itself"),
    (b"\xef\xbb\xbf\r\n  <HTML lang=en><head>", "a web page"),
    ("<html><title>找不到</title>".encode("utf-16"), "a web page"),
    (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "x">', "a web page"),
    (LFS, "Git LFS pointer.*git lfs pull"),
    (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="10"/>', "SVG drawing.*PNG"),
    (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG drawing"),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "not a picture but XML"),
    (b'{"error": "no such picture"}', "not a picture but JSON"),
    (b"[InternetShortcut]\r\nURL=https://example.com/a.jpg\r\n", "a shortcut to an address"),
    (b"L\0\0\0\1\x14\2\0\0\0\0\0\xc0\0\0\0\0\0\0F" + bytes(56), "a shortcut of Windows"),
    (b"bplist00\xd4\1\2\3" + bytes(20), "a property list of macOS, as iCloud leaves"),
    (b"\0\0\2\0\0\0\0\0\0\0\0\0\x50\0\x3c\0\x18\0" + bytes(20), "TGA picture is not read: convert"),
    (b"\0\0\2\0\1\0" + bytes(20), "a cursor is not read"),
    (b"\n\5\1\x08" + bytes(20), "PCX is not read: convert"),
    (b"\x01\xda\1\1" + bytes(20), "SGI picture is not read: convert"),
    ("一张照片\n".encode(), "not a picture but text"),
    (b"data:image/png;base64,iVBORw0K", "a data URL.*Base64"),
    (b"%PDF-1.4\n", "PDF is not read: export"),
    (b"PK\3\4" + bytes(30), "ZIP archive: unpack"),
    (b"\x1f\x8b\x08\0" + bytes(30), "gzip archive: unpack"),
    (bytes(257) + b"ustar\0" + bytes(50), "tar archive"),
    (b"\0\0\0\x18ftypmp42" + bytes(20), "a video: save frames"),
    (b"\0\0\0\x14ftypqt  " + bytes(20), "a video"),
    (b"\x1aE\xdf\xa3" + bytes(20), "a video"),
    (b"RIFF\0\0\0\0AVI LIST", "a video"),
    (b"\xff\x0a" + bytes(range(40)), "JPEG XL is not read: convert"),
    (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20), "JPEG XL is not read"),
    (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "JPEG 2000 is not read"),
    (b"\xff\x4f\xff\x51" + bytes(20), "JPEG 2000 is not read"),
    (b"8BPS\0\1" + bytes(20), "Photoshop.*export"),
    (b"FUJIFILMCCD-RAW 0201" + bytes(20), "camera raw is not read: export it as JPEG"),
    (b"\0\0\0\x18ftypcrx " + bytes(20), "camera raw"),
    (b"\0\0\1\0\1\0" + bytes(20), r"icon \(ICO\)"),
    (bytes(128) + b"DICM" + bytes(9), "DICOM"),
    (bytes(100), "contains only zeros: copy or download it again"),
    (bytes(kinds.HEAD + 9), "contains only zeros"),
    (b"\xff\xd8\xff\xf7\0\x0b\x08\0\x10\0\x10\1\1\x11\0", "JPEG-LS is not read"),
    (b"\xff\xd8\xff\xc1\0\x0b\x0c\0\x10\0\x10\1\1\x11\0", "JPEG of 12 bits per channel is not read"),
    (b"\x07\x99\x12\x00random", r"not a picture that can be read \(JPEG, PNG"),
]


@pytest.mark.parametrize(("content", "line"), TOLD)
def test_what_is_not_read_is_named(content: bytes, line: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(UnreadablePicture, match=line) as raised:
            decode(source)
        assert "\n" not in str(raised.value)


def test_families() -> None:
    assert kinds.family(HEIC) == "heic"
    assert kinds.family(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "avif"
    assert kinds.family(b"\0\0\0\x18ftypisom\0\0\0\0mp41mp42") is None
    assert kinds.family(b"\xff\xd8\xff") is None


def test_heic_without_its_reader_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnknownKind) as caught:
        decode(HEIC)
    assert str(caught.value) == "HEIC: pip install pillow-heif to read it, or convert it to JPEG or PNG"
    assert len(str(caught.value)) <= 90  # so much of it is shown by check


def test_avif_without_its_reader_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda _: False)
    with pytest.raises(UnknownKind, match="AVIF: Pillow reads it from version"):
        decode(HEIC.replace(b"heic", b"avif"))


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read_and_turned_once(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = np.asarray(decode(saved("AVIF", quality=100, exif=exif)), np.int16)
    expected = np.rot90(np.asarray(PHOTO, np.int16), {1: 0, 3: 2, 6: -1}[orientation])
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 3


def test_heic_is_read() -> None:
    heif = pytest.importorskip("pillow_heif", reason="HEIC is an extra: pip install -e '.[heic]' -c constraints.txt")
    stream = io.BytesIO()
    heif.from_pillow(PHOTO).save(stream, quality=100)
    found = np.asarray(decode(stream.getvalue()), np.int16)
    assert np.abs(found - np.asarray(PHOTO, np.int16)).mean() < 3
    assert ".heic" not in Image.registered_extensions()
    with pytest.raises(UnreadablePicture, match="damaged"):
        decode(stream.getvalue()[:-30])


@pytest.mark.parametrize("name", ["a.heic", "a.png", "a.avif", "a"])
def test_the_content_decides_and_not_the_suffix(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(saved("JPEG"))
    assert decode(tmp_path / name).tobytes() == decode(saved("JPEG")).tobytes()


def test_opening_tells_the_size_alone() -> None:
    with open_picture(io.BytesIO(saved("PNG"))) as picture:
        assert picture.size == (32, 24)
