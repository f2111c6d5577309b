"""The channels that go are those that are worth least for their time."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenets.measure.allotment import Costed, least_worth


def test_slow_and_worthless_channels_go_first() -> None:
    worth = np.array([5.0, 1, 4, 2] * 6)
    groups = {"slow": Costed(worth, 0.2), "fast": Costed(worth, 0.1), "dear": Costed(worth * 9, 0.2)}
    gone = least_worth(groups, 1.6)
    assert list(gone) == ["slow"]
    assert np.flatnonzero(gone["slow"]).tolist() == [1, 3, 5, 7, 9, 13, 17, 21]  # all six of 1, then two of 2


@pytest.mark.parametrize("save", [0.1, 1.0, 2.5, 4.0, 100.0])
def test_eights_are_left_and_as_much_is_saved_as_there_is(save: float) -> None:
    rng = np.random.default_rng(3)
    groups = {str(count): Costed(rng.random(count), 0.05) for count in (4, 8, 20, 36)}
    gone = least_worth(groups, save)
    left = {name: len(group.worth) - int(gone.get(name, np.zeros(1)).sum()) for name, group in groups.items()}
    assert left["4"] == 4 and left["8"] == 8
    assert all(left[name] % 8 == 0 and left[name] >= 8 for name in gone)
    saved = 0.05 * sum(int(flags.sum()) for flags in gone.values())
    assert saved >= min(save, 0.05 * (12 + 28)) - 1e-9
    assert saved < save + 0.05 * 8 + 1e-9


def test_nothing_to_save() -> None:
    assert least_worth({"a": Costed(np.ones(16), 1.0)}, 0) == {}
