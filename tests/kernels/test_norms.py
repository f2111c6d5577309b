from __future__ import annotations

import numpy as np
import pytest

from mobilenets.kernels import norms


def moments(y: norms.Map, threads: int = 1) -> tuple[norms.Map, norms.Map]:
    """Measure mean and unbiased variance of each channel."""
    one, mean, variance = np.ones(y.shape[1], y.dtype), np.zeros(y.shape[1]), np.zeros(y.shape[1])
    norms.normalise(y, one, one, 0.0, (mean, variance), 1.0, threads)
    return mean, variance


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("rows", "channels"), [(1, 1), (2, 3), (15, 16), (49, 24), (1009, 100), (70001, 3)])
def test_moments_are_numpys(rows: int, channels: int, threads: int) -> None:
    y = np.random.default_rng(0).normal(3, 2, (rows, channels)).astype(np.float32)
    mean, variance = moments(y, threads)
    np.testing.assert_allclose(mean, y.mean(0, dtype=np.float64), atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(variance, y.var(0, dtype=np.float64, ddof=min(1, rows - 1)), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_large_mean_hides_no_small_deviation(threads: int) -> None:
    y = (10_000 + np.random.default_rng(0).normal(0, 0.1, (40000, 8))).astype(np.float32)
    _, variance = moments(y, threads)
    np.testing.assert_allclose(variance, y.var(0, dtype=np.float64, ddof=1), rtol=1e-4)
    assert not moments(np.full((1000, 5), 12345.678, np.float32))[1].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    y = np.zeros((4000, 16), np.float32)
    y[1234, 3] = bad
    one = np.ones(16, np.float32)
    for activation in norms.ACTIVATIONS.values():
        done = norms.normalise(y, one, one, 1e-3, (np.zeros(16), np.ones(16)), 0.1)
        out = norms.apply(y, done.lines, activation)
        assert not np.isfinite(out[:, 3]).any()
        assert np.isfinite(out[:, :3]).all()
