"""Out-of-fold probabilities: no picture's label has a say in its own answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mobilenets.training import probe
from mobilenets.training.probe import _nearest, _normal, out_of_fold


def clouds(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(90) % 3
    features = rng.normal(0, 1, (90, 5)).astype(np.float32)
    features[np.arange(90), labels] += 4
    return features, labels, np.arange(90) // 3 % 5


def test_clouds_are_told_apart() -> None:
    features, labels, folds = clouds()
    found = out_of_fold(features, labels, 3, folds)
    assert found.shape == (90, 3)
    assert np.allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == labels).mean() > 0.95


def test_a_label_has_no_say_in_its_own_answer() -> None:
    features, labels, folds = clouds()
    before = out_of_fold(features, labels, 3, folds)
    changed = labels.copy()
    changed[folds == 2] = (labels[folds == 2] + 1) % 3
    # The penalty is chosen on all answers, so only what is sure is compared.
    after = out_of_fold(features, changed, 3, folds)
    assert (before[folds == 2].argmax(axis=1) == after[folds == 2].argmax(axis=1)).all()
    assert (after[folds == 2].argmax(axis=1) != changed[folds == 2]).mean() > 0.9


def test_of_few_pictures_the_answers_are_the_same_for_any_number_of_threads() -> None:
    rng, before, found = np.random.default_rng(0), torch.get_num_threads(), []
    features, labels = rng.normal(0, 1, (2000, 300)).astype(np.float32), np.arange(2000) % 10
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(out_of_fold(features, labels, 10, np.arange(2000) // 10 % 5))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_scale_and_a_constant_feature_change_nothing_and_no_random_number_is_drawn() -> None:
    features, labels, folds = clouds()
    before, state = out_of_fold(features, labels, 3, folds), torch.get_rng_state()
    wide = np.concatenate([features * 1000, np.full((90, 1), 3, np.float32)], axis=1)
    assert np.allclose(out_of_fold(wide, labels, 3, folds), before, atol=0.05)  # what 25 steps leave
    assert torch.equal(torch.get_rng_state(), state)


def test_fewer_pictures_than_features_are_told_apart_too() -> None:
    features, labels, folds = clouds()
    wide = np.concatenate([features, np.random.default_rng(1).normal(0, 0.1, (90, 400)).astype(np.float32)], axis=1)
    assert (out_of_fold(wide, labels, 3, folds).argmax(axis=1) == labels).mean() > 0.9
    assert np.isfinite(out_of_fold(np.zeros((90, 4), np.float32), labels, 3, folds)).all()


def test_neighbours_are_of_other_folds_and_a_class_of_one_picture_harms_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = torch.eye(8)[[0, 0, 1, 1, 0, 2]]
    truth, folds = torch.tensor([0, 1, 1, 1, 0, 2]), torch.tensor([0, 0, 0, 1, 1, 1])
    near = _nearest(values, truth, folds, 3).exp()
    assert torch.allclose(near.sum(1), torch.ones(6))
    # The second, called 1, lies where one of the other fold is called 0; the one beside it in its own fold has no say.
    assert near[1].argmax() == 0 and near[3].argmax() == 1
    monkeypatch.setattr(probe, "MANY", 0)
    alone = out_of_fold(values.numpy(), truth.numpy(), 3, folds.numpy())
    assert np.isfinite(alone).all() and np.allclose(alone.sum(axis=1), 1)


def test_the_three_together_tell_clouds_apart_and_no_label_has_a_say_in_its_own_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe, "MANY", 0)
    test_clouds_are_told_apart()
    test_a_label_has_no_say_in_its_own_answer()
    test_fewer_pictures_than_features_are_told_apart_too()


def test_a_normal_distribution_a_class_is_linear_discriminant_analysis() -> None:
    """With two classes of equal size the odds are even halfway between the means, and grow by the common covariance."""
    rng = np.random.default_rng(0)
    values = torch.from_numpy(np.concatenate([rng.normal(side, 1, (4000, 2)) for side in (-1, 1)]).astype("f4"))
    truth = torch.arange(2).repeat_interleave(4000)
    logits = _normal(values, truth, torch.tensor([[0.0, 0], [0.5, 0], [0.5, 0.5]]), 3)
    odds = logits[:, 1] - logits[:, 0]
    assert odds.tolist() == pytest.approx([0, 1, 2], abs=0.12)
    assert (logits[:, 2] < logits[:, :2].max(1).values - 5).all()
