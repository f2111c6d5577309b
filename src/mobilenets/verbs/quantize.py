"""``quantize``: a trained network trained further with int8's rounding in view, and what that brings."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mobilenets.base.files import write_json
from mobilenets.base.notes import log
from mobilenets.base.progress import duration
from mobilenets.datasets.listing import say
from mobilenets.datasets.loader import evenly
from mobilenets.datasets.readable import check_readable
from mobilenets.datasets.shards.open import open_data
from mobilenets.errors import InputError
from mobilenets.exports.catalog import find_format
from mobilenets.exports.formats import write
from mobilenets.exports.int8.search import find_scheme
from mobilenets.exports.int8.trained import with_scheme
from mobilenets.exports.job import Job, Options
from mobilenets.measure.metrics import Evaluation
from mobilenets.measure.paired import Pair
from mobilenets.models.device import pick_device
from mobilenets.models.engine import NetworkEngine
from mobilenets.models.saved import SavedModel, load_classifier
from mobilenets.runs.further import (
    asked_of,
    begun,
    folder_beside,
    further,
    open_to_go_on,
    pictures_to_go_on,
    starting_from,
    write_start,
)
from mobilenets.runs.held_out import pictures_to_compare
from mobilenets.runs.predictor import Predictor
from mobilenets.runs.record import METRICS, RECIPE
from mobilenets.runs.test_set import opened_by_compare
from mobilenets.runtime.bundle import WEIGHTS
from mobilenets.runtime.predictor import EnginePredictor
from mobilenets.tasks.classification.task import classified
from mobilenets.tasks.evaluate import evaluate_predictors
from mobilenets.training.int8 import Int8Network
from mobilenets.training.recipe import Recipe
from mobilenets.training.refused import INT8
from mobilenets.training.stages import WARMUP_SHARE
from mobilenets.verbs.compare_models import figures
from mobilenets.verbs.export import describe, export, pictures_of
from mobilenets.verbs.train import train

QUANTIZED = "quantize.json"
FORMAT = "onnx"
LR = 1e-4
# Pictures on which the file is compared with what was trained, which PyTorch computes slowly.
AS_TRAINED = 1024


def quantize(
    model: str | Path,
    data: str | Path,
    *,
    out: str | Path | None = None,
    epochs: int | None = None,
    lr: float = LR,
    per_tensor: bool = False,
    device: str = "auto",
) -> dict[str, Any]:
    """Train a network further with the rounding of int8 in view, and measure what int8 loses before and after.

    BatchNorm is folded, and weights, biases and what flows are rounded where the int8 graph of ``export`` does it
    (``mobilenets.training.int8``). It begins with what ``export`` would write; the steps are learned too, which blocks
    stay in float is not. What comes out is a run like any other, and every int8 export of it has the learned steps. It
    begins from ``OUT-start``, which stays there: if it is stopped, the same call goes on.

    Parameters
    ----------
    model:
        The run folder of a classifier.
    data:
        The pictures that it was trained on, or others of its classes.
    out:
        The run folder to write; by default ``MODEL-int8``.
    epochs:
        How long it is trained; by default a quarter of the run's own epochs, at least 2.
    lr:
        The peak learning rate.
    per_tensor:
        Give each weight one scale, and leave no block in float, as ``export`` does with the same setting.
    device:
        Where it is trained.

    Returns the content of ``quantize.json``: ``models`` with the ``top1`` of ``float``, ``int8 before``, ``int8 after``
    and ``float after``; ``before`` and ``after``, which compare ``float`` with each int8 file, and ``change``, which
    compares the two files, as ``compare_models`` does; ``regained``, the share of the loss that is won back;
    ``as_trained``, how far the file is from the network that was trained; and ``export``, the result of the gate. All
    pictures are held out, and nothing was chosen on them. Raises ``InputError`` for what cannot be quantized so, and
    ``KeyboardInterrupt`` on Ctrl-C.

    >>> result = mobilenets.quantize("run", "photos", epochs=1)
    >>> result["run"], [model["name"] for model in result["models"]]
    ('run-int8', ['float', 'int8 before', 'int8 after', 'float after'])

    """
    find_format(FORMAT, INT8)
    run, pictures = Path(model), open_data(data)
    folder = folder_beside(run, out, "int8")
    start = folder.with_name(f"{folder.name}-start")
    if folder.exists() and not (start / QUANTIZED).exists():
        raise InputError(f"{folder}: is there already; choose another --out")
    saved = open_to_go_on(run, "trained for int8")
    began = time.monotonic()
    recipe = further(run, epochs, _device(device)).replace(lr=lr)
    if recipe.share_of_zeros:
        raise InputError(f"{run}: sparse, and this training would fill its zeros: export it with --int8 as it is")
    asked = asked_of(run, epochs=epochs, lr=lr, per_tensor=per_tensor)
    pictures_to_go_on(run, pictures, saved.bundle.classes, folder)
    if not begun(start, QUANTIZED, asked, "quantizing"):
        write_json(start / QUANTIZED, asked)
    if not (start / WEIGHTS).exists():
        write_start(_rounded(saved, run, pictures, per_tensor), run, start, "quantized")
    if not (folder / METRICS).exists():
        if (folder / RECIPE).exists():
            train(pictures, folder, resume=True)
        else:
            train(pictures, folder, recipe=_recipe(recipe, start))
    result = _result(run, start, folder, pictures)
    result["seconds"] = time.monotonic() - began
    write_json(folder / QUANTIZED, result)
    (start / QUANTIZED).unlink()
    log.info("quantized in %s", duration(result["seconds"]))
    return result


def _device(wish: str) -> str:
    """Say where it is trained: what PyTorch has for Apple's GPUs lacks float64, in which biases are counted."""
    if pick_device(wish).type != "mps":
        return wish
    log.info("trained on the processor: Apple's GPU cannot round as int8 does")
    return "cpu"


def _recipe(recipe: Recipe, start: Path) -> Recipe:
    """Give the recipe for int8: the last model is kept, so that the pictures held out choose nothing.

    Weights are not made smaller: what decay was chosen for was normalised, and these are folded.
    """
    warmup = min(recipe.warmup, WARMUP_SHARE * recipe.epochs)
    # The rate is one for Adam.
    adam = {"optimizer": "adamw", "momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
    course = {"schedule": "cosine", "warmup": warmup, "keep": "last", "patience": None}
    return starting_from(recipe, start).replace(precision=INT8, **adam, **course)


def _rounded(saved: SavedModel, run: Path, data: Path, per_tensor: bool) -> SavedModel:
    """Find how ``export`` would round the network, and have it carry that."""
    _, calibration = pictures_of(run, data, saved.bundle, INT8)
    scheme, found = find_scheme(_job(saved, Path(), calibration, per_tensor))
    chosen = found["chosen"]
    log.info(
        "int8 as export writes it: activations by %s, in float: %s",
        chosen["activations"],
        ", ".join(chosen["float_blocks"]) or "nothing",
    )
    return replace(saved, network=with_scheme(saved.network, scheme))


def _job(saved: SavedModel, folder: Path, calibration: npt.NDArray[np.uint8] | None, per_tensor: bool = False) -> Job:
    options = Options(FORMAT, INT8, per_tensor=per_tensor)
    return Job(saved.network, saved.bundle.preprocessing, options, folder, calibration)


def _result(run: Path, start: Path, folder: Path, data: Path) -> dict[str, Any]:
    """Measure the run, the int8 files of before and after, and the network as it was trained, on the same pictures."""
    saved = load_classifier(folder)
    _, calibration = pictures_of(folder, data, saved.bundle, INT8)
    chosen = pictures_to_compare((run, folder), data, saved.bundle.classes)
    samples, unreadable = check_readable(chosen.folder.samples)
    say([*chosen.folder.problems, *unreadable])
    if not samples:
        raise InputError(f"{data}: no readable picture to compare on")
    with tempfile.TemporaryDirectory() as place:
        files = [Path(place) / name for name in ("before", "after")]
        for model, file in zip((start, folder), files, strict=True):
            _write_file(model, file, calibration)
        predictors = [Predictor(one, "cpu") for one in (run, *files, folder)]
        engine = NetworkEngine(Int8Network.of(saved.network), torch.device("cpu"))
        root = chosen.folder.root
        given = [classified(one) for one in evaluate_predictors(predictors, samples, root, "comparing")]
        some = [samples[place] for place in evenly(len(samples), AS_TRAINED)]
        both = [EnginePredictor(saved.bundle, engine), predictors[2]]
        trained = [classified(one) for one in evaluate_predictors(both, some, root, "comparing with what was trained")]
    first, before, after, floating = (_in_order(given[0], one) for one in given)
    names = ("float", "int8 before", "int8 after", "float after")
    lost = first.top1 - before.top1
    notes = [*chosen.folder.notes, *opened_by_compare((run, folder), chosen.which, [*chosen.contents.values()])]
    gate = export(folder, precision=INT8, data=data)
    return {
        "model": str(run),
        "run": str(folder),
        "images": len(samples),
        "evaluated_on": chosen.which,
        "models": [
            {"name": name, "top1": one.top1, "top1_interval": list(one.top1_interval)}
            for name, one in zip(names, (first, before, after, floating), strict=True)
        ],
        "before": figures(Pair(first, before)),
        "after": figures(Pair(first, after)),
        "change": figures(Pair(before, after)),
        "regained": (after.top1 - before.top1) / lost if lost > 0 else None,
        "as_trained": _as_trained(Pair(*trained)),
        "float_blocks": gate["quantization"]["chosen"]["float_blocks"],
        "export": gate,
        "notes": notes,
    }


def _write_file(model: Path, folder: Path, calibration: npt.NDArray[np.uint8] | None) -> None:
    """Write the int8 file of a model as ``export`` does, without its gate."""
    folder.mkdir()
    saved = load_classifier(model)
    describe(folder, saved, write(_job(saved, folder, calibration)), model)


def _in_order(ours: Evaluation, theirs: Evaluation) -> Evaluation:
    """Put the answers of a model into another's order of the same classes."""
    order = [theirs.classes.index(name) for name in ours.classes]
    return Evaluation(ours.classes, theirs.images, ours.labels, theirs.logits[:, order])


def _as_trained(pair: Pair) -> dict[str, Any]:
    """Say how far the file is from the network that was trained, which PyTorch rounds."""
    return {
        "images": len(pair.reference.images),
        "top1": [pair.reference.top1, pair.candidate.top1],
        "same_answers": pair.same,
        "max_difference": pair.max_difference,
    }
