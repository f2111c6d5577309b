from __future__ import annotations

from pathlib import Path

import numpy as np

from mobilenets.datasets.folder import Sample
from mobilenets.doctor.files import Look
from mobilenets.doctor.problems import Finding
from mobilenets.doctor.shortcut import find_shortcuts


def looks(count: int = 60, classes: int = 3, seed: int = 0) -> dict[Path, Look]:
    """Looks of which nothing tells the class, which is the number in the name."""
    rng = np.random.default_rng(seed)
    return {
        Path(f"{number % classes}/{number}.jpg"): Look(
            bytes=int(rng.integers(3000, 9000)),
            format="JPEG RGB",
            width=int(rng.integers(100, 300)),
            height=int(rng.integers(100, 300)),
            orientation=1,
            transparent=False,
            brightest=255,
            darkest=0,
            range=255,
            sharpness=1.0,
            border=tuple(rng.uniform(0, 255, 4).tolist()),  # type: ignore[arg-type]
        )
        for number in range(count * classes)
    }


def found(all_: dict[Path, Look]) -> list[Finding]:
    return find_shortcuts([Sample(path, int(path.parts[0])) for path in all_], all_, ("ant", "bee", "cow", "dog"))


def changed(all_: dict[Path, Look], share: float = 1.0, **values: object) -> dict[Path, Look]:
    """Change the looks of ``share`` of the second class."""
    import dataclasses

    new = dict(all_)
    of = [path for path in all_ if path.parts[0] == "1"]
    for path in of[: round(share * len(of))]:
        new[path] = dataclasses.replace(all_[path], **values)  # type: ignore[arg-type]
    return new


def test_none() -> None:
    assert found(looks()) == []
    assert found(looks(classes=2)) == []


def test_each_giveaway_is_named() -> None:
    for values, words in (
        ({"format": "PNG RGB"}, "the file format"),
        ({"width": 640, "height": 480}, "width and height"),
        ({"border": (255.0, 255.0, 255.0, 0.0)}, "the colour of the outermost pixels"),
        ({"bytes": 90_000}, "the size of the file"),
    ):
        [finding] = found(changed(looks(), **values))
        assert (finding.kind, finding.path) == ("shortcut", "bee")
        assert f"by {words} alone, in " in finding.detail
        assert finding.score is not None and finding.score > 0.9


def test_in_part_is_enough_for_a_format_and_too_little_says_nothing() -> None:
    assert [one.path for one in found(changed(looks(), 0.85, format="PNG RGB"))] == ["bee"]
    assert found(changed(looks(), 0.5, format="PNG RGB")) == []


def test_small_classes_tell_nothing() -> None:
    assert found(changed(looks(count=19), format="PNG RGB")) == []


def test_a_large_class_is_not_told_by_always_answering_it() -> None:
    all_ = looks()
    kept = {path: one for number, (path, one) in enumerate(all_.items()) if path.parts[0] == "0" or number < 66}
    assert found(kept) == []
