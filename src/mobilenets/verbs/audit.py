"""``audit``: which kernels and channels of a trained model do nothing, and what int8 does to each layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobilenets.base.files import write_json
from mobilenets.base.notes import log
from mobilenets.datasets.listing import say
from mobilenets.datasets.loader import Loader
from mobilenets.datasets.readable import check_readable
from mobilenets.datasets.shards.open import open_data
from mobilenets.drawing.audit import Curves, Kernels, audit_figure
from mobilenets.drawing.style import save
from mobilenets.errors import InputError
from mobilenets.exports.graph.fold import folded
from mobilenets.measure.kernels import (
    Floats,
    WeakKernels,
    constant_channels,
    int8_decibels,
    removable,
    weak_kernels,
)
from mobilenets.models.blocks import ConvNorm
from mobilenets.models.cut import Flags
from mobilenets.models.engine import NetworkEngine
from mobilenets.models.network import Network
from mobilenets.models.saved import SavedModel, load_classifier
from mobilenets.runs.folder import check_folder
from mobilenets.runs.held_out import pictures_to_measure
from mobilenets.runs.int8_layers import int8_layers
from mobilenets.runtime.bundle import CLASSIFICATION, find_bundle, read_bundle
from mobilenets.tasks.classification.task import Classification, classified
from mobilenets.tasks.evaluate import evaluate_loader

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Activity:
    """What channels did on pictures: by layer the mean of each, and which never changed."""

    means: Mapping[str, Tensor]
    constant: Mapping[str, Flags]
    top1: float
    images: int


def audit(model: str | Path, *, data: str | Path | None = None, out: str | Path | None = None) -> dict[str, Any]:
    """Look for kernels that training has left near zero.

    ``model`` is a run folder. With labelled pictures in ``data`` (of the run's own those held out) it also finds
    the channels that never change on them, and what top-1 is without those, and what int8 does to the layers' outputs
    (``mobilenets.runs.int8_layers``). With ``out`` it writes ``audit.json``, and ``audit.png`` with the kernels of the
    depthwise layer that has the most dead ones and, with ``data``, the curves of int8.

    Returns the object of ``audit --json``. ``layers`` has a row for each convolution, BatchNorm folded in: its
    ``kernels``, how many are ``dead`` and ``near_dead`` (``mobilenets.measure.kernels``) and, with ``data``, how many
    channels are ``constant``; the signal to noise ratio of its int8 weights with a scale a channel (``int8_db``) and
    with one for the layer (``int8_one_scale_db``), in decibels; with ``data``, that of its output where weights and
    activations are int8 (``int8_output_db``). ``int8`` says how that was measured; None without ``data``, without the
    extra ``export`` or without training pictures. ``removable`` says what goes with the depthwise
    channels that are constant on the pictures, or without ``data`` dead: the kernel itself, the filter that makes its
    input, where nothing else uses it, and the weights that read its output, whose constant goes into the next bias.
    Nothing is removed. Raises ``InputError`` for what cannot be used.

    >>> result = mobilenets.audit("run")
    >>> result["depthwise"]["kernels"], len(result["layers"])
    (352, 9)

    """
    data = None if data is None else open_data(data)
    folder = None if out is None else check_folder(Path(out))
    saved = _load(Path(model))
    network = saved.network
    plan = network.plan
    weights = {name: folded(layer)[0].numpy() for name, layer in _convolutions(network)}
    weak = {name: weak_kernels(weight) for name, weight in weights.items()}
    filters = [part.name for part in plan.convolutions if part.depthwise]
    seen = None if data is None else _look(saved, Path(model), data, filters)
    layers: list[dict[str, Any]] = [
        {
            "name": part.name,
            "kind": part.label,
            "kernels": part.output_shape[0],
            "dead": int(weak[part.name].dead.sum()),
            "near_dead": int(weak[part.name].near_dead.sum()),
            "constant": None if seen is None else int(seen[0].constant[part.name].sum()),
            "int8_db": int8_decibels(weights[part.name]),
            "int8_one_scale_db": int8_decibels(weights[part.name], each=False),
        }
        for part in plan.convolutions
    ]
    idle = {name: weak[name].dead if seen is None else seen[0].constant[name] for name in filters}
    gone = removable(plan, idle)
    without = None if seen is None else seen[1]
    int8 = None if data is None else int8_layers(saved, Path(model), data)
    for layer in layers:
        layer["int8_output_db"] = None if int8 is None else int8.decibels[layer["name"]]
    depthwise = [layer for layer in layers if layer["name"] in idle]
    result: dict[str, Any] = {
        "model": str(model),
        "images": None if seen is None else seen[0].images,
        "layers": layers,
        "int8": None if int8 is None else int8.to_json(),
        "depthwise": {key: sum(layer[key] for layer in depthwise) for key in ("kernels", "dead", "near_dead")},
        "removable": {
            "channels": gone.channels,
            "parameters": gone.parameters,
            "macs": gone.macs,
            "parameters_share": gone.parameters / plan.parameters,
            "macs_share": gone.macs / plan.macs,
            "top1": without,
            "top1_change": None if seen is None or without is None else without - seen[0].top1,
        },
    }
    if folder is not None:
        write_json(folder / "audit.json", result)
        _draw(weights, weak, filters, None if int8 is None else layers, folder / "audit.png")
    return result


def _load(model: Path) -> SavedModel:
    if read_bundle(find_bundle(model)).export is not None:
        raise InputError(f"{model}: an exported file; give the run folder it was made from")
    return load_classifier(model)


def _convolutions(network: Network) -> Iterator[tuple[str, ConvNorm]]:
    for part in network.plan.convolutions:
        layer = network.get_submodule(part.name)
        assert isinstance(layer, ConvNorm)
        yield part.name, layer


def _look(saved: SavedModel, model: Path, data: Path, silenced: list[str]) -> tuple[Activity, float | None]:
    """Run the pictures through, and once more with the constant channels of ``silenced`` layers held at their means."""
    network, bundle = saved.network, saved.bundle
    if bundle.task != CLASSIFICATION:
        raise InputError(f"{model}: only a model that tells classes apart is audited on pictures; leave out the data")
    folder = pictures_to_measure(model, data, bundle.classes).folder
    samples, problems = check_readable(folder.samples)
    say(problems)
    if not samples:
        raise InputError(f"{data}: it has no readable picture")
    loader = Loader(samples, len(bundle.classes), bundle.preprocessing, Classification())

    def top1() -> float:
        engine = NetworkEngine(network, CPU)
        return classified(evaluate_loader(Classification(), engine, loader, bundle.classes, folder.root)).top1

    ranges: dict[str, list[Tensor]] = {}
    with _hooked(network, partial(_note, ranges)):
        before = top1()
    found = Activity(
        {name: total / count for name, (_, _, total, count) in ranges.items()},
        {name: constant_channels(low.numpy(), high.numpy()) for name, (low, high, _, _) in ranges.items()},
        before,
        len(samples),
    )
    held = {name: found.constant[name] for name in silenced if found.constant[name].any()}
    if not held:
        return found, None

    def hold(name: str, output: Tensor) -> Tensor | None:
        if name not in held:
            return None
        output[:, torch.from_numpy(held[name])] = found.means[name][torch.from_numpy(held[name])].float()[:, None, None]
        return output

    with _hooked(network, hold):
        return found, top1()


def _note(ranges: dict[str, list[Tensor]], name: str, output: Tensor) -> None:
    """Keep the least, the largest and the sum of each channel, and how many values it had."""
    count = torch.tensor(output.numel() // output.shape[1])
    now = [output.amin((0, 2, 3)), output.amax((0, 2, 3)), output.double().sum((0, 2, 3)), count]
    if name in ranges:
        low, high, total, so_far = ranges[name]
        now = [torch.minimum(low, now[0]), torch.maximum(high, now[1]), total + now[2], so_far + count]
    ranges[name] = now


@contextmanager
def _hooked(network: Network, act: Any) -> Iterator[None]:
    """Call ``act(name, output)`` after every convolution while the block runs; what it returns replaces the output."""

    def hook(name: str) -> Any:
        def after(_part: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
            replaced: Tensor | None = act(name, output)
            return replaced

        return after

    handles = [layer.register_forward_hook(hook(name)) for name, layer in _convolutions(network)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _draw(
    weights: Mapping[str, Floats],
    weak: Mapping[str, WeakKernels],
    depthwise: list[str],
    layers: list[dict[str, Any]] | None,
    path: Path,
) -> None:
    kernels = curves = None
    if depthwise:
        worst = max(depthwise, key=lambda name: (weak[name].dead.mean(), weak[name].near_dead.mean()))
        kernels = Kernels(worst, weights[worst], weak[worst])
    if layers is not None:
        curves = Curves(
            tuple(layer["name"] for layer in layers),
            tuple(layer["int8_db"] for layer in layers),
            tuple(layer["int8_output_db"] for layer in layers),
        )
    if kernels is None and curves is None:
        log.warning("no plot was drawn, because this network has no depthwise layer")
        return
    save(audit_figure(kernels, curves), path)
