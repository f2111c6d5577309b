from __future__ import annotations

import numpy as np
import pytest

from mobilenets.doctor.spectra import ORIENTATIONS, Orientation, Windows, changes, invariants, spectra, turns, window


def some(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 32, 32), np.uint8), rng.integers(0, 256, (count, 2, 8, 8), np.uint8)


def laid(pixels: np.ndarray, way: Orientation) -> np.ndarray:
    pixels = pixels.swapaxes(-1, -2) if way.transpose else pixels
    pixels = pixels[..., ::-1, :] if way.rows else pixels
    return pixels[..., ::-1] if way.columns else pixels


@pytest.mark.parametrize("fine", [8, 16])
@pytest.mark.parametrize("number", range(8))
def test_a_turned_picture_is_a_turned_spectrum(number: int, fine: int) -> None:
    luma, chroma = some(3)
    made = spectra(luma, chroma, fine)
    turned = spectra(laid(luma, ORIENTATIONS[number]), laid(chroma, ORIENTATIONS[number]), fine)
    places, signs = turns(fine)
    np.testing.assert_allclose(turned.unit, made.unit[:, places[number]] * signs[number], atol=2e-6)
    np.testing.assert_allclose(turned.levels, made.levels[:, places[number]] * signs[number], atol=1e-3)
    np.testing.assert_allclose(invariants(turned.unit, fine), invariants(made.unit, fine), atol=2e-6)


def test_invariants_bring_nothing_farther_apart() -> None:
    unit = spectra(*some(40), 8).unit
    still = invariants(unit, 8)
    apart = np.linalg.norm(unit[:, None] - unit[None], axis=2)
    assert (np.linalg.norm(still[:, None] - still[None], axis=2) <= apart + 1e-5).all()
    np.testing.assert_allclose(np.linalg.norm(still, axis=1), 1, atol=1e-5)


def test_a_window_is_the_part_that_is_cut_out() -> None:
    """Half of a picture, in whole pixels of both grids, is the cosines over these pixels alone."""
    luma, chroma = some(1)
    half = spectra(luma, chroma, 8, window(0.25, 0.5, 0.5))
    middle = (np.arange(16) + 0.5) / 16
    light = luma[0, 8:24, 16:32].astype(float)
    wave = np.cos(np.pi * np.arange(8)[:, None] * middle) * np.where(np.arange(8) == 0, 1, 2**0.5)[:, None]
    expected = wave @ light @ wave.T / 256
    # The cosine's mean over a pixel is that at its middle times sinc.
    means = np.sinc(np.arange(8) / 32)
    np.testing.assert_allclose(
        half.levels[0, :64].reshape(8, 8), expected * np.outer(means, means), rtol=1e-3, atol=0.02
    )


def test_windows_of_their_own() -> None:
    luma, chroma = some(2)
    edges = Windows(*np.array([[0, 0.1], [0.9, 1], [0.05, 0], [0.95, 0.9]], np.float32))
    both = spectra(luma, chroma, 8, edges).levels
    for place in range(2):
        alone = Windows(*(edge[place : place + 1] for edge in edges))
        np.testing.assert_allclose(
            both[place], spectra(luma[place : place + 1], chroma[place : place + 1], 8, alone).levels[0], atol=1e-3
        )


def test_changes_are_where_they_are_and_light_all_over_is_none() -> None:
    luma = np.full((1, 32, 32), 100, np.uint8)
    chroma = np.full((1, 2, 8, 8), 128, np.uint8)
    brighter, patched, tinted = luma + 20, luma.copy(), chroma.copy()
    patched[0, 8:16, 8:16] += 60
    tinted[0, 1] += 30
    plain = spectra(luma, chroma, 16).levels
    assert changes(plain, spectra(brighter, chroma, 16).levels, 16)[0][0] < 1e-3
    light, colour = changes(plain, spectra(patched, chroma, 16).levels, 16)
    assert 45 < light[0] < 75 and colour[0] < 1e-3
    assert changes(plain, spectra(luma, tinted, 16).levels, 16)[1][0] == pytest.approx(30, abs=0.01)


def test_a_picture_without_contrast_is_zero() -> None:
    made = spectra(np.full((1, 32, 32), 7, np.uint8), np.full((1, 2, 8, 8), 90, np.uint8), 8)
    assert np.abs(made.unit).max() < 0.5 and made.levels[0, 0] == pytest.approx(7, abs=1e-3)
