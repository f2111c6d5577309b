"""What of a file's arrays is one network with one classifier, and what comes with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.errors import InputError
from mobilenets.weights.layers import Layer, of_kind
from mobilenets.weights.pytorch.checkpoint import is_average

Array = npt.NDArray[Any]

# What training leaves beside the weights: torch.nn.BatchNorm's count, torch.optim.swa_utils, MindSpore's optimisers
# (mindspore.nn.Momentum, Adam, RMSProp), loss scales and callbacks.
TRAINING = re.compile(
    r"(.*\.)?num_batches_tracked|n_averaged"
    r"|(moments|momentum|accum|velocity|moment[12]|mean_(square|grad(ient)?)|exp_avg(_sq)?|ema)\..*"
    r"|learning_rate|global_step|momentum|beta[12]_power|weight_decay|(loss_)?scale|scale_sense"
    r"|(current|last_overflow)_iterator_step|(epoch|step|batch)(_num)?"
)
# What losses and metrics keep, by a word of the module's name or by the name that torchmetrics gives it.
_MEASURES = re.compile(
    r"(^|[._])(criterion|loss|losses|metrics?|acc|accuracy|f1|f1score|precision|recall|auroc|auc|confmat|"
    r"confusion|class_?weights?|pos_weight|ce|bce|meters?)([._]|$)|(^|\.)(tp|fp|tn|fn|total|correct|preds|target|"
    r"(mean|sum|max|min)_value)$"
)
# Buffers that pictures are normalised with inside a network.
_NORMALISED = {"mean": "mean", "std": "std", "pixel_mean": "mean", "pixel_std": "std", "_mean": "mean", "_std": "std"}


def one_network(arrays: Mapping[str, Array], output: str | None) -> tuple[Mapping[str, Array], str | None, list[str]]:
    """Give the arrays of one network where a file holds several under prefixes, with a note of which.

    Each network has one convolution that takes a picture's three channels. Of several, ``output`` is taken, else a
    moving average.
    """
    stems = [
        name.split(".")
        for name, array in arrays.items()
        if array.ndim == 4 and array.shape[1] == 3 and array.shape[2] > 1
        if not _MEASURES.search(name) and (name.startswith("ema.") or not TRAINING.fullmatch(name))
    ]
    shared = 0
    while stems and all(shared < len(stem) and stem[-1 - shared] == stems[0][-1 - shared] for stem in stems):
        shared += 1
    prefixes = [".".join(stem[: len(stem) - shared]) for stem in stems]
    if len(set(prefixes)) < 2:
        return arrays, output, []
    # Of EMA.module. and model. the first parts tell them apart.
    listed = ", ".join(prefix or "(no prefix)" for prefix in prefixes)[:200]
    averages = [prefix for prefix in prefixes if is_average(prefix)]
    chosen = [prefix for prefix in prefixes if output in (prefix, prefix.split(".")[0])] if output else averages
    if len(chosen) != 1:
        raise InputError(f"it holds several networks ({listed}); choose one with --output NAME")
    (taken,) = chosen
    others = [f"{prefix}." for prefix in prefixes if prefix and prefix != taken]
    own = {
        # MindSpore's optimisers have ema.*, which is left out below.
        name.removeprefix("ema."): array
        for name, array in arrays.items()
        if (name.startswith(f"{taken}.") if taken else True) and not any(map(name.startswith, others))
    }
    left = " or ".join(repr(prefix) for prefix in prefixes if prefix != taken)
    average = ", a moving average" if is_average(taken) else ""
    return own, None, [f"the weights used are those under {taken!r}{average}; choose {left} with --output"]


def without_measures(arrays: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Any], list[str]]:
    """Give the arrays without those of losses and metrics, the normalisation among them, and the names left out."""
    kept: dict[str, Array] = {}
    fields: dict[str, Any] = {}
    extras = []
    for name, array in arrays.items():
        field = _NORMALISED.get(name.rpartition(".")[2])
        if field and array.size == 3 and array.dtype.kind == "f":
            fields[field] = tuple(map(float, array.reshape(-1)))
            extras.append(name)
        elif array.ndim and _MEASURES.search(name) and not TRAINING.fullmatch(name):
            extras.append(name)
        else:
            kept[name] = array
    return kept, _normalisation(fields), extras


def _normalisation(fields: Mapping[str, tuple[float, ...]]) -> dict[str, Any]:
    """Read mean and deviation of pixels from 0 to 1, or to 255; none where they are neither."""
    if set(fields) != {"mean", "std"} or not all(map(np.isfinite, (*fields["mean"], *fields["std"]))):
        return {}
    if min(fields["std"]) <= 0 or max(map(abs, fields["mean"])) > 255:
        return {}
    most = 255 if max(fields["mean"]) > 2 else 1
    return {name: tuple(value / most for value in values) for name, values in fields.items()}


def head_norms_of(modules: Mapping[str, Mapping[str, Array]]) -> list[str]:
    """Name the norms of a head: those that share a linear layer's parent, and no convolution's."""
    ranks = {name: parts["weight"].ndim for name, parts in modules.items() if "weight" in parts}
    parents: dict[str, set[int]] = {}
    for name, rank in ranks.items():
        parents.setdefault(name.rpartition(".")[0], set()).add(rank)
    heads = {parent for parent, held in parents.items() if 2 in held and 4 not in held}
    return [name for name, rank in ranks.items() if rank == 1 and name.rpartition(".")[0] in heads]


def one_head(layers: Sequence[Layer], prefix: str | None, output: str | None) -> tuple[tuple[Layer, ...], list[str]]:
    """Leave one of several linear layers that take the same features, with a note of the others.

    ``output`` names it; else, where all have the ``prefix`` of a known source's network, it is the source's own
    ``classifier``. Raises ``InputError`` that lists them where nothing tells which is meant.
    """
    heads = of_kind(layers, "linear")
    inputs = {layer.arrays["weight"].shape[1] for layer in heads}
    outputs = {layer.arrays["weight"].shape[0] for layer in heads}
    if len(heads) < 2 or len(inputs) > 1 or inputs & outputs:
        if output is not None:
            raise InputError(f"it has nothing named {output[:60]!r} to choose; leave --output out")
        return tuple(layers), []
    listed = ", ".join(f"{layer.name} ({layer.arrays['weight'].shape[0]})" for layer in heads)
    chosen = [layer for layer in heads if output in (layer.name, layer.name.rpartition(".")[0])]
    if output is None and prefix is not None and all(layer.name.startswith(prefix) for layer in heads):
        chosen = [layer for layer in heads if layer.name.startswith(f"{prefix}classifier")]
    if len(chosen) != 1:
        raise InputError(f"it has several classifiers ({listed[:200]}); choose one with --output NAME")
    others = " or ".join(layer.name[:60] for layer in heads if layer is not chosen[0])
    note = f"the classifier used is {chosen[0].name[:60]}; choose {others} with --output"
    return tuple(layer for layer in layers if layer.kind != "linear" or layer is chosen[0]), [note]
