from __future__ import annotations

import numpy as np
import pytest

from mobilenets.doctor import candidates
from mobilenets.doctor.candidates import nearest


def unit(count: int, seed: int, width: int = 6) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def plainly(queries: np.ndarray, rows: np.ndarray, least: float, most: int, apart: bool) -> set[tuple[int, int]]:
    near = queries @ rows.T
    if apart:
        np.fill_diagonal(near, -1)
    found = set()
    for who, row in enumerate(near):
        best = [int(where) for where in np.argsort(-row, kind="stable") if row[where] >= least][:most]
        found |= {(who, where) for where in best}
    return found


@pytest.mark.parametrize("most", [1, 3, 100])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("least", [0.3, 0.9])
def test_blocks_find_what_one_product_finds(
    least: float, apart: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_QUERIES", 7)
    monkeypatch.setattr(candidates, "_ROWS", 11)
    queries = unit(40, 0)
    rows = queries if apart else unit(33, 1)
    found = nearest(queries, rows, least, most, apart)
    pairs = list(zip(found.queries.tolist(), found.rows.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) == plainly(queries, rows, least, most, apart)


def test_nothing_is_near_nothing() -> None:
    assert len(nearest(unit(0, 0), unit(5, 1), 0.5, 3).queries) == 0
    assert len(nearest(unit(5, 0), unit(5, 1), 1.5, 3).queries) == 0
