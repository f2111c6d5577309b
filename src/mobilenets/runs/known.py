"""What a finished model needs to say "none of these": a distance fitted on its training pictures, and a bar."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mobilenets.datasets.prepare import Dataset
from mobilenets.measure.known import above, called_crosswise, find_bar, fit_space, why_not
from mobilenets.measure.metrics import wilson_interval
from mobilenets.models.distance import save_space
from mobilenets.models.saved import SavedModel, temperature_of
from mobilenets.runs.asked import Asked, known_places
from mobilenets.runtime.bar import SPACE, Bar
from mobilenets.runtime.exported import file_hash

log = logging.getLogger("mobilenets")

FALSE_ALARMS = 0.05


def learn_known(
    folder: Path, saved: SavedModel, dataset: Dataset, asked: Mapping[str, Asked], device: torch.device
) -> SavedModel:
    """Fit the distance of a finished classifier and set its bar; writes ``distance.safetensors``.

    ``asked`` has what its network gave, whose last layer may have been divided since. The bar is set on the validation
    pictures, and the share of false alarms measured on the test pictures; where there are none, on the validation
    pictures crosswise. A model with too few pictures stays as it is, which is said.
    """
    reason = why_not(len(dataset.train), len(dataset.validation), len(dataset.classes))
    if reason is not None:
        log.warning('this model does not say "none of these": %s', reason)
        return saved
    places = known_places(dataset)
    answers = {half: asked[half].answered(saved.network, device, some) for half, some in places.items() if len(some)}
    trained, held, test = answers["train"], answers["validation"], answers.get("test")
    if not all(np.isfinite(part).all() for part in (*trained, *held)):
        return saved
    labels = np.array([dataset.train[place].label for place in places["train"]], np.int64)
    space = fit_space(trained, labels, held)
    save_space(folder / SPACE, replace(space, scale=np.full(1, temperature_of(saved), np.float32)))
    distances = space.distances(*held)
    bar = find_bar(distances, FALSE_ALARMS)
    if test is None:
        count, called = len(distances), called_crosswise(distances, FALSE_ALARMS)
    else:
        count, called = len(test.logits), int(above(space.distances(*test), bar).sum())
    known = Bar(
        bar,
        FALSE_ALARMS,
        called / count,
        wilson_interval(called, count),
        count,
        cross_fitted=test is None,
        sha256=file_hash(folder / SPACE),
    )
    return replace(saved, space=space, bundle=replace(saved.bundle, none_of_these=known))
