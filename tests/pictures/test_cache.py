from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.pictures import cache as module
from mobilenets.pictures.cache import PictureCache, most_kept
from mobilenets.pictures.decode import Decoded, decode_scaled


def noise(path: Path, seed: int, size: tuple[int, int] = (30, 20)) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


class Counted:
    def __init__(self, path: Path, surplus: float = 1) -> None:
        self.path, self.surplus, self.calls = path, surplus, 0

    def __call__(self) -> Decoded:
        self.calls += 1
        return decode_scaled(self.path, lambda width, height: self.surplus)


def test_the_same_pixels_from_one_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.effect_noise((64, 48), 60).save(path)
    make, cache = Counted(path, 2), PictureCache(10_000)
    found = [cache.get(path, "half", make) for _ in range(3)]
    assert make.calls == 1 and len(cache) == 1
    for one in found:
        assert (one.share, one.whole, one.image.mode) == (2, (64, 48), "RGB")
        assert one.image.tobytes() == make().image.tobytes()
    found[0].image.paste("red", (0, 0, 9, 9))  # whoever changes what it got changes nothing that is kept
    assert cache.get(path, "half", make).image.tobytes() == make().image.tobytes()


def test_what_was_done_counts(tmp_path: Path) -> None:
    path, cache = noise(tmp_path / "a.png", 0), PictureCache(1 << 20)
    assert cache.get(path, "small", lambda: Decoded(Image.new("RGB", (2, 2)))).image.size == (2, 2)
    assert cache.get(path, "whole", Counted(path)).image.size == (30, 20)


def test_full_is_full(tmp_path: Path) -> None:
    """What fits is kept for good; the others are decoded each time."""
    makes = [Counted(noise(tmp_path / f"{number}.png", number)) for number in range(5)]
    cache = PictureCache(2 * (30 * 20 * 3 + 600) + 100)
    for _ in range(3):
        for make in makes:
            assert cache.get(make.path, None, make).image.tobytes() == decode_scaled(make.path, None).image.tobytes()
    assert [make.calls for make in makes] == [1, 1, 3, 3, 3]
    assert len(cache) == 2
    none = PictureCache(0)
    none.get(makes[0].path, None, makes[0])
    assert len(none) == 0


def test_a_file_that_changed_is_decoded_anew(tmp_path: Path) -> None:
    path, cache = noise(tmp_path / "a.png", 0), PictureCache(1 << 20)
    before = cache.get(path, None, Counted(path)).image.tobytes()
    noise(path, 1)
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    after = cache.get(path, None, Counted(path)).image.tobytes()
    assert after == decode_scaled(path, None).image.tobytes() != before
    path.unlink()
    with pytest.raises(UnreadablePicture, match="there is no such file"):
        cache.get(path, None, Counted(path))


def test_how_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.VARIABLE, raising=False)
    for free, expected in [(800, 100), (64 << 30, 2 << 30), (0, 0), (None, 256 << 20)]:
        monkeypatch.setattr(module, "free_memory", lambda free=free: free)
        assert most_kept() == expected
    monkeypatch.setenv(module.VARIABLE, "3")
    assert most_kept() == 3 << 20
    monkeypatch.setenv(module.VARIABLE, "0")
    assert most_kept() == 0
    for wrong in ("1.5", "-1", "1 GiB", "²"):
        monkeypatch.setenv(module.VARIABLE, wrong)
        with pytest.raises(InputError, match="whole number of MiB"):
            most_kept()
