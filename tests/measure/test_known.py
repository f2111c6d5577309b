"""The distance from what a model learned, fitted on clusters whose neighbours are known, and the bar set on it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.measure.known import (
    Answered,
    above,
    auroc,
    called_crosswise,
    called_to_json,
    find_bar,
    fit_space,
    shrinkage,
    why_not,
)
from mobilenets.models.distance import Space, load_space, save_space

DIMENSIONS, CLASSES = 30, 4


def drawn(count: int, seed: int, away: float = 0.0) -> tuple[Answered, np.ndarray]:
    """Draw features around the corners of a simplex, skewed as ReLU leaves them, and logits that know the corner."""
    rng = np.random.default_rng(seed)
    labels = np.sort(rng.integers(0, CLASSES, count))
    features = rng.exponential(0.3, (count, DIMENSIONS))
    features[np.arange(count), labels] += 4
    features[:, -5:] += away
    logits = 3 * np.eye(CLASSES)[labels] + rng.normal(0, 1, (count, CLASSES))
    return Answered(features.astype(np.float32), logits.astype(np.float32)), labels


def fitted(count: int = 400) -> Space:
    trained, labels = drawn(count, 0)
    return fit_space(trained, labels, drawn(200, 1)[0])


def test_what_is_elsewhere_is_farther() -> None:
    space = fitted()
    known, foreign = space.distances(*drawn(300, 2)[0]), space.distances(*drawn(300, 3, away=1.5)[0])
    assert auroc(known, foreign) > 0.95
    assert auroc(known, space.distances(*drawn(300, 4)[0])) == pytest.approx(0.5, abs=0.07)


def test_doubt_alone_makes_farther_too() -> None:
    space, features = fitted(), drawn(1, 5)[0].features
    sure, torn = np.array([[9, 0, 0, 0], [1, 1, 0, 0]], np.float32)
    near, far = space.distances(np.repeat(features, 2, axis=0), np.stack([sure, torn]))
    assert far > near + 0.5


def test_dividing_logits_and_saying_so_changes_nothing() -> None:
    space, (features, logits) = fitted(), drawn(20, 6)[0]
    values = {entry.name: getattr(space, entry.name) for entry in fields(Space)}
    divided = Space(**values | {"scale": np.array([0.4], np.float32)})
    assert divided.distances(features, logits / np.float32(0.4)) == pytest.approx(
        space.distances(features, logits), abs=1e-4
    )


def test_the_same_pictures_give_the_same_arrays() -> None:
    one, other = fitted(), fitted()
    for entry in fields(Space):
        assert getattr(one, entry.name).tobytes() == getattr(other, entry.name).tobytes()


def test_shrinkage_is_that_of_scikit_learn() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 12)) * np.arange(1, 13)
    # sklearn.covariance.ledoit_wolf_shrinkage(rows, assume_centered=True); loading it takes seconds.
    assert shrinkage(rows) == pytest.approx(0.280784617787)


def test_few_pictures_of_many_dimensions_still_tell() -> None:
    space = fitted(24)  # fewer pictures than dimensions
    assert space.axes.shape[1] <= 24 // 4
    assert auroc(space.distances(*drawn(200, 2)[0]), space.distances(*drawn(200, 3, away=2)[0])) > 0.8


def test_a_network_that_gives_one_answer_to_all_breaks_nothing() -> None:
    same = Answered(np.ones((40, 6), np.float32), np.zeros((40, 2), np.float32))
    space = fit_space(same, np.repeat([0, 1], 20), same)
    assert np.isfinite(space.distances(*same)).all()


@pytest.mark.parametrize(
    ("distances", "rate", "above_bar"),
    [(range(19), 0.05, 0), (range(39), 0.05, 1), (range(99), 0.05, 4), (range(99), 0.5, 49), (range(8), 0.05, 0)],
)
def test_the_bar_leaves_as_many_above_as_a_new_picture_may(distances: range, rate: float, above_bar: int) -> None:
    # Of n + 1 pictures the newest is as likely as any other to be one of the (n + 1) * rate farthest.
    values = np.array(distances, np.float32)
    assert above(values, find_bar(values, rate)).sum() == above_bar
    assert not (values == np.float32(find_bar(values, rate))).any()


def test_new_pictures_are_called_unknown_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(400):
        values = rng.normal(size=60).astype(np.float32)
        rates.append((rng.normal(size=500) > find_bar(values, 0.1)).mean())
    assert 0.08 < np.mean(rates) <= 0.103


def test_a_picture_does_not_set_the_bar_that_judges_it() -> None:
    values = np.zeros(50, np.float32)
    values[7] = 100.0
    assert called_crosswise(values, 0.01) == 1
    assert above(values, find_bar(values, 0.01)).sum() == 0


def test_no_number_is_unknown_and_counted() -> None:
    values = np.array([0, 5, np.nan, 1], np.float32)
    assert above(values, 2.0).tolist() == [False, True, True, False]
    assert called_to_json(values, 2.0)["called"] == 2


def test_auroc_counts_ties_half() -> None:
    assert auroc([0, 1], [1, 2]) == 0.875
    assert auroc([1], [1]) == 0.5


@pytest.mark.parametrize(("trained", "held", "classes"), [(100, 50, 1), (16, 50, 2), (100, 4, 2), (100, 50, 90)])
def test_too_few_to_fit_is_said(trained: int, held: int, classes: int) -> None:
    assert why_not(trained, held, classes) is not None
    assert why_not(200, 20, 3) is None


def test_arrays_come_back_and_damage_is_refused(tmp_path: Path) -> None:
    space, path = fitted(), tmp_path / "distance.safetensors"
    save_space(path, space)
    again = load_space(path, DIMENSIONS)
    assert again.distances(*drawn(9, 8)[0]).tolist() == space.distances(*drawn(9, 8)[0]).tolist()
    with pytest.raises(InputError, match="not of this model"):
        load_space(path, DIMENSIONS + 1)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        load_space(path, DIMENSIONS)
