"""torchvision's ``ssdlite320_mobilenet_v3_large`` by its names (``models/detection/ssdlite.py``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mobilenets.errors import InputError
from mobilenets.models.detection.anchors import torchvision_shapes
from mobilenets.weights.detector import Found, extras_of
from mobilenets.weights.layers import TENSORFLOW_INPUT, Foreign, Layer
from mobilenets.weights.pytorch.order import natural

_BODY, _EXTRA = re.compile(r"backbone\.features\.\d"), re.compile(r"backbone\.extra\.\d")
_HEADS = ("regression_head", "classification_head")
_HEAD = re.compile(r"head\.(regression_head|classification_head)\.module_list\.(\d+)\.")
SIZE = 320
# What its builder sets; torchvision takes up to 300 boxes a picture, as here.
_FIELDS: Mapping[str, Any] = {"iou": 0.55, "least_score": 0.001, "most": 300}


def is_ssdlite(names: Iterable[str]) -> bool:
    """Whether arrays have the names of torchvision's SSDs on a MobileNet."""
    found = set(names)
    return any(_HEAD.search(name) for name in found) and any(_EXTRA.search(name) for name in found)


def foreign(form: str, layers: Mapping[str, Layer]) -> Foreign:
    """Group the layers into body, extras and heads; raises ``InputError`` for what is none of these."""
    body: list[Layer] = []
    extras: list[Layer] = []
    heads: dict[tuple[int, int], list[Layer]] = {}
    for name in natural(layers):  # the order of torchvision's forward pass
        layer = layers[name]
        if match := _HEAD.search(name):
            heads.setdefault((int(match[2]), _HEADS.index(match[1])), []).append(layer)
        elif _BODY.search(name) or _EXTRA.search(name):
            (body if _BODY.search(name) else extras).append(layer)
        else:
            raise InputError(f"{name[:100]!r} is no part of torchvision's ssdlite320_mobilenet_v3_large")
    maps = 1 + max(place for place, _ in heads)
    wanted = [(place, part) for place in range(maps) for part in range(2)]
    kinds = {tuple(layer.kind for layer in parts) for parts in heads.values()}
    if sorted(heads) != wanted or kinds != {("depthwise", "norm", "conv")}:
        raise InputError("its heads are not those of torchvision's ssdlite320_mobilenet_v3_large")
    return Foreign(
        format=f"{form} of torchvision",
        layers=tuple(body),
        padding="symmetric",
        epsilon=1e-3,
        size=SIZE,
        preprocessing={**TENSORFLOW_INPUT, "resize": "stretch", "interpolation": "linear"},
        activations=("relu", "hard_swish"),
        assumed=("its size, anchors and padding, as torchvision builds it: weights alone do not tell",),
        behind=(*extras, *(layer for key in wanted for layer in heads[key])),
        detection=Found(torchvision_shapes(maps), extras_of(extras), fields=_FIELDS).detection,
    )
