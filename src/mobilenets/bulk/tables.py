"""Rows as a file: Parquet (pyarrow), or JSON lines, the objects of ``predict --json``."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Sequence
from typing import Any

from mobilenets.base.extras import how_to_install
from mobilenets.errors import InputError

PARQUET, LINES = "parquet", "jsonl"
FORMATS = (PARQUET, LINES)


def pick_format(asked: str | None) -> str:
    """Choose a format that can be written here; raises ``InputError`` for another one."""
    there = importlib.util.find_spec("pyarrow") is not None
    if asked is None:
        return PARQUET if there else LINES
    if asked not in FORMATS:
        raise InputError(f"format {asked!r}: choose {' or '.join(FORMATS)}")
    if asked == PARQUET and not there:
        raise InputError(f"Parquet needs pyarrow: {how_to_install('bulk')}; or use --format {LINES}")
    return asked


def encode(rows: Sequence[dict[str, Any]], form: str, boxes: bool, about: str) -> bytes:
    """Give rows as the bytes of a file; ``about`` is kept in a Parquet file's metadata."""
    if form == LINES:
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        return text.encode("utf-8", "backslashreplace")
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = [_flat(row, boxes) for row in rows]
    file = io.BytesIO()
    schema = _schema(boxes).with_metadata({"mobilenets": about})
    pq.write_table(pa.Table.from_pylist(made, schema=schema), file, compression="zstd")
    return file.getvalue()


def _flat(row: dict[str, Any], boxes: bool) -> dict[str, Any]:
    """Give a row its columns: the best class stands apart from the list."""
    # A file name that is no text has lone surrogates, which Parquet has no way to write.
    image = row["image"].encode("utf-8", "backslashreplace").decode()
    flat = row | {"image": image}
    if boxes or "error" in row:
        return flat
    best = row["predictions"][0]
    return flat | {"label": best["label"], "probability": best["probability"]}


def _schema(boxes: bool) -> Any:
    import pyarrow as pa

    text, number, yes = pa.string(), pa.float64(), pa.bool_()
    if boxes:
        box = pa.struct({"label": text, "score": number, "box": pa.list_(number, 4)})
        return pa.schema({"image": text, "detections": pa.list_(box), "error": text})
    one = pa.struct({"label": text, "probability": number})
    columns = {"image": text, "label": text, "probability": number, "predictions": pa.list_(one)}
    return pa.schema(columns | {"known": yes, "distance": number, "sure": yes, "error": text})
