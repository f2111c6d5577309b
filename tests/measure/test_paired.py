from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.measure.metrics import Evaluation, wilson_interval
from mobilenets.measure.paired import (
    Pair,
    mcnemar,
    most_different,
    paired_interval,
    pictures_needed,
    said_of_pair,
    smallest_difference,
)


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
    with pytest.raises(InputError, match=r"^there is no picture to compare on$"):
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
    low, high = lost.top1_change_interval
    assert said(lost) == f"-5.88 points   95 % interval {100 * low:+.2f} to {100 * high:+.2f}"
    assert -0.3 < low < 0 < high < 0.2


@pytest.mark.parametrize(("images", "share"), [(17, 0.1616), (100, 0.0295), (1000, 0.00299)])
def test_what_so_many_equal_answers_tell(images: int, share: float) -> None:
    assert most_different(images) == pytest.approx(share, rel=0.01)
    # With that share of different answers, none would be seen in 5 of 100 such sets; it is near 3 / n.
    assert (1 - most_different(images)) ** images == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Complete response before and after a therapy (Cavo et al. 2012), by the R package contingencytables.
        ((59, 6, 16, 80), -0.1186, -0.0046),
        ((59, 16, 6, 80), 0.0046, 0.1186),
    ],
)
def test_published_interval_of_pairs_that_agree(counts: tuple[int, int, int, int], low: float, high: float) -> None:
    """With a positive correlation, where Newcombe's correction acts; the two examples above have none."""
    found = paired_interval(*counts)
    assert (-found[1], -found[0]) == pytest.approx((low, high), abs=5.1e-5)


def test_a_correlation_that_the_correction_takes_away_counts_for_nothing() -> None:
    """Covariances below half of n, and none at all: the interval is that of independent samples."""
    both, lost, gained, neither = 5, 4, 4, 4
    assert 0 < both * neither - lost * gained < sum((both, lost, gained, neither)) / 2
    (low1, high1), (low2, high2) = wilson_interval(9, 17), wilson_interval(9, 17)
    rate = 9 / 17
    below = math.hypot(rate - low2, high1 - rate)
    assert paired_interval(both, lost, gained, neither)[0] == pytest.approx(-below)
    assert (low1, high1) == (low2, high2)


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [
        (1, 7, 0.0703),  # airway hyper-responsiveness before and after a transplantation (Bentur et al. 2009)
        (6, 16, 0.0525),  # Cavo et al. 2012
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 5, 2 / 32),
        (0, 6, 2 / 64),
    ],
)
def test_mcnemar(lost: int, gained: int, p: float) -> None:
    assert mcnemar(lost, gained) == mcnemar(gained, lost) == pytest.approx(p, abs=5.1e-5)


def test_mcnemar_of_many() -> None:
    """As the binomial distribution has it, also where its numbers pass those of a float."""
    for lost, gained in ((59, 121), (480, 520), (4900, 5100)):
        number = lost + gained
        logs = [math.lgamma(number + 1) - math.lgamma(k + 1) - math.lgamma(number - k + 1) for k in range(lost + 1)]
        expected = 2 * math.fsum(math.exp(one - number * math.log(2)) for one in logs)
        assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-6)
    assert mcnemar(0, 5000) == 0.0


@pytest.mark.parametrize(
    ("discordant", "change", "pictures"),
    [
        (0.5, 0.4, 23),  # p01 = 0.45, p10 = 0.05: the example of powerandsamplesize.com after Connor 1987
        (0.45, 0.15, 155),  # a discordance of 0.45 with odds of 2
    ],
)
def test_published_numbers_of_pairs(discordant: float, change: float, pictures: int) -> None:
    assert pictures_needed(discordant, change) == pictures_needed(discordant, -change) == pictures


def test_so_many_pictures_tell_the_difference() -> None:
    """In about 80 of 100 attempts, by the exact test, which is a little more careful than the formula."""
    gained, lost = 0.12, 0.05
    number = pictures_needed(gained + lost, gained - lost)
    assert number is not None
    draws = np.random.default_rng(0).multinomial(number, [lost, gained, 1 - lost - gained], size=1500)
    found = np.mean([mcnemar(int(row[0]), int(row[1])) < 0.05 for row in draws])
    assert 0.72 < found < 0.83


def test_what_cannot_be_told() -> None:
    assert pictures_needed(0.0, 0.0) is None and pictures_needed(0.1, 0.0) is None
    assert smallest_difference(0.0, 1000) is None
    assert smallest_difference(0.1, 20) is None  # not even if all of them went one way
    enough = pictures_needed(0.1, 0.1)
    assert enough is not None and smallest_difference(0.1, enough) is not None
    assert smallest_difference(0.1, enough - 1) is None
    for discordant, images in ((0.1, 300), (0.3, 1000), (0.02, 5000)):
        least = smallest_difference(discordant, images)
        assert least is not None and 0 < least < discordant
        assert pictures_needed(discordant, least) == images
        more = pictures_needed(discordant, 0.99 * least)
        assert more is not None and more > images
