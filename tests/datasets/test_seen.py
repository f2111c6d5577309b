"""Which pictures a model has seen."""

from __future__ import annotations

from pathlib import Path

from mobilenets.datasets.folder import Sample
from mobilenets.datasets.seen import SeenPictures


def test_a_picture_without_a_label_names_no_earlier_class() -> None:
    samples = [Sample(Path(f"{place}.png"), 0) for place in range(3)]
    contents = {sample.path: f"hash {place}" for place, sample in enumerate(samples)}
    seen = SeenPictures(dict.fromkeys(("hash 0", "hash 1"), ("", "train")) | {"hash 2": ("cat", "train")})
    assert seen.renamed(samples[:2], contents, ["fox"]) == {}
    assert seen.renamed(samples, contents, ["fox"]) == {"fox": "cat"}
