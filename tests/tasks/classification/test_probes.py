from __future__ import annotations

import numpy as np
import pytest

from mobilenets.tasks.classification.gate import apart, colour_faults, still_faults

Scores = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
RNG = np.random.default_rng(0)


def scores(spread: float, rows: int = 16, offset: int = 0) -> Scores:
    logits = spread * np.random.default_rng(offset).normal(size=(rows, 5))
    return np.asarray(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))


def noisy(answers: Scores, noise: float) -> Scores:
    logits = np.log(answers) + noise * np.random.default_rng(9).normal(size=answers.shape)
    return np.asarray(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))


OURS, EXCHANGED = scores(3.0), scores(3.0, offset=1)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5, 1.0])
def test_what_quantization_does_passes(noise: float) -> None:
    assert colour_faults(OURS, noisy(OURS, noise), EXCHANGED) == ()
    assert still_faults(OURS, noisy(OURS, noise)) == ()


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5])
def test_red_and_blue_exchanged(noise: float) -> None:
    [fault] = colour_faults(OURS, noisy(EXCHANGED, noise), EXCHANGED)
    assert fault == "it answers generated pictures as the model does with red and blue exchanged"


def test_a_model_that_minds_no_colour_passes() -> None:
    near = noisy(OURS, 0.02)
    assert apart(OURS, near) < 0.08
    assert colour_faults(OURS, near, near) == ()


def test_answers_that_have_nothing_to_do_with_the_pictures() -> None:
    for theirs in (scores(3.0, offset=2), np.roll(OURS, 5, axis=0), np.tile(OURS[:1], (16, 1))):
        [fault] = colour_faults(OURS, theirs, EXCHANGED)
        assert "have little to do with the model's" in fault
    # One picture has no others to compare with.
    assert colour_faults(OURS[:1], OURS[:1], None) == ()


def test_the_same_answer_to_every_picture() -> None:
    always = np.tile(np.float64([0.96, 0.01, 0.01, 0.01, 0.01]), (16, 1))
    [fault] = still_faults(OURS, always)
    assert "nearly the same answer to every picture" in fault
    # A model that itself hardly moves is not told apart from it.
    assert still_faults(always + 1e-4 * RNG.normal(size=always.shape), always) == ()


def test_apart() -> None:
    one, other = np.float64([[1, 0], [0.5, 0.5]]), np.float64([[0, 1], [0.5, 0.5]])
    assert apart(one, other) == 0.5 and apart(one, one) == 0


def test_what_other_pictures_answers_would_be_off() -> None:
    """The mean over all ways to shift the pictures but none, of which there are two here."""
    ours = np.float64([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]])
    theirs = np.float64([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.2, 0.5, 0.3]])
    assert apart(ours, theirs) == pytest.approx((0.6 + 0.2 + 0.2) / 3)
    shifted = [theirs[[2, 0, 1]], theirs[[1, 2, 0]]]
    assert [apart(ours, one) for one in shifted] == pytest.approx([(0.5 + 0.4 + 0) / 3, (0.4 + 0 + 0.3) / 3])
    [fault] = colour_faults(ours, theirs, None)
    assert "0.33 off on average, where answers to other pictures would be 0.27 off" in fault
