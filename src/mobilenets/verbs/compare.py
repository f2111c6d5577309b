"""``compare``: networks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mobilenets.base.cores import cores
from mobilenets.base.files import write_json
from mobilenets.base.notes import log
from mobilenets.bench.candidates import USUAL, Candidate, candidate_of_run, candidates_named
from mobilenets.bench.latency import describe_machine
from mobilenets.bench.networks import latencies
from mobilenets.bench.settings import check_seconds
from mobilenets.drawing.block_diagram import blocks_figure
from mobilenets.drawing.comparison import comparison
from mobilenets.drawing.style import save
from mobilenets.errors import InputError
from mobilenets.measure.cost import cost
from mobilenets.runs.folder import check_folder
from mobilenets.runs.record import accuracy_of_run, known_data


def compare(
    names: Sequence[str] = (),
    *,
    size: int = 224,
    widths: Sequence[float] = (1.0,),
    classes: int = 1000,
    runs: Sequence[str | Path] = (),
    threads: int | None = None,
    seconds: float = 2.0,
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Put networks side by side: what they cost by count, how long they take here, how right trained ones are.

    Parameters
    ----------
    names:
        Names that ``create_model`` takes, ``resnet18``, ``resnet50``, and ``plain``, which is V1 with ordinary
        convolutions; by default V1, V2 and these three, or none where ``runs`` are given.
    size, classes:
        Input size in pixels per side, and classes. Up to 64 pixels the MobileNets and ``plain`` take their variant for
        small pictures, which has two strides fewer; the ResNets have none.
    widths:
        Width multipliers of the MobileNets.
    runs:
        Run folders, each a network more, with the top-1 of its ``metrics.json``.
    threads, seconds:
        Threads, by default one per core, and how long to measure each latency.
    out:
        A folder to write ``compare.json``, ``compare.png`` and ``blocks.png`` to.

    Returns the object of ``compare --json``. ``latency_ms`` is the median time of one picture in PyTorch,
    ``onnxruntime_ms`` in ONNX Runtime where ``export`` writes the network, measured in turns, all in PyTorch first; the
    weights of networks that are no runs are random. ``bytes`` is the size of all values in float32. Raises
    ``InputError`` for what cannot be used.

    >>> result = mobilenets.compare(["mobilenet_v1", "mobilenet_v2"], size=32, seconds=0.01)
    >>> [row["parameters"] for row in result["networks"]]
    [4231976, 3504872]

    """
    folder = None if out is None else check_folder(Path(out))
    count = cores() if threads is None else threads
    if count < 1:
        raise InputError(f"threads {threads}: give a number of at least 1")
    check_seconds(seconds)
    chosen = names or (() if runs else USUAL)
    candidates = [one for name in dict.fromkeys(chosen) for one in candidates_named(name, size, widths, classes)]
    candidates += [candidate_of_run(Path(run)) for run in runs]
    rows = [_row(candidate) for candidate in candidates]
    if len({None if (data := known_data(Path(run))) is None else data.fingerprint for run in runs}) > 1:
        log.warning("the runs were not measured on the same pictures, so their accuracies cannot be compared")
    for row, (eager, onnx) in zip(rows, latencies(candidates, count, seconds), strict=True):
        row |= {"latency_ms": eager, "onnxruntime_ms": onnx}
    result = {"networks": rows, "threads": count, "torch": torch.__version__, "machine": describe_machine()}
    if folder is not None:
        write_json(folder / "compare.json", result)
        save(comparison(result), folder / "compare.png")
        save(blocks_figure(), folder / "blocks.png")
    return result


def _row(candidate: Candidate) -> dict[str, Any]:
    costs = cost(candidate.network, candidate.classes)
    measured: dict[str, Any] = dict.fromkeys(("top1", "top1_interval", "images", "data"))
    if candidate.run is not None:
        measured = accuracy_of_run(candidate.run)
    return {
        "name": costs.name,
        "width": costs.width,
        "size": costs.size,
        "variant": costs.variant,
        "classes": costs.classes,
        "run": None if candidate.run is None else str(candidate.run),
        "parameters": costs.parameters,
        "macs": costs.macs,
        "bytes": costs.bytes,
        **measured,
    }
