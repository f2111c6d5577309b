from __future__ import annotations

from pathlib import Path

import pytest

from mobilenets.weights.keras import hdf5


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read HDF5 files in this process: of many files a process each takes its time, and test_hdf5 has them."""
    hdf5_child = pytest.importorskip("mobilenets.weights.keras.hdf5_child")
    monkeypatch.setattr(hdf5_child, "_limit", lambda memory, seconds: None)

    def run(path: Path, source: Path, folder: Path) -> None:
        hdf5_child.main(str(source), str(folder), *map(str, (hdf5.MAX_ARRAYS, hdf5.MAX_BYTES, 0, 0)))

    monkeypatch.setattr(hdf5, "_run", run)
