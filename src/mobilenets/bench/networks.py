"""Latency of networks in this process: in PyTorch, and in ONNX Runtime where ``export`` writes them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from mobilenets.base.extras import how_to_install
from mobilenets.base.notes import log
from mobilenets.base.progress import progress
from mobilenets.bench.candidates import Candidate
from mobilenets.bench.latency import ROUNDS, bursts, in_turns, noise
from mobilenets.models.network import Network
from mobilenets.models.saved import load_classifier
from mobilenets.pictures.preprocess import Preprocessing

SETTLING = 4  # pictures


def latencies(candidates: Sequence[Candidate], threads: int, seconds: float) -> list[tuple[float, float | None]]:
    """Measure the median latency of a picture: all networks in PyTorch, then the mobilenets ones in ONNX Runtime."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        networks = [ready(candidate) for candidate in candidates]
        eager = [partial(_in_torch, network, _picture(one)) for network, one in zip(networks, candidates, strict=True)]
        onnx = {
            index: _onnx_session(network, threads)
            for index, network in enumerate(networks)
            if candidates[index].exports and _has_onnx()
        }
        with progress("measuring", ROUNDS * (len(eager) + len(onnx)), "turns") as shown:
            in_torch = medians(eager, seconds, shown.advance)
            runs = [partial(session.run, None, {"images": _picture(candidates[i])}) for i, session in onnx.items()]
            in_onnx = dict(zip(onnx, medians(runs, seconds, shown.advance), strict=True))
    finally:
        torch.set_num_threads(before)
    if not _has_onnx():
        log.info("not measured with ONNX Runtime, because onnx is not installed: %s", how_to_install("export"))
    return [(ms, in_onnx.get(index)) for index, ms in enumerate(in_torch)]


def medians(runs: Sequence[Callable[[], object]], seconds: float, done: Callable[[int], None]) -> list[float]:
    """Give the median milliseconds of each of ``runs``, which take turns; ``done`` hears of every turn."""

    def turn(run: Callable[[], object], share: float) -> list[float]:
        times = bursts(run, share)
        done(1)
        return times

    return [float(np.median(times)) for times in in_turns([partial(turn, run) for run in runs], seconds)]


def _picture(candidate: Candidate) -> Any:
    return noise((1, 3, candidate.network.size, candidate.network.size), np.float32)


def ready(candidate: Candidate) -> Network:
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
    from mobilenets.runtime.engines.ort import open_session

    return open_session(onnx_bytes(network), threads)


def onnx_bytes(network: Network) -> bytes:
    """Write a mobilenets network as ``export`` writes it."""
    from mobilenets.exports.graph.build import onnx_model
    from mobilenets.exports.job import Options

    model = onnx_model(network, Preprocessing(network.architecture.size), Options("onnx"))
    return bytes(model.SerializeToString())
