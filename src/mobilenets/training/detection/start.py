"""The detector that a run begins with: fresh behind a body with given weights, or a detector's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mobilenets.base.notes import log
from mobilenets.models.architecture import Architecture
from mobilenets.models.catalog import load_table
from mobilenets.models.detection.detector import Detector
from mobilenets.models.detection.plan import describe_detector, resized
from mobilenets.models.saved import SavedModel
from mobilenets.runtime.detection import Detection
from mobilenets.training.recipe import Recipe
from mobilenets.training.start import as_trained, refuse_other_weights

# Lin et al. 2017 (arXiv 1708.02002, section 4.1): how likely a class is at an anchor before anything is learned.
PRIOR = 0.01


def described(recipe: Recipe, saved: SavedModel | None) -> tuple[Architecture, Detection]:
    """Describe the detector of a run, with the padding and BatchNorm epsilon that its weights were trained with."""
    scores = "sigmoid" if recipe.box_loss == "focal" else "softmax"
    if saved is not None and saved.bundle.detection is not None:
        architecture, detection = resized(saved.network.architecture, saved.bundle.detection, recipe.size)
        return architecture, replace(detection, scores=scores)
    table = load_table(recipe.table) if recipe.table is not None else None
    architecture, detection = describe_detector(recipe.model, recipe.width, recipe.size, table=table)
    return architecture if table is not None else as_trained(architecture, saved), replace(detection, scores=scores)


def fresh_detector(
    recipe: Recipe, architecture: Architecture, detection: Detection, classes: tuple[str, ...], saved: SavedModel | None
) -> tuple[Detector, dict[str, Any]]:
    """Build the detector with the weights it begins with; also says where they came from, for ``model.json``.

    Of a classifier the body is taken, of a detector also what fits of the rest, and what it knows of each class by
    name; ``head`` is then ``kept`` where all classes are known, ``extended`` where some are, else ``replaced``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = Detector(architecture, len(classes), detection)
    if detection.scores == "sigmoid":
        _start_rare(network)
    if saved is None:
        return network, {"weights": "random"}
    given, expected = saved.network.state_dict(), network.state_dict()
    refuse_other_weights(recipe, saved, (name for name in expected if name.startswith("body.")), expected)
    before = saved.bundle.detection
    alike = before is not None and before.scores == detection.scores
    known = [name for name in classes if alike and name in saved.bundle.classes]
    taken = {
        name: value
        for name, value in given.items()
        if name in expected and value.shape == expected[name].shape and ".scores.predict." not in name
    }
    if known:
        places = [[1 + some.index(name) for name in known] for some in (saved.bundle.classes, classes)]
        taken |= _by_class(given, expected, [len(saved.bundle.classes), len(classes)], places)
    network.load_state_dict(taken, strict=False)
    whole = len(taken) == len(expected)
    head = "kept" if whole and len(known) == len(classes) else "extended" if whole and known else "replaced"
    said = {
        "kept": "the weights were trained on these classes: all tensors kept",
        "extended": f"{len(known)} of {len(classes)} classes are known: what finds them is kept",
        "replaced": f"{len(taken)} of {len(expected)} tensors from the weights; the rest, which finds boxes, is new",
    }
    log.info("%s", said[head])
    return network, {"weights": recipe.weights, "head": head, "before": dict(saved.bundle.origin)}


def _by_class(
    given: Mapping[str, Tensor], expected: Mapping[str, Tensor], counts: Sequence[int], places: Sequence[Sequence[int]]
) -> dict[str, Tensor]:
    """Give the layers of the scores with the columns of known classes, and of the background, from other weights.

    ``counts`` are the classes there and here, ``places`` the columns of the known ones there and here.
    """
    found = {}
    for name in (one for one in expected if ".scores.predict." in one and one in given):
        old, new = (
            tensors[name].view(-1, 1 + count, *tensors[name].shape[1:])
            for tensors, count in zip((given, expected), counts, strict=True)
        )
        if old.shape[0] == new.shape[0] and old.shape[2:] == new.shape[2:]:
            new = new.clone()
            new[:, [0, *places[1]]] = old[:, [0, *places[0]]]
            found[name] = new.flatten(0, 1)
    return found


def _start_rare(network: Detector) -> None:
    """Have every class begin as unlikely as ``PRIOR``, without which the many anchors without a box drown the rest."""
    columns = 1 + network.classes
    for name, parameter in network.named_parameters():
        if name.endswith("scores.predict.conv.bias"):
            with torch.no_grad():
                parameter.view(-1, columns)[:, 1:] = -math.log((1 - PRIOR) / PRIOR)
