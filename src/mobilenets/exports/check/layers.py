"""The layer that breaks an export: what each layer gives in the checkpoint and in the file, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from mobilenets.exports.check.gate import probes
from mobilenets.exports.graph.geometry import NAME, pixels_inside
from mobilenets.exports.graph.session import tensors
from mobilenets.models.blocks import function_of
from mobilenets.models.network import Network
from mobilenets.pictures.decode import decode
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.engines import laid_out
from mobilenets.runtime.exported import Exported

# Decibels of a layer that only rounding has touched: float32 has more, float16 weights about 60, int8 20 to 45.
HEALTHY = {"float32": 120.0, "float16": 60.0, "int8": 25.0}
PICTURES = 8


@dataclass(frozen=True)
class LayerError:
    """How far a layer of the file is from the checkpoint's: the signal to noise ratio of its output in decibels.

    ``healthy`` is the ratio that rounding in the file's precision leaves at least: more counts as equal.
    """

    layer: str
    decibels: float
    healthy: float = HEALTHY["float32"]


def layer_errors(
    network: Network, images: npt.NDArray[np.float32], path: Path, exported: Exported, fed: npt.NDArray[Any]
) -> list[LayerError]:
    """Compare an ONNX file with the checkpoint, layer by layer in order.

    ``images`` float32 N×S×S×3 go into the network, ``fed`` (N×S×S×3, as the file takes it) into the file.
    """
    theirs = outputs_of_file(path, exported, fed)
    ours = outputs_of_network(network, images)
    healthy = HEALTHY[exported.precision]
    return [LayerError(name, decibels(ours[name], theirs[name]), healthy) for name in ours if name in theirs]


def find_breaking_layer(
    network: Network, how: Preprocessing, folder: Path, exported: Exported, paths: Sequence[Path]
) -> LayerError | None:
    """Find the layer that breaks a file, on a few of the pictures and of generated ones.

    None where the format does not let one look into it.
    """
    if exported.format not in ("onnx", "web"):
        return None
    pictures = [decode(path) for path in paths[:: max(1, len(paths) // PICTURES)][:PICTURES]]
    pictures += probes(how.size)[:PICTURES]
    path = folder / exported.file
    if exported.geometry == "inside":
        # A picture a run, and the network is asked about the very pixels that the file makes, if these are right.
        fed = np.asarray(pictures[0])[None]
        fitted, made = np.asarray(how.fit(pictures[0])), pixels_inside(path, fed[0])
        if np.abs(made.astype(int) - fitted).max() > 1:
            return LayerError(NAME, decibels(fitted.astype(np.float32), made.astype(np.float32)))
        images = how.normalise(made)[None]
    else:
        fitted = np.stack([np.asarray(how.fit(picture)) for picture in pictures])
        images = how.normalise(fitted)
        fed = fitted if exported.input == "uint8" else images
    return breaking_layer(layer_errors(network, images, path, exported, fed))


def breaking_layer(errors: Sequence[LayerError]) -> LayerError | None:
    """Return the layer at which the ratio falls by most from that of the layer before it; None for none."""
    if not errors:
        return None
    falls = [min(before.decibels, before.healthy) - min(one.decibels, one.healthy) for before, one in pairwise(errors)]
    first = errors[0].healthy - min(errors[0].decibels, errors[0].healthy)
    return errors[int(np.argmax([first, *falls]))]


def decibels(signal: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Give the signal to noise ratio of ``other`` in decibels; 200 where they are equal."""
    return ratio(power(signal), power(signal.astype(np.float64) - other))


def power(values: npt.NDArray[Any]) -> float:
    """Give the sum of squares."""
    return float(np.square(values, dtype=np.float64).sum())


def ratio(signal: float, noise: float) -> float:
    """Give a signal to noise ratio of powers in decibels, from -200 to 200."""
    if noise == 0:
        return 200.0
    return float(np.clip(10 * np.log10(max(signal, 1e-30) / noise), -200, 200)) if np.isfinite(noise) else -200.0


def outputs_of_network(network: Network, images: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """Give what every operation gives, by its name, in forward order; ``network`` is on the CPU."""
    values = {network.plan.images.name: torch.from_numpy(laid_out(images, "NCHW"))}
    with torch.inference_mode():
        for part in network.plan.operations:
            run = function_of(part) or network.get_submodule(part.name)
            values[part.name] = run(*[values[name] for name in part.inputs])
    del values[network.plan.images.name]
    names = {"classifier": "logits"}
    return {names.get(name, name): value.numpy() for name, value in values.items()}


def outputs_of_file(path: Path, exported: Exported, fed: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float32]]:
    """Give what every named tensor of an ONNX file holds."""
    model = onnx.load(path)
    names = [name for node in model.graph.node for name in node.output]
    values = tensors(model, laid_out(fed, exported.layout), names)
    return {name: value for name, value in values.items() if value.dtype == np.float32}
