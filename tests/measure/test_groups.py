from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mobilenets.measure.groups import find_threshold, grouped, groups_to_json, sure_to_json
from mobilenets.measure.metrics import Evaluation, wilson_interval
from mobilenets.runtime.answers import Classes
from mobilenets.runtime.labels import Group, Label, Labels

CLASSES = ("can", "bottle", "peel")
LABELS = Labels(
    {"can": Label({}, "dry"), "bottle": Label({}, "dry"), "peel": Label({}, "wet")}, {"wet": Group(), "dry": Group()}
)


def evaluation(labels: list[int], rows: list[list[float]]) -> Evaluation:
    names = tuple(f"{number}.png" for number in range(len(labels)))
    return Evaluation(CLASSES, names, np.array(labels), np.log(np.array(rows, np.float32)))


@pytest.fixture
def four() -> Evaluation:
    return evaluation(
        [0, 0, 2, 1],
        # Right; wrong class of the right group; wrong group; its class loses, but its group wins by the sum.
        [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.1, 0.3], [0.25, 0.3, 0.45]],
    )


def test_groups_are_the_sums_of_their_classes(four: Evaluation) -> None:
    by_group = grouped(four, LABELS)
    assert by_group is not None
    assert by_group.classes == ("wet", "dry")
    np.testing.assert_allclose(by_group.probabilities[:, 1], [0.9, 0.9, 0.7, 0.55], atol=1e-6)
    assert by_group.labels.tolist() == [1, 1, 0, 1]


def test_both_levels(four: Evaluation) -> None:
    figures = groups_to_json(four, LABELS)
    assert figures is not None
    assert (figures["right_class"], figures["wrong_class_right_group"], figures["wrong_group"]) == (1, 1, 2)
    assert figures["top1"] == 0.75
    assert figures["confusion"] == [[0, 1], [0, 3]]
    assert figures["groups"]["dry"]["images"] == 3


def test_a_class_without_a_group(four: Evaluation) -> None:
    labels = Labels({"can": Label({}, "dry")}, {"dry": Group()})
    assert grouped(four, labels) is None
    assert groups_to_json(four, labels) is None


def test_the_threshold_answers_as_many_as_it_may() -> None:
    # Confidences 0.9 right, 0.8 right, 0.7 wrong, 0.6 right, 0.5 wrong.
    rows = [[c, 1 - c, 1e-9] for c in (0.7, 0.9, 0.6, 0.8, 0.5001)]
    found = evaluation([1, 0, 0, 0, 1], rows)
    # Midway between the last one answered and the next.
    for wished, confidence, answered in ((1.0, 0.75, 0.4), (0.75, 0.55005, 0.8), (0.6, 0.5001, 1.0)):
        threshold = find_threshold(found, wished)
        assert threshold == pytest.approx(confidence, abs=2e-6)
        sure = sure_to_json(found, threshold or 0)
        assert sure["answered"] == answered
        assert sure["accuracy"] >= wished
    assert sure_to_json(found, 0.75)["accuracy_interval"] == list(wilson_interval(2, 2))


def test_pictures_of_one_confidence_are_answered_together() -> None:
    found = evaluation([0, 1, 0], [[0.6, 0.4, 1e-9], [0.6, 0.4, 1e-9], [0.9, 0.1, 1e-9]])
    assert find_threshold(found, 0.6) == pytest.approx(0.6, abs=2e-6)
    assert find_threshold(found, 0.7) == pytest.approx(0.75, abs=1e-6)


def test_the_pictures_that_set_the_threshold_are_on_one_side_in_every_runtime() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        logits = rng.normal(0, 3, (12, 3)).astype(np.float32)
        logits[:4] = logits[4:8] * (1 + rng.choice([0, 1e-7, 1e-6, 1e-5], 4)[:, None].astype(np.float32))
        found = replace(evaluation(list(rng.integers(0, 3, 12)), [[1, 1, 1]] * 12), logits=logits)
        wished = 0.5
        threshold = find_threshold(found, wished)
        if threshold is None:
            continue
        told = sure_to_json(found, threshold)
        assert told["accuracy"] >= wished
        # As `predict` computes it for one picture, and as another runtime gives it.
        for row, confidence in zip(logits, found.confidences, strict=True):
            alone = Classes().scores(row[None])[0]
            assert alone.max() == pytest.approx(confidence, abs=1e-14)
            for noise in (-2e-7, 2e-7):
                assert (confidence + noise >= threshold) == (confidence >= threshold)


def test_a_wish_that_cannot_be_met() -> None:
    found = evaluation([1, 1], [[0.6, 0.4, 1e-9], [0.9, 0.1, 1e-9]])
    assert find_threshold(found, 0.5) is None
    assert sure_to_json(found, 1.0) == {
        "threshold": 1.0,
        "answered": 0.0,
        "accuracy": None,
        "accuracy_interval": [0.0, 1.0],
    }
