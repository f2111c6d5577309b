"""What a finished model needs to say "none of these": a distance fitted on its training pictures, and a bar.

Up to 2,000 of the training pictures, or five a class, and as many of those held out go through the network once more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mobilenets.base.progress import progress
from mobilenets.datasets.folder import Sample
from mobilenets.datasets.prepare import Dataset
from mobilenets.exports.beside import write_graph
from mobilenets.exports.graph.features import Features, open_features
from mobilenets.measure.known import Answered, above, called_crosswise, find_bar, fit_space, why_not
from mobilenets.measure.metrics import wilson_interval
from mobilenets.models.distance import Floats, save_space
from mobilenets.models.engine import NetworkEngine
from mobilenets.models.saved import SavedModel, temperature_of
from mobilenets.pictures.decode import decode
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.pictures.stream import checked, grouped, stream
from mobilenets.runtime.bar import SPACE, Bar
from mobilenets.runtime.bundle import CLASSIFICATION
from mobilenets.runtime.exported import file_hash

log = logging.getLogger("mobilenets")

MOST_PICTURES, MOST_A_CLASS = 2000, 5
FALSE_ALARMS = 0.05
TOGETHER = 4


def pictures_looked_at(dataset: Dataset) -> int:
    """Count the pictures that ``learn_known`` looks at."""
    most = _most(dataset)
    halves = (dataset.train, dataset.validation, dataset.test or ())
    return sum(min(len(half), most) for half in halves)


def learn_known(
    folder: Path, saved: SavedModel, dataset: Dataset, device: torch.device, workers: int | None
) -> SavedModel:
    """Fit the distance of a finished model and set its bar; writes ``distance.safetensors``, graph and description.

    The bar is set on the validation pictures, and the share of false alarms measured on the test pictures; where there
    are none, on the validation pictures crosswise. A model with too few pictures stays as it is, which is said.
    """
    bundle = saved.bundle
    if bundle.task != CLASSIFICATION or bundle.outputs is not None:
        return saved
    reason = why_not(len(dataset.train), len(dataset.validation), len(bundle.classes))
    if reason is not None:
        log.warning('this model does not say "none of these": %s', reason)
        return saved
    run = _engine(saved, device)
    halves = [_spread(half, _most(dataset)) for half in (dataset.train, dataset.validation, dataset.test or ())]
    with progress("learning what is none of these", sum(map(len, halves)), "pictures") as shown:
        trained, held, test = [
            _answered(run, bundle.preprocessing, half, workers, shown.advance) if half else None for half in halves
        ]
    assert trained is not None and held is not None
    if not all(np.isfinite(part).all() for part in (*trained, *held)):
        return saved
    labels = np.array([sample.label for sample in halves[0]], np.int64)
    space = fit_space(trained, labels, held)
    save_space(folder / SPACE, replace(space, scale=np.full(1, temperature_of(saved), np.float32)))
    distances = space.distances(*held)
    bar = find_bar(distances, FALSE_ALARMS)
    count = len(distances) if test is None else len(test.logits)
    called = (
        called_crosswise(distances, FALSE_ALARMS) if test is None else int(above(space.distances(*test), bar).sum())
    )
    known = Bar(
        bar,
        FALSE_ALARMS,
        called / count,
        wilson_interval(called, count),
        count,
        cross_fitted=test is None,
        sha256=file_hash(folder / SPACE),
    )
    saved = replace(saved, space=space, bundle=replace(bundle, none_of_these=known))
    return replace(saved, bundle=write_graph(folder, saved))


def _most(dataset: Dataset) -> int:
    return max(MOST_PICTURES, MOST_A_CLASS * len(dataset.classes))


def _spread(samples: Sequence[Sample], most: int) -> list[Sample]:
    """Take up to ``most`` pictures, evenly over their order, which is by class."""
    places = np.unique(np.linspace(0, len(samples) - 1, min(most, len(samples))).round().astype(int))
    return [samples[place] for place in places]


def _engine(saved: SavedModel, device: torch.device) -> tuple[Features, bool]:
    """Give what computes features and logits, and whether that is PyTorch."""
    opened = open_features(saved.network) if device.type == "cpu" else None
    if opened is not None:
        return opened, False
    return NetworkEngine(saved.network, device).features, True


def _answered(
    engine: tuple[Features, bool],
    how: Preprocessing,
    samples: Sequence[Sample],
    workers: int | None,
    advance: Callable[[int], None],
) -> Answered:
    """Give features and logits of pictures in order; all runs have one shape, so that no picture changes another's."""
    run, in_torch = engine

    def prepared(group: Sequence[Sample]) -> Floats:
        pictures = [how(decode(sample.path, how.surplus)) for sample in group]
        return np.stack(pictures + [pictures[-1]] * (TOGETHER - len(pictures)))

    def made(group: Sequence[Sample]) -> tuple[Floats, ...]:
        # PyTorch has threads of its own; any other engine computes where the pictures were decoded.
        return (prepared(group),) if in_torch else run(prepared(group))

    groups, features, logits = list(grouped(samples, TOGETHER)), [], []
    with closing(stream(made, groups, workers=workers)) as results:
        for group, found in zip(groups, checked(results), strict=True):
            one, other = run(found[0]) if in_torch else found
            features.append(one[: len(group)])
            logits.append(other[: len(group)])
            advance(len(group))
    return Answered(np.concatenate(features), np.concatenate(logits))
