from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mobilenets
from mobilenets.errors import InputError

SHOWN = ("image", "predictions", "error", "known", "distance")


@pytest.fixture
def mixed(trained: Any, tmp_path: Path) -> Path:
    """Give twelve good pictures and two bad ones."""
    source = tmp_path / "source"
    for label in ("cat", "dog", "owl"):
        shutil.copytree(trained.data / label, source / label, ignore=shutil.ignore_patterns("0[1-9]*", "00[4-9]*"))
    (source / "dog/bad.jpg").write_bytes(b"<html>")
    (source / "cat/empty.png").write_bytes(b"")
    return source


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(out.glob("answers/*")) for line in file.read_text().splitlines()]


def test_the_answers_are_those_of_predict(trained: Any, mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = mobilenets.predict_many(trained.run, mixed, out, format="jsonl", workers=2, part=5, top=2)
    names = sorted(path.relative_to(mixed).as_posix() for path in mixed.rglob("*.*"))
    serial = list(mobilenets.predict(trained.run, [(name, mixed / name) for name in names], top=2))
    found = rows(out)
    assert [row["image"] for row in found] == names
    for row, same in zip(found, serial, strict=True):
        assert row.get("error") == same.get("error") and row.get("known") == same.get("known")
        for one, other in zip(row.get("predictions", []), same.get("predictions", []), strict=True):
            assert one["label"] == other["label"] and one["probability"] == pytest.approx(
                other["probability"], abs=1e-6
            )
    assert (result["pictures"], result["bad"], result["parts"], result["failed"]) == (14, 2, 3, [])
    assert sum(result["classes"].values()) + result["none_of_these"] == 12
    before = {file: file.stat().st_mtime_ns for file in out.glob("answers/*")}
    (mixed / "dog/bad.jpg").unlink()
    again = mobilenets.predict_many(trained.run, mixed, out, format="jsonl", part=5, top=2)
    assert (again["pictures"], again["bad"], again["answered_now"]) == (13, 1, 4)
    assert sum(before[file] == file.stat().st_mtime_ns for file in before) == 2


def test_a_detector_gives_boxes(finder: Any, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pip install pyarrow, for lists and answers in Parquet")
    out = tmp_path / "out"
    result = mobilenets.predict_many(finder.run, finder.data / "pictures", out, threshold=0.3)
    table = pq.read_table(out / "answers").to_pylist()
    expected = list(mobilenets.predict(finder.run, finder.data / "pictures", threshold=0.3))
    assert [row["detections"] for row in table] == [answer["detections"] for answer in expected]
    assert sum(result["classes"].values()) == sum(len(row["detections"]) for row in table) > 0


def test_ray_gives_the_same(trained: Any, mixed: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="pip install ray, for predict --engine ray")
    settings: dict[str, Any] = {"format": "jsonl", "part": 5}
    mobilenets.predict_many(trained.run, mixed, tmp_path / "local", **settings)
    result = mobilenets.predict_many(trained.run, mixed, tmp_path / "ray", engine="ray", workers=1, **settings)
    assert rows(tmp_path / "ray") == rows(tmp_path / "local") and result["parts"] == 3


def test_a_missing_engine_is_said(trained: Any, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="ray is not installed: "):
        mobilenets.predict_many(trained.run, mixed, tmp_path / "out", engine="ray")
    with pytest.raises(InputError, match=r"Parquet needs pyarrow: .* or use --format jsonl"):
        mobilenets.predict_many(trained.run, mixed, tmp_path / "out", format="parquet")
    with pytest.raises(InputError, match="a list in Parquet needs pyarrow"):
        mobilenets.predict_many(trained.run, "some.parquet", tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"engine": "spark"}, "engine 'spark': choose local or ray"),
        ({"workers": 0}, "workers 0: give a number of at least 1"),
        ({"timeout": 0.0}, "timeout 0: give seconds above 0"),
        ({"top": 0}, "top 0"),
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        mobilenets.predict_many("run", "photos", tmp_path, **settings)
