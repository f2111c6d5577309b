from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.measure.metrics import Evaluation
from mobilenets.measure.paired import Pair, most_different, paired_interval, said_of_pair


def evaluation(answers: list[int], labels: list[int], classes: tuple[str, ...] = ("a", "b", "c")) -> Evaluation:
    logits = np.eye(len(classes), dtype=np.float32)[answers] * 4
    return Evaluation(classes, tuple(map(str, range(len(labels)))), np.array(labels), logits)


def test_published_intervals() -> None:
    """Two examples of Newcombe 1998 (Statistics in Medicine 17:2635), table III, method 10, with his e, f, g, h."""
    for counts, low, high in (((36, 12, 2, 0), 0.0569, 0.3404), ((36, 14, 0, 0), 0.1528, 0.4167)):
        # The paper has first minus second.
        found = paired_interval(*counts)
        assert (-found[1], -found[0]) == pytest.approx((low, high), abs=5.1e-5), counts


def test_nothing_changed() -> None:
    low, high = paired_interval(100, 0, 0, 0)
    assert low < 0 < high and low == pytest.approx(-high)
    # Not surer than the number of pictures allows.
    assert paired_interval(10, 0, 0, 0)[0] < low


def test_covers() -> None:
    """The interval holds the true change in about 95 of 100 repetitions."""
    rng = np.random.default_rng(0)
    shares = [0.8, 0.06, 0.03, 0.11]
    draws = rng.multinomial(200, shares, size=2000)
    truth = shares[2] - shares[1]
    inside = [low <= truth <= high for low, high in (paired_interval(*map(int, row)) for row in draws)]
    assert 0.94 < np.mean(inside) < 0.985


def test_pair() -> None:
    labels = [0, 0, 0, 0, 1, 1, 2, 2]
    pair = Pair(evaluation([0, 0, 0, 0, 1, 2, 2, 2], labels), evaluation([0, 0, 1, 1, 1, 1, 2, 1], labels))
    assert pair.table == (4, 3, 1, 0)
    assert pair.top1_change == pytest.approx(-2 / 8)
    worst = pair.worst_class()
    assert worst == {"class": "a", "change": -0.5, "reference": 1.0, "exported": 0.5, "images": 4}
    assert 0.9 < pair.max_difference < 1
    low, high = pair.top1_change_interval
    assert low < -2 / 8 < high


def test_no_class_lost() -> None:
    one = evaluation([0, 1], [0, 1])
    assert Pair(one, one).worst_class() is None


def test_other_pictures() -> None:
    one = evaluation([0, 1], [0, 1])
    for other in (evaluation([0], [0]), evaluation([0, 1], [1, 1]), evaluation([0, 1], [0, 1], ("a", "b", "d"))):
        with pytest.raises(InputError, match="same pictures"):
            Pair(one, other)
    with pytest.raises(InputError, match="no picture"):
        paired_interval(0, 0, 0, 0)


def said(pair: Pair) -> str:
    _, lost, gained, _ = pair.table
    keys: dict[str, Any] = {
        "pictures_lost": lost,
        "pictures_gained": gained,
        "images": sum(pair.table),
        "same_answers": pair.same,
        "top1_change": pair.top1_change,
    }
    return said_of_pair(keys | {"top1_change_interval": pair.top1_change_interval})


def test_the_same_answers_are_said_and_no_points() -> None:
    labels = [0] * 9 + [1] * 8
    answers = [0] * 8 + [1] * 9
    assert said(Pair(evaluation(answers, labels), evaluation(answers, labels))) == "the same answer on all 17 pictures"
    assert said(Pair(evaluation([0], [1]), evaluation([0], [1]))) == "the same answer on the one picture"
    # Another wrong answer is not the same, though the same pictures are right.
    other = Pair(evaluation(answers, labels), evaluation([*answers[:8], 2, *answers[9:]], labels))
    assert said(other) == "the same answer on 16 of 17 pictures, and the same ones right"
    lost = Pair(evaluation(answers, labels), evaluation([1, *answers[1:]], labels))
    assert said(lost).startswith("-5.88 points   95 % interval -")


@pytest.mark.parametrize(("images", "share"), [(17, 0.1616), (100, 0.0295), (1000, 0.00299)])
def test_what_so_many_equal_answers_tell(images: int, share: float) -> None:
    assert most_different(images) == pytest.approx(share, rel=0.01)
    # With that share of different answers, none would be seen in 5 of 100 such sets; it is near 3 / n.
    assert (1 - most_different(images)) ** images == pytest.approx(0.05)
