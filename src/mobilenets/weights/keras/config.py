"""What a Keras model_config says: its layers in forward order.

Keras 2 and 3 write the same tree: a model has ``layers``, each with ``class_name`` and ``config``, listed in forward
order; a nested model is a layer with ``layers`` of its own. Nothing of it is run. A layer that our networks do not
have is refused, since leaving it out would compute something else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from mobilenets.errors import InputError
from mobilenets.weights.keras.graph import MODELS, Call, follow, is_model

WEIGHTED = {
    "Conv2D": "conv",
    "DepthwiseConv2D": "depthwise",
    "BatchNormalization": "norm",
    "Dense": "linear",
    "Normalization": "scale",
}
MALFORMED = "its model_config is malformed; give the file as Keras wrote it"


@dataclass(frozen=True)
class WeightedLayer:
    """A layer with weights: the ``place`` of its call, with the call's ``path`` and ``store``."""

    kind: str
    path: tuple[str, ...]
    store: str
    place: int
    scale: bool = True
    center: bool = True


@dataclass(frozen=True)
class Described:
    """A model_config, read: its calls, the places of what it gives, and its layers with weights in forward order."""

    calls: tuple[Call, ...]
    outputs: tuple[int, ...]
    layers: tuple[WeightedLayer, ...]

    def unknown(self, layer: str) -> set[str]:
        """Names of the layers of other kinds, which may have weights, too, within one layer of the whole model."""
        inside = [call for call in self.calls if call.path[0] == layer]
        known = {call.path[-1] for call in inside if call.kind in WEIGHTED}
        return {call.path[-1] for call in inside} - known


def describe(text: str) -> Described | None:
    """Read a model_config; None where it is of a model class that does not list its layers.

    Raises InputError for one that is malformed, or holds what no MobileNet has; Lambda layers are never run.
    """
    try:
        model = json.loads(text)
        if model["class_name"] not in MODELS and not is_model(model):
            return None
        calls, outputs = follow(model)
        last = max((place for place, call in enumerate(calls) if call.kind == "DepthwiseConv2D"), default=len(calls))
        for call in calls[:last]:
            if reason := foreign_code(call) or other_channels(call):
                raise InputError(reason)
        layers = []
        for place, call in enumerate(calls):
            config = call.layer["config"]
            if call.kind in WEIGHTED and not (call.kind == "Normalization" and config.get("mean") is not None):
                flags = bool(config.get("scale", True)), bool(config.get("center", True))
                layers.append(WeightedLayer(WEIGHTED[call.kind], call.path, call.store, place, *flags))
        return Described(tuple(calls), tuple(outputs), tuple(layers))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
        raise InputError(MALFORMED) from error


def foreign_code(call: Call) -> str:
    """Say why a call is code, or a layer around another; empty where it is neither."""
    name, kind = call.path[-1][:100], call.kind
    if kind == "Lambda":
        return (
            f"it has a Lambda layer, {name!r}, which is code and is never run; where it only scales pixels, build the "
            "model with Rescaling in its place, copy the weights (set_weights) and save that"
        )
    if isinstance(call.layer["config"].get("layer"), dict):
        return (
            f"its {name!r} ({kind[:100]}) wraps another layer, as for a row of pictures or for training; save the "
            "model inside it"
        )
    return ""


def other_channels(call: Call) -> str:
    """Say why pictures are not RGB; empty where they are."""
    shape = call.layer["config"].get("batch_shape", call.layer["config"].get("batch_input_shape"))
    if call.kind != "InputLayer" or not isinstance(shape, list) or len(shape) != 4:
        return ""
    if 3 in (shape[1], shape[3]) or shape[3] is None:
        return ""
    return (
        f"it takes pictures with {shape[1] if shape[1] == 1 else shape[3]} channels, and here they have 3 (RGB); "
        "give a model made for colour pictures"
    )
