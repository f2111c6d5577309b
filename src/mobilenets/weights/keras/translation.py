"""The calls of a Keras model_config as ``weights.operations``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mobilenets.pictures.preprocess import INTERPOLATIONS
from mobilenets.weights import operations as ops
from mobilenets.weights.keras.config import MALFORMED, Described, foreign_code, other_channels
from mobilenets.weights.keras.graph import Call, spelt
from mobilenets.weights.keras.passing import PASSING, PIXELS
from mobilenets.weights.layers import Layer

# Operators of Keras 3 (keras.src.ops.numpy), by class; of TensorFlow's Keras 2, by the function of a TFOpLambda.
_OPERATORS = {
    "TrueDivide": "/", "Divide": "/", "Multiply": "*", "Add": "+", "Subtract": "-",
    "math.truediv": "/", "math.divide": "/", "math.multiply": "*", "math.add": "+", "math.subtract": "-",
    "__operators__.truediv": "/", "__operators__.mul": "*", "__operators__.add": "+", "__operators__.sub": "-",
}  # fmt: skip
# Functions by Keras's names: those of layers, of operators and of activations.
_FUNCTIONS = {
    "nn.relu6": "relu6", "Relu6": "relu6", "Relu": "relu", "nn.relu": "relu", "LeakyReLU": "leaky_relu",
    "LogSoftmax": "log_softmax", "log_softmax": "log_softmax", "nn.log_softmax": "log_softmax",
    "Softmax": "softmax", "softmax": "softmax", "nn.softmax": "softmax",
    "Sigmoid": "sigmoid", "sigmoid": "sigmoid", "math.sigmoid": "sigmoid", "nn.sigmoid": "sigmoid",
    "hard_silu": "hard_swish", "HardSilu": "hard_swish", "HardSwish": "hard_swish", "HardSigmoid": "hard_sigmoid",
}  # fmt: skip
_REBUILD = "build the model without it, copy the weights (set_weights) and save that"

Weights = Mapping[int, Layer | tuple[ops.Array, ops.Array]]


class Translation:
    """The calls of a model_config as ``operations``, with the weights of each by its place.

    Those of a Normalization are its mean and variance. ``outputs`` are the places of what the model gives, ``resize``
    the fields of Preprocessing that layers of the model tell.
    """

    def __init__(self, described: Described, weights: Weights) -> None:
        self.operations: list[ops.Operation] = []
        self.notes: list[str] = []
        self.resize: dict[str, Any] = {}
        self.size: int | None = None
        self.convolved = False
        ends: list[int] = []  # of each call, the place of its last operation
        for place, call in enumerate(described.calls):
            inputs = tuple(ends[source] for source in call.inputs)
            try:
                end = self._translate(call, inputs, weights.get(place))
            except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError):
                end = self._unknown(call, inputs, MALFORMED)
            ends.append(end)
        self.outputs = [ends[place] for place in described.outputs]

    def _add(self, operation: ops.Operation) -> int:
        self.operations.append(operation)
        return len(self.operations) - 1

    def _unknown(self, call: Call, inputs: tuple[int, ...], reason: str) -> int:
        return self._add(ops.Unknown(call.path[-1], inputs, reason))

    def _translate(
        self, call: Call, inputs: tuple[int, ...], weights: Layer | tuple[ops.Array, ops.Array] | None
    ) -> int:
        """Add the operations that one call is; give the place of the last."""
        kind, config, name = call.kind, call.layer["config"], call.path[-1]
        if reason := foreign_code(call) or other_channels(call):
            return self._unknown(call, inputs, reason)
        self._take_size(config)
        if kind == "InputLayer" or not inputs:
            picture = self._add(ops.Picture(name, (), _square(self.size), channels_last=True))
            if kind == "InputLayer":
                return picture
            inputs = (picture,)
        if isinstance(weights, Layer):
            return self._weighted(call, inputs, weights)
        if kind == "Normalization":
            mean, variance = weights or (_numbers(config["mean"]), _numbers(config["variance"]))
            if config.get("invert"):
                return self._unknown(call, inputs, "it has an inverted Normalization layer")
            return self._add(normalization(name, inputs, mean, variance))
        if kind == "Rescaling":
            return self._add(ops.Affine(name, inputs, _numbers(config["scale"]), _numbers(config["offset"])))
        if kind == "ZeroPadding2D":
            (top, bottom), (left, right) = ((s, s) if isinstance(s, int) else s for s in config["padding"])
            return self._add(ops.Pad(name, inputs, ((int(top), int(bottom)), (int(left), int(right)))))
        if kind in ("Resizing", "CenterCrop", "RandomCrop"):
            reason = self._resize(call, config)
            return self._unknown(call, inputs, reason) if reason else inputs[0]
        if kind == "Activation":
            return self._activate(call, inputs, spelt(config["activation"]))
        if kind == "ReLU":
            return self._rectify(call, inputs, config)
        if kind in _FUNCTIONS:
            plain = config.get("axis", -1) in (-1, [-1])
            return self._activate(call, inputs, kind if plain else f"{kind} over another axis")
        if kind in _OPERATORS and (found := _operator(call, inputs)) is not None:
            return self._add(found)
        if kind == "GlobalAveragePooling2D" or (kind == "Mean" and config.get("axis") in ([1, 2], [-3, -2])):
            return self._add(ops.MeanPool(name, inputs))
        if kind == "AveragePooling2D":
            (window, across), (stride, _) = (
                _sides(config.get(x) or config["pool_size"]) for x in ("pool_size", "strides")
            )
            return self._add(ops.AveragePool(name, inputs, window if window == across else 0, stride))
        if kind in ("Flatten", "Squeeze", "Reshape"):
            return self._add(ops.Flatten(name, inputs, channels_last=True)) if self.convolved else inputs[0]
        if kind == "Average" or (kind == "Concatenate" and config.get("axis", -1) in (-1, 1, 3)):
            return self._add(ops.Join(name, inputs, {"Average": "average"}.get(kind, "concat")))
        if kind in PASSING or kind == "cast":
            return inputs[0]
        return self._unknown(call, inputs, _why(call))

    def _weighted(self, call: Call, inputs: tuple[int, ...], layer: Layer) -> int:
        """Add a layer with weights, and the activation in it."""
        config, arrays = call.layer["config"], layer.arrays
        if layer.kind == "norm":
            scale, shift, mean, variance = (arrays[part] for part in ("weight", "bias", "running_mean", "running_var"))
            numbers = ops.BatchNorm(layer.name, scale, shift, mean, variance, float(config["epsilon"]))
            return self._add(ops.Norm(layer.name, inputs, numbers))
        weight, bias = arrays["weight"], arrays.get("bias")
        if layer.kind == "linear":
            place = self._add(ops.Linear(layer.name, inputs, weight, bias))
        else:
            self.convolved = True
            if _sides(config.get("dilation_rate", 1)) != (1, 1) or config.get("groups", 1) not in (1, None):
                return self._unknown(call, inputs, f"its {call.path[-1][:100]!r} is dilated or grouped")
            padding = ops.NO_PADDING if config["padding"] == "valid" else None
            groups = len(weight) if layer.kind == "depthwise" else 1
            stride = _sides(config["strides"])
            place = self._add(ops.Conv(layer.name, inputs, weight, bias, stride, padding, groups))
        function = spelt(config.get("activation"))
        return place if function == "linear" else self._activate(call, (place,), function)

    def _activate(self, call: Call, inputs: tuple[int, ...], name: str) -> int:
        function = _FUNCTIONS.get(name, name)
        if function == "linear":
            return inputs[0]
        if function in ("relu", "relu6"):
            return self._add(ops.Clip(call.path[-1], inputs, 0, 6 if function == "relu6" else math.inf))
        if function == "hard_sigmoid" and "module" not in call.layer:  # of Keras 2
            function = "hard sigmoid of slope 0.2"
        return self._add(ops.Activation(call.path[-1], inputs, function))

    def _rectify(self, call: Call, inputs: tuple[int, ...], config: Mapping[str, Any]) -> int:
        most, slope, threshold = (config.get(key) for key in ("max_value", "negative_slope", "threshold"))
        if slope or threshold:
            return self._add(ops.Activation(call.path[-1], inputs, "a ReLU with a slope or threshold"))
        return self._add(ops.Clip(call.path[-1], inputs, 0, math.inf if most is None else float(most)))

    def _take_size(self, config: Mapping[str, Any]) -> None:
        """Take the first square input shape that is told."""
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        if self.size is None and not self.convolved and isinstance(shape, list) and len(shape) == 4:
            height, width = shape[2:] if shape[1] in (1, 3) else shape[1:3]
            if height is not None and height == width:
                self.size = int(height)
            elif height != width:
                self.notes.append(
                    f"it was made for pictures of {width} × {height}, which are not square; here they are, so its "
                    "answers are others than in Keras (--size chooses the side)"
                )

    def _resize(self, call: Call, config: Mapping[str, Any]) -> str:
        """Take a layer that changes the size of pictures as part of the preprocessing; say why where it cannot be."""
        name, label = call.kind, call.path[-1][:100]
        side = int(config["height"]) if config["height"] == config["width"] else None
        if self.convolved:
            return f"its {label!r} ({name}) changes the size of its map"
        if name != "Resizing" and side is not None and side == self.size:
            return ""
        if name == "RandomCrop" and "module" in call.layer:  # of Keras 3, which crops in training only
            return ""
        if name == "CenterCrop":
            if side is None or self.size is None or side > self.size or self.resize.get("resize") != "crop":
                reason = f"its {label!r} (CenterCrop) crops pictures that were stretched or of any size, which the "
                return f"{reason}preprocessing here cannot do; {_REBUILD}"
            self.resize["crop_fraction"] *= side / self.size
        elif name == "RandomCrop" or config.get("crop_to_aspect_ratio"):
            self.resize |= {"resize": "crop", "crop_fraction": 1.0}
        elif config.get("pad_to_aspect_ratio"):
            self.resize |= {"resize": "pad", "fill": (int(config.get("fill_value", 0)),) * 3}
        else:
            self.resize["resize"] = "stretch"
        filter = str(config.get("interpolation", "bilinear"))
        known = {"lanczos3": "lanczos", "lanczos5": "lanczos", "area": "bilinear"}.get(filter, filter)
        if name == "Resizing" and known in INTERPOLATIONS:
            self.resize["interpolation"] = known
        self.size = side
        self.notes.append(
            f"a {name} layer inside the model is part of the preprocessing: pictures come at {side} pixels"
        )
        self.operations = [
            replace(one, side=_square(side)) if isinstance(one, ops.Picture) else one for one in self.operations
        ]
        return ""


def normalization(name: str, inputs: tuple[int, ...], mean: ops.Array, variance: ops.Array) -> ops.Affine:
    """What a Normalization layer does (keras.layers.Normalization.call)."""
    scale = 1 / np.maximum(np.sqrt(variance.reshape(-1).astype(np.float64)), 1e-7)
    return ops.Affine(name, inputs, scale, -mean.reshape(-1) * scale)


def _square(side: int | None) -> tuple[int, int] | None:
    return None if side is None else (side, side)


def _why(call: Call) -> str:
    """Say why a call has no place in a MobileNet."""
    name, kind = call.path[-1][:100], call.kind[:100]
    if kind in PIXELS:
        return (
            f"its {name!r} ({kind}) changes each picture by its content even at inference, which the preprocessing "
            f"here cannot do; {_REBUILD}"
        )
    if "MaxPooling" in kind:
        return f"its {name!r} ({kind}) takes the maximum of the map rather than its average"
    if call.layer["class_name"] == "TFOpLambda" or (
        # An operator of Keras 3; without "trainable" it is no layer of that name.
        kind in _OPERATORS and "trainable" not in call.layer["config"]
    ):
        return f"it calls the function {kind!r}, which no MobileNet needs"
    return f"it has a {kind!r} layer, {name!r}, which no MobileNet has"


def _operator(call: Call, inputs: tuple[int, ...]) -> ops.Operation | None:
    """An arithmetic operator, on a tensor and a constant or on several tensors; None for what it cannot be."""
    sign, name = _OPERATORS[call.kind], call.path[-1]
    layer = call.layer["class_name"] != "TFOpLambda" and "trainable" in call.layer["config"]
    called_with = [] if layer else _constants(call.layer["inbound_nodes"])
    if len(called_with) != 1:
        if sign == "/" or len(inputs) < 2 or (sign != "+" and len(inputs) > 2):
            return None
        if sign == "+" and len(inputs) == 2:
            return ops.Add(name, inputs)
        return (
            ops.Multiply(name, inputs) if sign == "*" else ops.Join(name, inputs, "add" if sign == "+" else "subtract")
        )
    ((first, figures),) = called_with
    one, nothing = np.ones(1), np.zeros(1)
    if sign in "*/":
        if sign == "/" and first:
            raise ValueError("no scaling")
        return ops.Affine(name, inputs, figures if sign == "*" else 1 / figures, nothing)
    turned = sign == "-"
    return ops.Affine(name, inputs, -one if turned and first else one, -figures if turned and not first else figures)


def _constants(nodes: Any) -> list[tuple[bool, ops.Array]]:
    """The constants that an operator is called with, by its ``inbound_nodes``, and whether each stands first."""
    if len(nodes) != 1:
        raise ValueError("an operator is called more than once")
    node = nodes[0]
    if isinstance(node, dict):  # Keras 3: {"args": [tensor, 127.5], "kwargs": {}}
        values = [*enumerate(node["args"]), *((1, value) for value in node["kwargs"].values() if value is not None)]
        return [(place == 0, _numbers(value)) for place, value in values if not _is_tensor(value)]
    # Keras 2: ["x", 0, 0, {"y": 127.5, "name": null}]; a constant that stands first is marked in place of a name.
    if node[0] == "_CONSTANT_VALUE":
        return [(True, _numbers(node[2]))]
    return [(False, _numbers(value)) for key, value in node[3].items() if key == "y" and not _is_tensor(value)]


def _is_tensor(value: Any) -> bool:
    """Whether an argument is the output of a layer: of Keras 3, or ["x", 0, 0] of Keras 2."""
    if isinstance(value, dict):
        return bool(value["class_name"] == "__keras_tensor__")
    return isinstance(value, list) and isinstance(value[0], str)


def _numbers(value: Any) -> ops.Array:
    """A constant: a number, nested lists of them, or an array that Keras wrote as a dictionary; as one row."""
    if isinstance(value, dict):
        value = value["config"]["value"]
    return np.array(value, np.float64).reshape(-1)


def _sides(value: Any) -> tuple[int, int]:
    sides = [value, value] if isinstance(value, int) else list(value)
    if len(sides) != 2 or not all(isinstance(side, int) and 1 <= side < math.inf for side in sides):
        raise ValueError("no pair of sides")
    return sides[0], sides[1]
