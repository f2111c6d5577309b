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
from torch import nn

from mobilenets.models.network import Network
from mobilenets.runtime.engines import laid_out
from mobilenets.runtime.engines.ort import open_session
from mobilenets.runtime.exported import Exported

# Decibels of a layer that only rounding has touched: float32 has more, float16 weights about 60, int8 20 to 45.
HEALTHY = {"float32": 120.0, "float16": 60.0, "int8": 25.0}


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
    """Give what every layer gives, by its name, in forward order; ``network`` is on the CPU."""
    found: dict[str, npt.NDArray[np.float32]] = {}
    hooks = []
    named = {part.name for part in network.plan.operations if part is not network.plan.classifier}
    for name, part in network.named_modules():
        if name in named:

            def keep(_part: nn.Module, _inputs: Any, output: torch.Tensor, name: str = name) -> None:
                found[name] = output.numpy()

            hooks.append(part.register_forward_hook(keep))
    try:
        with torch.inference_mode():
            found["logits"] = network(torch.from_numpy(laid_out(images, "NCHW"))).numpy()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def outputs_of_file(path: Path, exported: Exported, fed: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float32]]:
    """Give what every named tensor of an ONNX file holds."""
    model = onnx.load(path)
    last = model.graph.output[0].name
    given = {value.name for value in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name not in given]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_session(model.SerializeToString(), optimized=False)
    wanted = [last, *names]
    values = session.run(wanted, {session.get_inputs()[0].name: laid_out(fed, exported.layout)})
    return {name: value for name, value in zip(wanted, values, strict=True) if value.dtype == np.float32}
