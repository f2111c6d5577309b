"""Names of classes as other tools and editors leave them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from mobilenets.errors import InputError
from mobilenets.weights.class_names import read_classes

FRUIT = ("apple", "bänana", "cherry")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("crlf.txt", "apple\r\nbänana\r\ncherry\r\n".encode()),
        ("bom.txt", b"\xef\xbb\xbf" + "apple\r\nbänana\r\ncherry".encode()),
        ("utf16.txt", "apple\r\nbänana\r\ncherry\r\n".encode("utf-16")),
        ("decomposed.txt", b"apple\nba\xcc\x88nana\ncherry\n"),
        ("labels.txt", "0 apple\n1 bänana\n2 cherry\n".encode()),  # Teachable Machine
        ("labels.txt", "0: apple\n1: bänana\n2: cherry\n".encode()),
        ("labels.txt", "2\tcherry\n0\tapple\n1\tbänana\n".encode()),
        ("labels.csv", "apple,0\nbänana,1\ncherry,2\n".encode()),
        ("labels.csv", "1;apple\r\n2;bänana\r\n3;cherry\r\n".encode()),
        ("data.yaml", "train: x\nnames: ['apple', \"bänana\", cherry]\nnc: 3\n".encode()),
        ("data.yaml", "nc: 3\nnames:\n- apple\n- bänana\n- cherry\npath: x\n".encode()),
        ("data.yml", "names:\n  # fruit\n  0: apple\n  1: bänana  # long\n  2: 'cherry'\n\npath: x\n".encode()),
    ],
)
def test_text(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_classes(tmp_path / name) == FRUIT


@pytest.mark.parametrize(
    "value",
    [
        list(FRUIT),
        {"cherry": 2, "apple": 0, "bänana": 1},  # Keras's class_indices, fastai's and torchvision's class_to_idx
        {"2": "cherry", "0": "apple", "1": "bänana"},
        {"0": ["n1", "apple"], "1": ["n2", "bänana"], "2": ["n3", "cherry"]},
        {"model_type": "mobilenet_v2", "id2label": {"0": "apple", "1": "bänana", "2": "cherry"}},
        {"names": list(FRUIT)},
        {"labels": {"apple": 0, "bänana": 1, "cherry": 2}},
        [{"id": 2, "name": "cherry"}, {"id": 0, "name": "apple"}, {"id": 1, "name": "bänana"}],
    ],
)
def test_json(tmp_path: Path, value: Any) -> None:
    (tmp_path / "names.json").write_text(json.dumps(value), encoding="utf-8-sig")
    assert read_classes(tmp_path / "names.json") == FRUIT


def test_numbers_that_are_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "names.txt"
    for names in (("7 up", "cola"), ("10 euro", "20 euro", "50 euro"), ("0", "1", "2"), ("0 apple", "0 pear")):
        path.write_text("\n".join(names))
        assert read_classes(path) == names
    path.write_text("0 apple\n1 pear\n")
    with caplog.at_level(logging.INFO, "mobilenets"):
        read_classes(path)
    assert "read as class indices" in caplog.text


def test_chinese_of_old_windows_is_read_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "gbk.txt"
    path.write_bytes("苹果\r\n香蕉\r\n樱桃 a\r\n".encode("gbk"))
    assert read_classes(path) == ("苹果", "香蕉", "樱桃 a")
    assert "is not UTF-8: it was read as GB18030 (Chinese)" in caplog.text


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_an_encoding_that_cannot_be_told_is_refused(tmp_path: Path, encoding: str) -> None:
    for names in ("bänana\ncafé\n", "Äpfel\n", "grün\n", "naïve\n"):
        (tmp_path / "names.txt").write_bytes(names.encode(encoding))
        with pytest.raises(
            InputError, match=r"names\.txt: not text in UTF-8 or another known encoding: save it as UTF-8$"
        ):
            read_classes(tmp_path / "names.txt")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"apple": 1}'),
        ("a.json", '{"apple": 0, "pear": 0}'),
        ("a.json", '{"apple": 0, "pear": 2}'),
        ("a.json", '{"0": "apple", "2": "pear"}'),
        ("a.json", '{"apple": true}'),
        ("a.json", "[1, 2]"),
        ("a.json", "3"),
        ("a.yaml", "train: x\n"),
        ("a.txt", "\n \n"),
    ],
)
def test_what_names_nothing(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=rf"{name}: not a list of class names"):
        read_classes(tmp_path / name)
