"""The milliseconds that a channel takes, by group: each part of a network is timed alone, whole and narrower."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mobilenets.base.progress import progress
from mobilenets.bench.latency import ROUNDS, noise
from mobilenets.bench.models import milliseconds_of
from mobilenets.bench.networks import medians, onnx_bytes
from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.graph.part import part_of
from mobilenets.exports.job import Options
from mobilenets.models.network import Network
from mobilenets.models.prune import Group, prune
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.engines.ort import open_session


def milliseconds(networks: Sequence[Network], threads: int, seconds: float) -> list[float]:
    """Time networks as ``milliseconds_of`` does."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.onnx" for number in range(len(networks))]
        for network, file in zip(networks, files, strict=True):
            file.write_bytes(onnx_bytes(network))
        return milliseconds_of(files, threads, seconds)


def milliseconds_a_channel(network: Network, groups: Sequence[Group], threads: int, seconds: float) -> dict[str, float]:
    """Time each group's layers in ONNX Runtime, with all its channels and with half of them, in turns.

    Returns what one channel takes; at least a tenth of its part of the time of all, so that none comes for nothing
    where the clock is too coarse. ``seconds`` are for each measurement.
    """
    fewer = {group.name: np.arange(group.channels) >= max(1, group.channels // 2) for group in groups}
    whole, narrow = (_runs(one, groups, threads) for one in (network, prune(network, fewer)))
    with progress("timing layers", len(whole + narrow) * ROUNDS, "turns") as shown:
        times = medians(whole + narrow, seconds, shown.advance)
    found = {}
    for group, all_of_them, half in zip(groups, times, times[len(groups) :], strict=False):
        gone = max(1, int(fewer[group.name].sum()))
        found[group.name] = max((all_of_them - half) / gone, 0.1 * all_of_them / group.channels)
    return found


def _runs(network: Network, groups: Sequence[Group], threads: int) -> list[Callable[[], object]]:
    """Give what runs the layers of each group: those that make, filter and read its channels."""
    model = onnx_model(network, Preprocessing(network.architecture.size), Options("onnx"))
    parts = {part.name: part for part in network.plan.operations}
    runs: list[Callable[[], object]] = []
    for group in groups:
        [entry], shape = parts[group.name].inputs, parts[group.name].input_shape
        ends = ["logits" if parts[name] is network.plan.classifier else name for name in group.readers]
        session = open_session(part_of(model, entry, shape, ends).SerializeToString(), threads)
        runs.append(partial(session.run, None, {entry: noise((1, *shape), np.float32)}))
    return runs
