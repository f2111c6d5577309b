"""A run that several processes make: the first begins it, and hands the others what they need to follow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mobilenets.base.files import write_bytes
from mobilenets.base.notes import log
from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.network import Network
from mobilenets.runs.begin import Run
from mobilenets.runs.record import RECIPE, SPLIT
from mobilenets.runs.request import Request
from mobilenets.runs.settle import settle
from mobilenets.runtime.bundle import DESCRIPTION, DETECTION, read_bundle
from mobilenets.tasks.registry import find_task
from mobilenets.training import checkpoint
from mobilenets.training.processes import Processes
from mobilenets.training.recipe import Recipe

_HANDED = (RECIPE, SPLIT, DESCRIPTION, str(checkpoint.FILE))


def refuse_together(processes: Processes, recipe: Recipe, several: bool = False) -> None:
    """Raise ``InputError`` for what several processes cannot do together; ``several``: trainings, by ``--seeds``."""
    if processes.count == 1:
        return
    whys = {
        "seeds": several,
        "folds": recipe.folds is not None,
        "minutes": recipe.minutes is not None,
        "boxes": recipe.task == DETECTION,
        "teacher": recipe.teacher is not None,
    }
    for name in (name for name, wanted in whys.items() if wanted):
        way = "start one process" if name == "boxes" else f"leave --{name} out, or start one process"
        raise InputError(f"{name}: not in several processes yet, and this training has {processes.count}; {way}")


def hand_out(processes: Processes, run: Run) -> None:
    """Give the other processes the run that this one, the first, has begun or taken up."""
    if processes.count == 1:
        return
    processes.meet()
    there = [name for name in _HANDED if (run.folder / name).is_file()]
    processes.send(json.dumps(there).encode())
    for name in there:
        processes.send((run.folder / name).read_bytes())
    agree(processes, run.network)


def agree(processes: Processes, network: Network) -> None:
    """Give every process the weights that the network has in the first."""
    processes.meet()  # reading and comparing the pictures may take long
    processes.spread(list(network.state_dict().values()))


def follow(processes: Processes, data: Path, folder: Path) -> Run:
    """Take the run from the first process, with a ``folder`` of its own: what is written there is for nobody.

    The weights are still to come: see ``agree``. Raises ``InputError`` where the pictures are not the same here.
    """
    processes.meet()
    for name in json.loads(processes.send(b"")):
        write_bytes(folder / name, processes.send(b""))
    settled = settle(Request(data, folder, None, {}, resume=True))
    assert settled.record is not None and settled.dataset is not None
    recipe, bundle, task = settled.recipe, read_bundle(folder), find_task(settled.recipe.task)
    dataset = settled.dataset.annotated(task.annotated)
    network = Network(Architecture.from_json(bundle.architecture), task.outputs(dataset.classes))
    kept = bundle.origin.get("head") == "kept"
    return Run(folder, task, recipe, dataset, network, bundle.preprocessing, settled.record, None, kept)


@contextmanager
def silent() -> Iterator[None]:
    """Show no note and no progress while the block runs."""
    before = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before
