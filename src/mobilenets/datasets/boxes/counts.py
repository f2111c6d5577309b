"""How many boxes there are of each class, and by which class a picture is held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from mobilenets.datasets.folder import Sample
from mobilenets.pictures.boxes import Boxes

FEW = 5  # pictures of a class: fewer are not held out in a share of their own


def box_counts(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
    """Count the boxes of each class that are learned or measured: none that are ignored."""
    found: Counter[int] = Counter()
    for sample in samples:
        if isinstance(sample.target, Boxes):
            found.update(sample.target.labels[~sample.target.ignored].tolist())
    return {name: found[label] for label, name in enumerate(classes)}


def pictures_with(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
    """Count the pictures with a box of each class."""
    found = Counter(label for sample in samples for label in set(sample.target.labels.tolist()))
    return {name: found[label] for label, name in enumerate(classes)}


def strata(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Label pictures with the rarest class in them, so that each class is held out in the share that is asked for.

    Where that makes fewer than ``FEW``, and for a picture without boxes, it is the commonest class of all.
    """
    counts = Counter(label for one in samples for label in set(one.target.labels.tolist()))
    if not counts:
        return tuple(samples)
    rank = {label: place for place, (label, _) in enumerate(sorted(counts.items(), key=lambda one: (-one[1], one[0])))}
    common = min(rank, key=lambda label: rank[label])
    rarest = [max(one.target.labels.tolist(), key=lambda label: rank[label], default=common) for one in samples]
    sizes = Counter(rarest)
    labels = [label if sizes[label] >= FEW else common for label in rarest]
    return tuple(replace(one, label=label) for one, label in zip(samples, labels, strict=True))
