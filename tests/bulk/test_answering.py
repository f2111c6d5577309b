from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.bulk.answering import NETWORK, answers, counted
from mobilenets.bulk.reading import fetched, read_part
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


@pytest.fixture
def cutting(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """Serve pictures of which the first answers break off, and note what is asked for."""
    monkeypatch.setattr("mobilenets.bulk.reading.PAUSE", 0.0)
    asked: list[str] = []
    broken = {"/length": b"Content-Length: 7\r\n\r\ncon", "/chunk": b"Transfer-Encoding: chunked\r\n\r\n7\r\ncon"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            whole = b"Content-Length: 7\r\n\r\ncontent"
            first = asked.count(self.path) == 1
            start = b"no answer at all\r\n" if first and self.path == "/none" else b"HTTP/1.1 200 OK\r\n"
            self.wfile.write(start + (broken.get(self.path, whole) if first else whole))

        def log_message(self, *words: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


@pytest.mark.parametrize("name", ["/length", "/chunk", "/none"])
def test_an_answer_that_breaks_off_is_asked_for_again(name: str, cutting: tuple[str, list[str]]) -> None:
    base, asked = cutting
    assert fetched(base + name, 100) == b"content" and asked == [name, name]


def test_an_address_that_is_none_costs_no_other_picture(cutting: tuple[str, list[str]]) -> None:
    base, asked = cutting
    part = {"kind": "listed", "where": ".", "names": [f"{base}/a b.jpg", f"{base}/c.jpg"]}
    (_, fault), (_, content) = read_part(part, 100)
    assert isinstance(fault, UnreadablePicture) and "URL" in str(fault)
    assert content == b"content" and asked == ["/c.jpg"]
