"""From the arrays of a Keras file to ``Foreign``, whichever of its formats they came in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from mobilenets.errors import InputError
from mobilenets.weights.keras.config import Described
from mobilenets.weights.keras.translation import Translation, normalization
from mobilenets.weights.layers import (
    TENSORFLOW_INPUT,
    Foreign,
    Layer,
    conv_hwio,
    depthwise_hwcm,
    linear,
    norm,
    of_kind,
    two_classes,
)
from mobilenets.weights.operations import Array, Operation, Picture
from mobilenets.weights.simplify import simplify
from mobilenets.weights.traced import habitual_padding, preprocessing_of, trace

_SCALED = (
    "the layers that scale pixels inside the model became part of the preprocessing, which takes pixels from 0 to 255"
)
# Of BatchNormalization in Keras, and in keras.applications.
_EPSILON = 1e-3
_NORM = {"gamma", "beta", "moving_mean", "moving_variance"}
# Keras's names for the weights that a MobileNet has.
PARTS = {*_NORM, "kernel", "depthwise_kernel", "bias"}
# image_dataset_from_directory and load_img stretch pictures to the size asked for, unless told otherwise.
OWN: Mapping[str, Any] = {"resize": "stretch"}


@dataclass(frozen=True)
class StoredLayer:
    """The arrays of one layer of a file, by Keras's names for them. ``kind``: also ``scale``, of a Normalization."""

    name: str
    kind: str
    parts: Mapping[str, npt.NDArray[Any]]


def stored_layer(name: str, parts: Mapping[str, npt.NDArray[Any]]) -> StoredLayer:
    """Tell the kind of a layer by the names and shapes of its arrays; InputError if a MobileNet has no such layer."""
    kind = _kind(parts)
    if kind is None:
        held = ", ".join(f"{part[:30]} {array.shape}" for part, array in list(parts.items())[:4])
        raise InputError(f"{name[:100]!r} holds {held!r}, as no layer of a MobileNet does; give a MobileNet's weights")
    return StoredLayer(name, kind, parts)


def _kind(parts: Mapping[str, npt.NDArray[Any]]) -> str | None:
    names = set(parts)
    if {"moving_mean", "moving_variance"} <= names <= _NORM:
        return "norm"
    if names == {"mean", "variance"}:
        return "scale"
    if {"depthwise_kernel"} <= names <= {"depthwise_kernel", "bias"}:
        return "depthwise"
    if not {"kernel"} <= names <= {"kernel", "bias"}:
        return None
    shape = parts["kernel"].shape
    if len(shape) == 4:
        # Keras 3 calls the kernel of both "kernel"; no convolution of a MobileNet with a window has one output.
        return "depthwise" if shape[3] == 1 and shape[0] > 1 else "conv"
    return "linear" if len(shape) == 2 else None


def foreign(
    form: str,
    owned: Sequence[StoredLayer],
    described: Described | None,
    ignored: Sequence[str],
    *,
    told: bool = False,
    headless: str = "",
) -> Foreign:
    """Make the layers, each kind in the order of ``owned``; raises InputError.

    ``told``: whether the file has a config, also one that does not list its layers. ``headless``: why what stands
    behind the body is no classifier, where the file tells it beside its layers.
    """
    if described is not None:
        return _described(form, owned, described, ignored)
    layers = tuple(_make(found) for found in owned if found.kind != "scale")
    if not layers:
        raise InputError("no convolution weights in it; give a MobileNet saved by Keras")
    padding = habitual_padding(len(of_kind(layers, "conv")), len(of_kind(layers, "depthwise")))
    steps: list[Operation] = [Picture("pictures", (), pixels=True)]
    for found in owned:
        if found.kind == "scale":
            steps.append(normalization(found.name, (0,), found.parts["mean"], found.parts["variance"]))
    scaled = preprocessing_of(steps) if len(steps) > 1 else {}
    return Foreign(
        form,
        layers,
        padding,
        _EPSILON,
        preprocessing={**TENSORFLOW_INPUT, **scaled},
        own=OWN,
        ignored=tuple(ignored),
        notes=(_assumed(told, padding, bool(scaled)), *[_SCALED] * bool(scaled)),
        headless=headless,
    )


def _described(form: str, owned: Sequence[StoredLayer], described: Described, ignored: Sequence[str]) -> Foreign:
    """Put the weights into the operations of a model_config, and make the layers that these are."""
    listed, given = (Counter(x.kind for x in xs) for xs in (described.layers, owned))
    if listed != given:
        raise InputError(
            f"its model_config lists {_counts(listed)} and its weights are of {_counts(given)}; "
            "give the file as Keras wrote it"
        )
    queues = {kind: iter([named for named in described.layers if named.kind == kind]) for kind in listed}
    weights: dict[int, Layer | tuple[Array, Array]] = {}
    for found in owned:
        place = next(queues[found.kind]).place
        parts = found.parts
        weights[place] = (parts["mean"], parts["variance"]) if found.kind == "scale" else _make(found)
    graph = Translation(described, weights)
    simplified = simplify(graph.operations, graph.outputs)
    traced, folded = trace(simplified, form, tensorflow=True), simplified.folded
    told, scores = traced.foreign, traced.scores
    layers, notes = told.layers, [*dict.fromkeys(graph.notes), *told.notes, *[_SCALED] * bool(told.preprocessing)]
    if folded.parts:
        notes.append(f"its head ({', '.join(folded.parts)}) is folded into one linear layer that computes the same")
    if folded.ends == "sigmoid" and scores == 1:
        layers = (*layers[:-1], two_classes(layers[-1]))
        notes.append("its one sigmoid score p is made into the scores of two classes, 1 - p and p, in this order")
    used = {layer.name for layer in layers}
    left = [layer.name for layer in weights.values() if isinstance(layer, Layer) and layer.name not in used]
    return replace(
        told,
        layers=layers,
        size=graph.size,
        preprocessing={**TENSORFLOW_INPUT, **told.preprocessing, **graph.resize},
        own=OWN,
        ignored=(*ignored, *(left if told.headless else ())),
        notes=tuple(notes),
        assumed=(
            f"its {scores} outputs end in no softmax and are taken for the scores of {scores} classes; "
            "if they are anything else (quantities, say), the answers mean nothing",
        )
        * (scores > 1 and not folded.ends),
    )


def _assumed(told: bool, padding: str, scaled: bool) -> str:
    pixels = "" if scaled else "pixels from -1 to 1, "
    why = "its config does not list its layers" if told else "weights alone do not tell how they are used"
    return (
        f"{why}: assumed are {pixels}epsilon {_EPSILON}, the paper's activations, strides, shortcuts and wiring, "
        f"with the padding {padding!r}, and average pooling, one Dense layer and softmax as its head"
    )


def natural(name: str) -> tuple[tuple[str, int], ...]:
    """Sort key in which conv2d, conv2d_1, conv2d_2, conv2d_10 are in order."""
    pieces = re.findall(r"(\D+)(\d{0,18})", name if name[:1].isalpha() else f"_{name}")
    return tuple((text.rstrip("_"), int(number or -1)) for text, number in pieces)


_ROLES = {"expand": 0, "depthwise": 1, "project": 2, "dw": 0, "pw": 1}
_KNOWN: tuple[tuple[str, Callable[[re.Match[str]], tuple[int, int]]], ...] = (
    (r"(?:conv1|Conv1|conv1_bn|bn_Conv1)", lambda m: (-1, 0)),
    (r"conv_(dw|pw)_(\d{1,3})(?:_bn)?", lambda m: (int(m[2]), _ROLES[m[1]])),
    (r"expanded_conv_(expand|depthwise|project)(?:_BN)?", lambda m: (0, _ROLES[m[1]])),
    (r"block_(\d{1,3})_(expand|depthwise|project)(?:_BN)?", lambda m: (int(m[1]), _ROLES[m[2]])),
    (r"Conv_1(?:_bn)?", lambda m: (1000, 0)),
    (r"(?:conv_preds|predictions|Logits|dense(?:_\d+)?)", lambda m: (1001, 0)),
)


def known_place(name: str) -> tuple[int, int] | None:
    """Where a layer of keras.applications' MobileNets stands, by its name, whatever prefix that has."""
    for pattern, place in _KNOWN:
        if match := re.fullmatch(rf"(?:.*[^A-Za-z])??{pattern}", name):
            return place(match)
    return None


def _make(layer: StoredLayer) -> Layer:
    name, parts = layer.name, layer.parts
    if layer.kind == "norm":
        return norm(name, parts.get("gamma"), parts.get("beta"), parts["moving_mean"], parts["moving_variance"])
    if layer.kind == "depthwise":
        kernel = parts["depthwise_kernel"] if "depthwise_kernel" in parts else parts["kernel"]
        return depthwise_hwcm(name, kernel, parts.get("bias"))
    if layer.kind == "conv":
        return conv_hwio(name, parts["kernel"], parts.get("bias"))
    return linear(name, parts["kernel"].T, parts.get("bias"))


def _counts(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())) or "nothing"
