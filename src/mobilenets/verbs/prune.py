"""``prune``: a narrower network out of a trained one, by what its channels are worth and the time that they take."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from mobilenets.base.files import write_json
from mobilenets.base.notes import log
from mobilenets.base.progress import duration
from mobilenets.bench.channels import milliseconds, milliseconds_a_channel
from mobilenets.bench.settings import check_numbers
from mobilenets.datasets.loader import Loader, evenly, in_order
from mobilenets.datasets.readable import check_readable
from mobilenets.datasets.shards.open import open_data
from mobilenets.errors import InputError
from mobilenets.measure.allotment import Costed, least_worth
from mobilenets.models.cut import Flags
from mobilenets.models.device import pick_device
from mobilenets.models.network import Network
from mobilenets.models.prune import groups
from mobilenets.models.prune import prune as without
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
from mobilenets.runs.held_out import pictures_to_export
from mobilenets.runs.record import METRICS, RECIPE
from mobilenets.runtime.bundle import WEIGHTS
from mobilenets.shrinking.device import Layers
from mobilenets.tasks.classification.task import Classification
from mobilenets.training.importance import Scores, importance
from mobilenets.training.recipe import Recipe
from mobilenets.verbs.compare_models import compare_models
from mobilenets.verbs.train import train

PICTURES, BATCH = 1024, 32
SECONDS = 1.0
PRUNED = "prune.json"
STEP = 8
# What a part takes alone is not quite what it takes in the whole: so many corrections, until so near to the wish.
CLOSE, CORRECTIONS = 0.02, 4
# A share of the time that would leave less than this part of it of the multiply-accumulates is refused.
HOLLOW = 0.5


def prune(
    model: str | Path,
    data: str | Path,
    *,
    to: float = 0.7,
    out: str | Path | None = None,
    steps: int = 2,
    epochs: int | None = None,
    threads: int = 1,
    device: str = "auto",
) -> dict[str, Any]:
    """Prune a trained network to a share of the time that it takes, and train what is left.

    Whole channels go (``mobilenets.models.prune``), in eights: those that are worth least to the loss on training
    pictures (``mobilenets.training.importance``) for the time that they take in ONNX Runtime on this machine. What is
    left is a run like any other. The rounds are kept in ``OUT-rounds`` until all is done: if it is stopped, the same
    call goes on there. What the last training began with stays there, because its recipe names it.

    Parameters
    ----------
    model:
        The run folder of a classifier.
    data:
        The pictures that it was trained on, or others of its classes.
    to:
        The share of its time that is to be left, between 0 and 1.
    out:
        The run folder to write; by default ``MODEL-pruned-70`` for 0.7.
    steps:
        In how many rounds of pruning and training it gets there.
    epochs:
        Of training in each round; by default a quarter of the run's own, at least 2.
    threads:
        Threads of ONNX Runtime, for the measurement.
    device:
        Where it is trained.

    Returns the content of ``prune.json``: ``milliseconds`` of a picture and ``macs`` before and after, their
    ``share``, the ``channels`` of each group, and ``compare``, what ``compare_models`` says of the run and the pruned
    one on pictures that neither learned from. Raises ``InputError`` for what cannot be pruned so far, and
    ``KeyboardInterrupt`` on Ctrl-C.

    >>> result = mobilenets.prune("run", "photos", to=0.6, steps=1, epochs=1)
    >>> result["run"], result["macs"][1] < result["macs"][0]
    ('run-pruned-60', True)

    """
    run, pictures = Path(model), open_data(data)
    if not 0 < to < 1:
        raise InputError(f"to {to:g}: give the share of the time that is to be left, above 0 and below 1, such as 0.7")
    check_numbers("threads", [threads])
    check_numbers("steps", [steps], 100)
    folder = folder_beside(run, out, f"pruned-{round(100 * to)}")
    rounds = folder.with_name(f"{folder.name}-rounds")
    if folder.exists() and not (rounds / PRUNED).exists():
        raise InputError(f"{folder}: is there already; choose another --out")
    saved = open_to_go_on(run, "pruned")
    if not groups(saved.network.architecture, saved.network.plan):
        raise InputError(f"{run}: its network has no channels that can go by themselves")
    pick_device(device)
    began = time.monotonic()
    recipe = further(run, epochs, device)
    if recipe.feature_weight:
        log.warning("pruning takes features away, so they are not compared with the teacher's any more")
        recipe = recipe.replace(feature_weight=0.0)
    asked = asked_of(run, to=to, steps=steps, epochs=epochs)
    pictures_to_go_on(run, pictures, saved.bundle.classes, folder)
    if not begun(rounds, PRUNED, asked, "pruning"):
        _refuse_hollow(saved.network, str(run), to, threads)
        write_json(rounds / PRUNED, asked)
    last = run
    for step in range(1, steps + 1):
        start, before = rounds / f"start-{step}", last
        last = folder if step == steps else rounds / f"trained-{step}"
        if (last / METRICS).exists():
            continue
        target = to ** (step / steps)
        log.info("round %d of %d: to %.0f %% of the time", step, steps, 100 * target)
        if not (start / WEIGHTS).exists():
            left = narrowed(load_classifier(before), run, saved, pictures, target, threads)
            write_start(left, run, start, "pruned")
        if (last / RECIPE).exists():
            train(pictures, last, resume=True)
        else:
            train(pictures, last, recipe=starting_from(recipe, start))
    result = _result(run, folder, pictures, threads)
    result |= {"to": to, "seconds": time.monotonic() - began}
    write_json(folder / PRUNED, result)
    (rounds / PRUNED).unlink()
    for part in rounds.iterdir():
        if part != start:
            shutil.rmtree(part, ignore_errors=True)  # Windows removes nothing that is open
    log.info("pruned in %s", duration(time.monotonic() - began))
    return result


def _refuse_hollow(network: Network, model: str, to: float, threads: int) -> None:
    """Refuse a share that no pruning reaches, or only one that leaves hardly a network: its time is spent elsewhere."""
    found = groups(network.architecture, network.plan)
    least = without(network, {one.name: np.arange(one.channels) >= STEP for one in found if one.channels > STEP})
    whole, takes = milliseconds([network, least], threads, SECONDS)
    floor, few = takes / whole, least.plan.macs / network.plan.macs
    if floor >= to:
        raise InputError(
            f"{model}: takes {floor:.0%} of its time with {STEP} channels in each block still: give a larger --to"
        )
    left = few + (1 - few) * (to - floor) / (1 - floor)
    if left < HOLLOW * to:
        raise InputError(
            f"{model}: its time hardly follows its channels: {to:.0%} of the time would leave about {left:.0%} of its "
            "multiply-accumulates; give a larger --to, or train with a smaller --size"
        )


def narrowed_there(now: SavedModel, run: Path, data: Path, to: float, layers: Layers) -> SavedModel:
    """Take channels out of ``now`` until it takes the share ``to`` of its time on a device, by that of its layers."""
    found, scores = groups(now.network.architecture, now.network.plan), worth(now, run, data)
    cost = layers.a_channel(found)
    costed = {group.name: Costed(scores[group.name], cost[group.name]) for group in found}
    save, gone = 0.0, dict[str, Flags]()
    for _ in range(5 * CORRECTIONS):  # cheap here, where nothing is timed
        kept = {group.name: int((~gone[group.name]).sum()) if group.name in gone else group.channels for group in found}
        more = layers.without(found, kept) - to * layers.whole
        if more <= 0:
            break
        save += more
        gone = least_worth(costed, save, STEP)
    return replace(now, network=without(now.network, gone))


def narrowed(now: SavedModel, run: Path, first: SavedModel, data: Path, to: float, threads: int) -> SavedModel:
    """Take channels out of ``now`` until it takes the share ``to`` of the time of ``first``."""
    network = now.network
    found = groups(network.architecture, network.plan)
    scores = worth(now, run, data)
    cost = milliseconds_a_channel(network, found, threads, SECONDS / 4)
    costed = {group.name: Costed(scores[group.name], cost[group.name]) for group in found}
    save, left, tried = 0.0, network, []
    for _ in range(CORRECTIONS):
        whole, takes = milliseconds([first.network, left], threads, SECONDS)
        share = takes / whole
        tried.append((abs(share - to), share, left))
        if abs(share - to) <= CLOSE * to:
            break
        save += takes - to * whole
        left = without(network, least_worth(costed, save, STEP)) if save > 0 else network
    _, share, left = min(tried, key=itemgetter(0))
    if abs(share - to) > CLOSE * to:
        log.warning("the nearest that was found takes %.0f %% of the time, not %.0f %%", 100 * share, 100 * to)
    return replace(now, network=left)


def worth(now: SavedModel, run: Path, data: Path) -> Scores:
    """Say what each channel is worth on training pictures of ``data``, by group."""
    halves = pictures_to_export(run, data, now.bundle.classes, training=True)
    chosen = [halves.training[place] for place in evenly(len(halves.training), PICTURES)]
    samples, _ = check_readable(chosen)
    if not samples:
        raise InputError(f"{data}: no pictures to learn from, so nothing tells what a channel is worth")
    task, outputs = Classification(), now.bundle.network_outputs
    loader = Loader(samples, outputs, now.bundle.preprocessing, task)
    plan = in_order(len(samples), BATCH)
    loss = task.loss(samples, outputs, Recipe(label_smoothing=0.0))
    found = groups(now.network.architecture, now.network.plan)
    return importance(now.network, loss, loader.batches(plan), found)


def _result(run: Path, folder: Path, data: Path, threads: int) -> dict[str, Any]:
    """Measure the run and what became of it, in turns and on the same pictures."""
    before, after = load_classifier(run).network, load_classifier(folder).network
    times = milliseconds([before, after], threads, 2 * SECONDS)
    counts = [{group.name: group.channels for group in groups(one.architecture, one.plan)} for one in (before, after)]
    return {
        "model": str(run),
        "run": str(folder),
        "runtime": "onnxruntime",
        "threads": threads,
        "milliseconds": times,
        "share": times[1] / times[0],
        "macs": [before.plan.macs, after.plan.macs],
        "parameters": [before.plan.parameters, after.plan.parameters],
        "channels": {name: [count, counts[1][name]] for name, count in counts[0].items()},
        "compare": compare_models(run, folder, data),
    }
