"""Classes that can be told without looking at what their pictures show: a network would learn that instead."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mobilenets.base.text import percent
from mobilenets.datasets.folder import Sample
from mobilenets.datasets.loader import evenly
from mobilenets.doctor.files import Look
from mobilenets.doctor.problems import Finding

FOLDS = 5
LEAST = 20  # pictures of a class: fewer tell nothing
MOST = 300  # pictures of a class that are looked at
# What may give a class away, and the balanced accuracy from which on it does. What pictures show has no part in their
# format; it does have some in a file's size (a plain thing compresses well), and more in the border.
GIVEAWAYS = {"format": 0.85, "dimensions": 0.85, "file size": 0.92, "border": 0.95}
PRECISION = 0.8
_WORDS = {
    "format": "the file format",
    "dimensions": "width and height",
    "file size": "the size of the file",
    "border": "the colour of the outermost pixels",
}


def find_shortcuts(samples: Sequence[Sample], looks: Mapping[Path, Look], classes: Sequence[str]) -> list[Finding]:
    """Find classes that a decision tree tells from the others by file size, format, dimensions or border alone.

    Each of the four is tried by itself, cross-validated in five parts on up to 300 pictures a class. A class is named
    where the tree has both a balanced accuracy (the mean of recall and specificity; always answering the largest class
    has one half) above the bar of ``GIVEAWAYS`` and a precision of 0.8, with what tells it best. ``score`` is the
    balanced accuracy. Raises ModuleNotFoundError without scikit-learn.
    """
    chosen = _chosen(samples, looks)
    labels = np.array([sample.label for sample in chosen])
    if len(set(labels.tolist())) < 2:
        return []
    seen = [looks[sample.path] for sample in chosen]
    majority = Counter(labels.tolist()).most_common(1)[0][1] / len(labels)
    best: dict[int, tuple[float, float, str]] = {}
    accuracy: dict[str, float] = {}
    for what, bar in GIVEAWAYS.items():
        features = _features(what, seen)
        if not np.ptp(features, 0).any():
            continue
        answers = _answers(features, labels)
        accuracy[what] = float((answers == labels).mean())
        for label in sorted(set(labels.tolist())):
            balanced, precision = _told(answers == label, labels == label)
            if balanced >= bar and precision >= PRECISION and balanced > best.get(label, (0.0,))[0]:
                best[label] = (balanced, precision, what)
    findings = []
    for label, (balanced, _, what) in sorted(best.items()):
        detail = (
            f"told from the others by {_WORDS[what]} alone, in {percent(balanced, 0)} of cases (chance: 50 %); it is "
            f"right for {percent(accuracy[what], 0)} of the pictures of all {len(set(labels.tolist()))} classes, where "
            f"always answering the largest has {percent(majority, 0)}"
        )
        findings.append(Finding("shortcut", classes[label], detail, score=round(balanced, 4)))
    return findings


def _chosen(samples: Sequence[Sample], looks: Mapping[Path, Look]) -> list[Sample]:
    """Take up to ``MOST`` pictures of each class that has ``LEAST``, evenly over their order."""
    by_class: dict[int, list[Sample]] = {}
    for sample in samples:
        if sample.path in looks:
            by_class.setdefault(sample.label, []).append(sample)
    chosen = []
    for some in by_class.values():
        if len(some) >= LEAST:
            chosen += [some[place] for place in evenly(len(some), MOST)]
    return chosen


def _features(what: str, looks: Sequence[Look]) -> npt.NDArray[np.float64]:
    """Make the numbers that a tree sees of pictures, N×F."""
    if what == "format":
        kinds = sorted({look.format for look in looks})
        return np.array([[float(look.format == kind) for kind in kinds] for look in looks])
    if what == "dimensions":
        return np.array([[look.width, look.height, look.width / look.height] for look in looks], float)
    if what == "file size":
        return np.array([[math.log(look.bytes), look.bytes / (look.width * look.height)] for look in looks])
    return np.array([look.border for look in looks])


def _answers(features: npt.NDArray[np.float64], labels: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Answer each picture by a small tree that learned from four fifths of the others."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    count = len(set(labels.tolist()))
    tree = DecisionTreeClassifier(max_leaf_nodes=8 * count, min_samples_leaf=4, random_state=0)
    parts = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    answers: npt.NDArray[np.intp] = cross_val_predict(tree, features, labels, cv=parts)
    return answers


def _told(answered: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Give balanced accuracy and precision of one class against the others."""
    recall, specificity = float(answered[true].mean()), float((~answered)[~true].mean())
    precision = float(true[answered].mean()) if answered.any() else 0.0
    return (recall + specificity) / 2, precision
