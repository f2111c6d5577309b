from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.bulk.answering import NETWORK, answers, counted
from mobilenets.bulk.reading import read_part
from mobilenets.bulk.tables import encode, pick_format
from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.predictor import EnginePredictor


def two_answers() -> EnginePredictor:
    """Stand in for a network: bright pictures are cats."""
    bundle = Bundle({}, ("cat", "dog"), Preprocessing(8, resize="stretch"))
    return EnginePredictor(bundle, lambda images: np.stack([images.mean((1, 2, 3)), 0 * images[:, 0, 0, 0]], 1))


def some() -> list[tuple[str, Any]]:
    bright, dark = Image.new("RGB", (9, 9), "white"), Image.new("RGB", (9, 9))
    return [("a", bright), ("b", UnreadablePicture("gone")), ("c", b""), ("d", dark), ("e", bright)]


def test_every_picture_gives_a_row() -> None:
    at: list[int] = []
    rows = list(answers(two_answers(), some(), batch=2, top=1, at=at.append))
    assert [row["image"] for row in rows] == list("abcde")
    assert [row.get("error") for row in rows] == [None, "gone", "the file is empty", None, None]
    assert [row["predictions"][0]["label"] for row in rows if "error" not in row] == ["cat", "dog", "cat"]
    assert at == [0, 1, NETWORK, 2, 3, NETWORK, 4, NETWORK]


def test_rows_are_counted() -> None:
    rows = list(answers(two_answers(), some(), batch=2))
    rows[4]["known"] = False
    assert counted(rows) == {
        "pictures": 5,
        "bad": 2,
        "classes": {"cat": 1, "dog": 1},
        "none_of_these": 1,
        "reasons": {"gone": 1, "the file is empty": 1},
        "first_bad": [["b", "gone"], ["c", "the file is empty"]],
    }


def test_rows_in_parquet() -> None:
    pytest.importorskip("pyarrow", reason="pip install pyarrow, for lists and answers in Parquet")
    import io

    import pyarrow.parquet as pq

    rows = list(answers(two_answers(), some(), batch=2))
    rows[0]["image"] = "a\udcff"
    table = pq.read_table(io.BytesIO(encode(rows, "parquet", False, "of a model")))
    assert table.schema.metadata[b"mobilenets"] == b"of a model"
    found = table.to_pylist()
    assert [row["image"] for row in found] == ["a\\udcff", *"bcde"]
    assert [row["label"] for row in found] == ["cat", None, None, "dog", "cat"]
    assert found[0]["predictions"] == rows[0]["predictions"] and found[0]["probability"] > 0.5
    boxes = [{"image": "x", "detections": [{"label": "cat", "score": 0.5, "box": [0.0, 1.0, 2.0, 3.0]}]}]
    assert pq.read_table(io.BytesIO(encode(boxes, "parquet", True, ""))).to_pylist() == [boxes[0] | {"error": None}]


def test_formats() -> None:
    assert pick_format("jsonl") == "jsonl"
    with pytest.raises(InputError, match="choose parquet or jsonl"):
        pick_format("csv")


def test_addresses_are_fetched_and_failures_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobilenets.bulk.reading.PAUSE", 0.0)
    (tmp_path / "a.png").write_bytes(b"content")
    part = {"kind": "listed", "where": str(tmp_path), "names": ["a.png", "http://127.0.0.1:9/b.png"]}
    (one, path), (other, fault) = read_part(part, 1.0)
    assert (one, path) == ("a.png", tmp_path / "a.png") and other == "http://127.0.0.1:9/b.png"
    assert isinstance(fault, UnreadablePicture) and "cannot be fetched" in str(fault)
