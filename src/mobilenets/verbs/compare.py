"""``compare``: networks side by side."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mobilenets.base.cores import cores
from mobilenets.base.extras import how_to_install
from mobilenets.base.files import write_json
from mobilenets.base.progress import progress
from mobilenets.bench.latency import ROUNDS, bursts, describe_machine, in_turns, noise
from mobilenets.drawing.block_diagram import draw_blocks
from mobilenets.drawing.comparison import draw_comparison
from mobilenets.errors import InputError
from mobilenets.measure.cost import cost
from mobilenets.models.architecture import Architecture
from mobilenets.models.baselines import BASELINES, RESNETS
from mobilenets.models.catalog import CATALOG, SMALL_UP_TO, describe
from mobilenets.models.network import Network
from mobilenets.models.saved import load_classifier
from mobilenets.models.tables import small_pictures
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.folder import check_folder
from mobilenets.runtime.bundle import find_bundle

log = logging.getLogger("mobilenets")

USUAL = ("mobilenet_v1", "mobilenet_v2", "resnet18", "resnet50", "plain")
NAMES = (*CATALOG, *BASELINES)
SETTLING = 4


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network to compare and, for a run, where it is."""

    network: Architecture
    classes: int
    run: Path | None = None

    @property
    def exports(self) -> bool:
        """Whether ``export`` writes it."""
        return self.network.name not in RESNETS


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
        ``mobilenet_v1``, ``mobilenet_v2``, ``mobilenet_v1_cifar``, ``resnet18``, ``resnet50``, and ``plain``, which is
        V1 with ordinary convolutions; by default all but the third, or none where ``runs`` are given.
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

    """
    folder = None if out is None else check_folder(Path(out))
    count = cores() if threads is None else threads
    if count < 1:
        raise InputError(f"threads {count}: give a number of at least 1")
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"seconds {seconds:g}: give a number above 0")
    chosen = names or (() if runs else USUAL)
    candidates = [one for name in dict.fromkeys(chosen) for one in _named(name, size, widths, classes)]
    candidates += [_of_run(Path(run)) for run in runs]
    rows = [_row(candidate) for candidate in candidates]
    _same_pictures([Path(run) for run in runs])
    for row, (eager, onnx) in zip(rows, _latencies(candidates, count, seconds), strict=True):
        row |= {"latency_ms": eager, "onnxruntime_ms": onnx}
    result = {"networks": rows, "threads": count, "torch": torch.__version__, "machine": describe_machine()}
    if folder is not None:
        write_json(folder / "compare.json", result)
        draw_comparison(result, folder / "compare.png")
        draw_blocks(folder / "blocks.png")
    return result


def _named(name: str, size: int, widths: Sequence[float], classes: int) -> list[Candidate]:
    if name not in NAMES:
        raise InputError(f"unknown network {name!r}: choose {', '.join(NAMES)}")
    if name in CATALOG:
        return [Candidate(describe(name, width, size), classes) for width in dict.fromkeys(widths)]
    if name in RESNETS and classes < 1:
        raise InputError(f"classes {classes}: give a whole number of at least 1")
    small = size <= SMALL_UP_TO and name == "plain"
    table = small_pictures(BASELINES[name]) if small else BASELINES[name]
    return [Candidate(Architecture(name, 1.0, size, "small" if small else "standard", table), classes)]


def _of_run(run: Path) -> Candidate:
    network = load_classifier(run).network
    return Candidate(network.architecture, network.classes, run)


def _row(candidate: Candidate) -> dict[str, Any]:
    costs = cost(candidate.network, candidate.classes)
    measured: dict[str, Any] = dict.fromkeys(("top1", "top1_interval", "images", "data"))
    if candidate.run is not None:
        measured = _accuracy(candidate.run)
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


def _accuracy(run: Path) -> dict[str, Any]:
    """Read what a run was measured at, and on what."""
    path = find_bundle(run) / "metrics.json"
    if not path.is_file():
        raise InputError(f"{path} is missing: run mobilenets evaluate {run} DATA --out {run}")
    try:
        metrics = json.loads(path.read_bytes())
        low, high = metrics["top1_interval"]
        found = {"top1": float(metrics["top1"]), "top1_interval": [float(low), float(high)]}
        return {**found, "images": int(metrics["images"]), "data": _data(run, str(metrics["evaluated_on"]))}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: damaged; run mobilenets evaluate {run} DATA --out {run}") from error


def _data(run: Path, which: str) -> str:
    record = _record(run)
    return which if record is None else f"{which} of {Path(str(record.get('folder'))).name}"


def _record(run: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((find_bundle(run) / "recipe.json").read_bytes())["data"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return record if isinstance(record, dict) else None


def _same_pictures(runs: Sequence[Path]) -> None:
    if len({str((_record(run) or {}).get("fingerprint")) for run in runs}) > 1:
        log.warning("the runs were not measured on the same pictures, so their accuracies cannot be compared")


def _latencies(candidates: Sequence[Candidate], threads: int, seconds: float) -> list[tuple[float, float | None]]:
    """Measure the median latency of a picture: all networks in PyTorch, then the mobilenets ones in ONNX Runtime."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        networks = [_ready(candidate) for candidate in candidates]
        eager = [partial(_in_torch, network, _picture(one)) for network, one in zip(networks, candidates, strict=True)]
        onnx = {
            index: _onnx_session(network, threads)
            for index, network in enumerate(networks)
            if candidates[index].exports and _has_onnx()
        }
        with progress("measuring", ROUNDS * (len(eager) + len(onnx)), "turns") as shown:
            in_torch = _medians(eager, seconds, shown.advance)
            runs = [partial(session.run, None, {"images": _picture(candidates[i])}) for i, session in onnx.items()]
            in_onnx = dict(zip(onnx, _medians(runs, seconds, shown.advance), strict=True))
    finally:
        torch.set_num_threads(before)
    if not _has_onnx():
        log.info("not measured with ONNX Runtime, because onnx is not installed: %s", how_to_install("export"))
    return [(ms, in_onnx.get(index)) for index, ms in enumerate(in_torch)]


def _medians(runs: Sequence[Callable[[], object]], seconds: float, done: Callable[[int], None]) -> list[float]:
    def turn(run: Callable[[], object], share: float) -> list[float]:
        times = bursts(run, share)
        done(1)
        return times

    return [float(np.median(times)) for times in in_turns([partial(turn, run) for run in runs], seconds)]


def _picture(candidate: Candidate) -> Any:
    return noise((1, 3, candidate.network.size, candidate.network.size), np.float32)


def _ready(candidate: Candidate) -> Network:
    """Build a network as it is to run; BatchNorm is set by noise, lest fresh weights give numbers that vanish."""
    if candidate.run is not None:
        network = load_classifier(candidate.run).network
    else:
        network = Network(candidate.network, candidate.classes)
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = None
        with torch.no_grad():
            network.train()(torch.from_numpy(noise((SETTLING, *network.plan.images.shape), np.float32)))
    return network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _in_torch(network: nn.Module, picture: Any) -> object:
    with torch.inference_mode():
        return network(torch.from_numpy(picture).to(memory_format=torch.channels_last)).numpy()


def _has_onnx() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))


def _onnx_session(network: Network, threads: int) -> Any:
    """Open a mobilenets network in ONNX Runtime, as ``export`` writes it."""
    from mobilenets.exports.graph.build import onnx_model
    from mobilenets.exports.job import Options
    from mobilenets.runtime.engines.ort import open_session

    model = onnx_model(network, Preprocessing(network.architecture.size), Options("onnx"))
    return open_session(model.SerializeToString(), threads)
