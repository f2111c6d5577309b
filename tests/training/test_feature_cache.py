"""Damage to the file of the feature cache."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mobilenets.training.feature_cache import FeatureCache, count_entries, look_up

MARKS, SHAPE = ["aa", "bb", "cc"], (1, 1, 6)
VALUES = np.arange(18, dtype=np.float32).reshape(3, 1, *SHAPE)


def opened() -> FeatureCache:
    return FeatureCache("key", MARKS, np.empty((3, 1, *SHAPE), np.float32))


def fill(cache: FeatureCache) -> None:
    missing = list(cache.missing)
    cache.add(missing, np.stack([VALUES[entry] for entry in missing]))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path))
    with closing(opened()) as cache:
        fill(cache)
    return tmp_path / "features" / "key.sqlite"


def test_any_bit_flipped(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever becomes of the file, what is read of it is right, and the rest is computed and kept again."""
    sound = file.read_bytes()
    table, last = sound.index(b"CREATE TABLE"), len(sound)
    places = [*range(108), *range(table - 12, table + 140), *range(4096, 4112), *range(last - 120, last)]
    lost = 0
    for number, place in enumerate(places):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << number % 8
        file.write_bytes(damaged)
        count_entries("key", MARKS, 1)
        with closing(opened()) as cache:
            lost += bool(cache.missing)
            if cache.missing:
                fill(cache)
            assert cache.values.tobytes() == VALUES.tobytes(), place
        with closing(opened()) as cache:
            assert not cache.missing, place
    assert lost > 200
    assert "the feature cache is damaged; computing it again" in caplog.text
    assert "continuing without it" not in caplog.text


def test_a_table_of_other_columns(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_bytes(file.read_bytes().replace(b"value BLOB", b"valuf BLOB"))
    with closing(opened()) as cache:
        assert len(cache.missing) == 3
    assert "the feature cache is damaged; computing it again" in caplog.text


def test_looking_up_writes_nothing(file: Path) -> None:
    found = np.zeros((3, *SHAPE), np.float32)
    assert look_up("key", ["cc", "none", "aa"], found) == [1]
    np.testing.assert_array_equal(found[[0, 2]], VALUES[[2, 0], 0])
    damaged = file.read_bytes()[:-40] + bytes(40)
    file.write_bytes(damaged)
    assert look_up("key", MARKS, found)
    file.write_bytes(b"no data base")
    assert look_up("key", MARKS, found) == [0, 1, 2]
    assert file.read_bytes() == b"no data base"
