"""From the arrays of a Keras file to ``Foreign``, whichever of its formats they came in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from mobilenets.errors import InputError
from mobilenets.weights.keras.config import Described, Named, habitual_padding
from mobilenets.weights.keras.head import NotLinear, fold
from mobilenets.weights.keras.scaling import Affine, joined, normalization
from mobilenets.weights.layers import (
    KINDS,
    TENSORFLOW_INPUT,
    Foreign,
    Layer,
    conv,
    conv_hwio,
    depthwise_hwcm,
    linear,
    norm,
    of_kind,
    two_classes,
)

# Of BatchNormalization in Keras, and in keras.applications.
_EPSILON = 1e-3
_NORM = {"gamma", "beta", "moving_mean", "moving_variance"}
# Keras's names for the weights that a MobileNet has.
PARTS = {*_NORM, "kernel", "depthwise_kernel", "bias"}
# image_dataset_from_directory and load_img stretch pictures to the size asked for, unless told otherwise.
OWN: Mapping[str, Any] = {"resize": "stretch"}


@dataclass(frozen=True)
class Found:
    """The arrays of one layer of a file, by Keras's names for them. ``kind``: also ``scaling``, of a Normalization."""

    name: str
    kind: str
    parts: Mapping[str, npt.NDArray[Any]]


def layer_of(path: Path, name: str, parts: Mapping[str, npt.NDArray[Any]]) -> Found:
    """Tell the kind of a layer by the names and shapes of its arrays; InputError if a MobileNet has no such layer."""
    kind = _kind(parts)
    if kind is None:
        held = ", ".join(f"{part[:30]} {array.shape}" for part, array in list(parts.items())[:4])
        raise InputError(
            f"{path}: {name[:100]!r} holds {held!r}, as no layer of a MobileNet does; give a MobileNet's weights"
        )
    return Found(name, kind, parts)


def _kind(parts: Mapping[str, npt.NDArray[Any]]) -> str | None:
    names = set(parts)
    if {"moving_mean", "moving_variance"} <= names <= _NORM:
        return "norm"
    if names == {"mean", "variance"}:
        return "scaling"
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
    path: Path,
    form: str,
    owned: Sequence[Found],
    described: Described | None,
    ignored: Sequence[str],
    *,
    told: bool = False,
    headless: str = "",
) -> Foreign:
    """Make the layers, each kind in the order of ``owned``; raises InputError, one line that begins with ``path``.

    ``told``: whether the file has a config, also one that does not list its layers. ``headless``: why what stands
    behind the body is no classifier, where the file tells it beside its layers.
    """
    if described is not None:
        listed, given = (Counter(x.kind for x in xs) for xs in (described.layers, owned))
        if listed != given:
            raise InputError(
                f"{path}: its model_config lists {_counts(listed)} and its weights are of {_counts(given)}; "
                "give the file as Keras wrote it"
            )
    try:
        layers, left, of_head, scores = _layers(owned, described)
        # Those of the pictures come first; more may stand behind the body.
        scalings = [layer for layer in owned if layer.kind == "scaling"]
        steps = (None,) * len(scalings) if described is None else described.steps
        preprocessing, notes = _preprocessing(steps, scalings)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, ArithmeticError) as error:
        raise InputError(
            f"{path}: the pixel scaling inside it is not one simple factor per channel; remove it"
        ) from error
    if not layers:
        raise InputError(f"{path}: no convolution weights in it; give a MobileNet saved by Keras")
    if described is None:
        padding = habitual_padding(len(of_kind(layers, "conv")), len(of_kind(layers, "depthwise")))
        notes = (_assumed(told, padding, bool(scalings)), *notes)
        return Foreign(
            form,
            layers,
            padding,
            _EPSILON,
            preprocessing=preprocessing,
            own=OWN,
            ignored=tuple(ignored),
            notes=notes,
            headless=headless,
        )
    return Foreign(
        format=form,
        layers=layers,
        padding=described.padding,
        epsilon=_EPSILON if described.epsilon is None else described.epsilon,
        strides=described.strides,
        size=described.size,
        preprocessing={**preprocessing, **described.resize},
        own=OWN,
        ignored=(*ignored, *left),
        notes=(*described.notes, *notes, *of_head),
        assumed=(
            f"its {scores} outputs end in no softmax and are taken for the scores of {scores} classes; if they are "
            "anything else (quantities, say), the answers mean nothing",
        )
        * (scores > 1),
    )


def _layers(owned: Sequence[Found], described: Described | None) -> tuple[tuple[Layer, ...], list[str], list[str], int]:
    """Make the layers, of those behind the body one.

    Also give the names of what is left out, notes, and how many outputs end in nothing.
    """
    if described is None:
        return tuple(_make(found) for found in owned if found.kind != "scaling"), [], [], 0
    queues: dict[str, Iterator[Named]] = {
        kind: iter([named for named in described.layers if named.kind == kind]) for kind in (*KINDS, "scaling")
    }
    layers: list[Layer] = []
    behind: dict[int, Found] = {}
    for found in owned:
        named = next(queues[found.kind])
        if named.place >= 0:
            behind[named.place] = found
        elif found.kind != "scaling":
            layer = _make(found)
            if found.kind == "linear":  # between pooling and classifier
                layer = conv(layer.name, layer.arrays["weight"][:, :, None, None], layer.arrays.get("bias"))
            layers.append(replace(layer, activation=named.activation))
    if not of_kind(layers, "conv"):
        return tuple(layers), [], [], 0
    try:
        head, notes, scores = _head(behind, described, of_kind(layers, "conv")[-1].arrays["weight"].shape[0])
    except NotLinear as reason:
        left = [found.name for found in behind.values()]
        return tuple(layers), left, [f"no classifier: {reason}. The body is kept, to be trained further"], 0
    return (*layers, *head), [], notes, scores


def _head(behind: Mapping[int, Found], described: Described, features: int) -> tuple[list[Layer], list[str], int]:
    """Make the linear layer, if any, that stands behind the body, with notes and the number of outputs that end in
    nothing; raises NotLinear for another head.
    """
    parts = {place: found.parts for place, found in behind.items()}
    classifier = fold(described.ops, described.outputs, parts, features, described.side)
    if classifier is None:
        return [], [], 0
    last = max(place for place, found in behind.items() if found.kind in ("linear", "conv"))
    # A single layer stays as it is.
    whole = len(classifier.names) > 1
    layer = linear(behind[last].name, classifier.weight, classifier.bias) if whole else _make(behind[last])
    notes = []
    if len(classifier.names) > 1:
        notes.append(f"its head ({', '.join(classifier.names)}) is folded into one linear layer that computes the same")
    if classifier.ends == "sigmoid":
        layer = two_classes(layer)
        notes.append("its one sigmoid score p is made into the scores of two classes, 1 - p and p, in this order")
    return [layer], notes, 0 if classifier.ends else len(classifier.weight)


def _assumed(told: bool, padding: str, scaled: bool) -> str:
    pixels = "" if scaled else "pixels from -1 to 1, "
    why = "its config does not list its layers" if told else "weights alone do not tell how they are used"
    return (
        f"{why}: assumed are {pixels}ReLU6, epsilon {_EPSILON}, the paper's strides, shortcuts and wiring, "
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


def _make(layer: Found) -> Layer:
    name, parts = layer.name, layer.parts
    if layer.kind == "norm":
        return norm(name, parts.get("gamma"), parts.get("beta"), parts["moving_mean"], parts["moving_variance"])
    if layer.kind == "depthwise":
        kernel = parts["depthwise_kernel"] if "depthwise_kernel" in parts else parts["kernel"]
        return depthwise_hwcm(name, kernel, parts.get("bias"))
    if layer.kind == "conv":
        return conv_hwio(name, parts["kernel"], parts.get("bias"))
    return linear(name, parts["kernel"].T, parts.get("bias"))


def _scaling(layer: Found) -> Affine:
    mean, variance = (layer.parts[part].reshape(-1) for part in ("mean", "variance"))
    if max(mean.size, variance.size) > 3:
        raise ValueError("not one value per channel")
    return normalization(mean.tolist(), variance.tolist())


def _preprocessing(
    steps: Sequence[Affine | None], scalings: Sequence[Found]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Join the steps on pixels inside the model, those of Normalization layers filled in."""
    if not steps:
        return TENSORFLOW_INPUT, ()
    fill = iter(scalings)
    mean, std = joined([_scaling(next(fill)) if step is None else step for step in steps])
    note = (
        "the layers that scale pixels inside the model became part of the preprocessing, which takes pixels from 0 to "
        "255"
    )
    return {**TENSORFLOW_INPUT, "mean": mean, "std": std}, (note,)


def _counts(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())) or "nothing"
