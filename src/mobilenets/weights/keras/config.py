"""What a Keras model_config says: its layers in forward order, as the operations of ``weights.graph``.

Keras 2 and 3 write the same tree: a model has ``layers``, each with ``class_name`` and ``config``, listed in forward
order; a nested model is a layer with ``layers`` of its own. Nothing of it is run. A layer that our networks do not
have is refused, since leaving it out would compute something else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobilenets.errors import InputError
from mobilenets.pictures.preprocess import INTERPOLATIONS
from mobilenets.weights.graph.body import Body
from mobilenets.weights.graph.ops import Array, GraphError, Op, affine
from mobilenets.weights.keras.graph import MODELS, Call, follow, is_model, spelt
from mobilenets.weights.keras.passing import PASSING, PIXELS

WEIGHTED = {
    "Conv2D": "conv",
    "DepthwiseConv2D": "depthwise",
    "BatchNormalization": "norm",
    "Dense": "linear",
    "Normalization": "scale",
}
# Operators of Keras 3 (keras.src.ops.numpy), by class; of TensorFlow's Keras 2, by the function of a TFOpLambda.
_OPERATORS = {
    "TrueDivide": "/", "Divide": "/", "Multiply": "*", "Add": "+", "Subtract": "-",
    "math.truediv": "/", "math.divide": "/", "math.multiply": "*", "math.add": "+", "math.subtract": "-",
    "__operators__.truediv": "/", "__operators__.mul": "*", "__operators__.add": "+", "__operators__.sub": "-",
}  # fmt: skip
_JOINS = {"+": "add", "-": "subtract"}
# Layers and operators that need no settings.
_PLAIN = {
    **dict.fromkeys((*PASSING, "cast"), "same"),
    **dict.fromkeys(("GlobalMaxPooling2D", "MaxPooling2D"), "max"),
    **dict.fromkeys(("Flatten", "Squeeze"), "flatten"),
    "GlobalAveragePooling2D": "mean",
    "Average": "average",
}
_FUNCTIONS = {
    "Relu6": "relu6", "nn.relu6": "relu6", "LeakyReLU": "leaky_relu",
    "LogSoftmax": "log_softmax", "log_softmax": "log_softmax", "nn.log_softmax": "log_softmax",
    "Softmax": "softmax", "softmax": "softmax", "nn.softmax": "softmax",
    "Sigmoid": "sigmoid", "sigmoid": "sigmoid", "math.sigmoid": "sigmoid", "nn.sigmoid": "sigmoid",
}  # fmt: skip
_MALFORMED = "its model_config is malformed; give the file as Keras wrote it"
_REBUILD = "build the model without it, copy the weights (set_weights) and save that"


@dataclass(frozen=True)
class Named:
    """A layer with weights, which are to be put into ``op``. ``path`` and ``store`` are those of its call."""

    kind: str
    path: tuple[str, ...]
    store: str
    op: Op
    scale: bool = True
    center: bool = True


@dataclass(frozen=True)
class Described:
    """A model_config, read. ``outputs`` are places among the ``ops``, which want their weights still."""

    layers: tuple[Named, ...]
    ops: tuple[Op, ...]
    outputs: tuple[int, ...]
    body: Body
    padding: str
    size: int | None
    notes: tuple[str, ...]
    resize: Mapping[str, Any]  # fields of Preprocessing that layers of the model tell
    others: frozenset[tuple[str, ...]]  # paths of the layers of other kinds, which may have weights, too

    def unknown(self, layer: str) -> set[str]:
        """Names of the layers of other kinds within one layer of the whole model."""
        known = {named.path[-1] for named in self.layers if named.path[0] == layer}
        return {path[-1] for path in self.others if path[0] == layer} - known


def describe(path: Path, text: str) -> Described | None:
    """Read a model_config; None where it is of a model class that does not list its layers.

    Raises InputError for one that is malformed, or holds what no MobileNet has; Lambda layers are never run.
    """
    try:
        model = json.loads(text)
        if model["class_name"] not in MODELS and not is_model(model):
            return None
        return _Reader().read(*follow(model))
    except GraphError as error:
        raise InputError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
        raise InputError(f"{path}: {_MALFORMED}") from error


class _Reader:
    """Turns the calls of layers into operations; ``size`` is that of the pictures so far."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.layers: list[Named] = []
        self.notes: list[str] = []
        self.resize: dict[str, Any] = {}
        self.size: int | None = None
        self.convolved = False

    def read(self, calls: Sequence[Call], outputs: Sequence[int]) -> Described:
        ends: list[int] = []  # of each call, the place of its last operation
        for call in calls:
            inputs = tuple(ends[place] for place in call.inputs)
            try:
                op = self.convert(call, inputs)
            except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError):
                op = _op(call, "other", inputs, unfit=_MALFORMED)
            self.ops.append(op)
            self.convolved = self.convolved or op.kind in ("conv", "depthwise")
            config = call.layer["config"]
            if op.kind in WEIGHTED.values() and call.kind in WEIGHTED and op.scale is None:
                flags = bool(config.get("scale", True)), bool(config.get("center", True))
                self.layers.append(Named(op.kind, call.path, call.store, op, *flags))
            if op.kind in ("conv", "depthwise", "linear") and spelt(config.get("activation")) != "linear":
                self.ops.append(_activation(call, (len(self.ops) - 1,), spelt(config["activation"])))
            ends.append(len(self.ops) - 1)
        body = Body(self.ops, [ends[place] for place in outputs])
        affine([step for step in body.pictures if step.scale is not None], 3)
        padding = body.padding
        first = body.units[0].window if body.units else None
        if padding == "keras" and first and first.zeros is not None and (first.op.kind, first.side) == ("conv", None):
            self.notes.append("its first convolution is padded only at the end; here, at odd sizes, at both ends")
        return Described(
            layers=tuple(self.layers),
            ops=tuple(self.ops),
            outputs=tuple(ends[place] for place in outputs),
            body=body,
            padding=padding,
            size=self.size,
            notes=tuple(dict.fromkeys(self.notes)),
            resize=self.resize,
            others=frozenset(call.path for call in calls if call.kind not in WEIGHTED),
        )

    def convert(self, call: Call, inputs: tuple[int, ...]) -> Op:
        """Give the operation that one call is."""
        kind, config = call.kind, call.layer["config"]

        def op(kind: str, **settings: Any) -> Op:
            return _op(call, kind, inputs, **settings)

        if kind == "Lambda":
            reason = f"it has a Lambda layer, {call.path[-1][:100]!r}, which is code and is never run; where it only "
            return op(
                "other",
                unfit=f"{reason}scales pixels, build the model with Rescaling in its place, copy the weights "
                "(set_weights) and save that",
            )
        if isinstance(config.get("layer"), dict):
            reason = f"its {call.path[-1][:100]!r} ({kind[:100]}) wraps another layer, as for a row of pictures or "
            return op("other", unfit=f"{reason}for training; save the model inside it")
        self.take_size(config)
        if kind == "InputLayer":
            return op("input", size=self.size, unfit=_channels(config))
        if kind in ("Conv2D", "DepthwiseConv2D"):
            return op(WEIGHTED[kind], size=self.size, **_convolution(config))
        if kind == "Dense":
            return op("linear")
        if kind == "BatchNormalization":
            return op("norm", epsilon=float(config["epsilon"]))
        if kind == "Normalization":
            told = config.get("mean") is not None
            scale, shift = normalization(config["mean"], config["variance"]) if told else (None, None)
            unfit = "it has an inverted Normalization layer" if config.get("invert") else ""
            return op("scale", scale=scale, shift=shift, unfit=unfit)
        if kind == "Rescaling":
            return op("scale", scale=_numbers(config["scale"]), shift=_numbers(config["offset"]))
        if kind == "ZeroPadding2D":
            return op("pad", **_zero_padding(config["padding"]))
        if kind in ("Resizing", "CenterCrop", "RandomCrop"):
            return self.resizing(call, op, config)
        if kind in PIXELS:
            reason = f"its {call.path[-1][:100]!r} ({kind}) changes each picture by its content even at inference"
            return op("other", unfit=f"{reason}, which the preprocessing here cannot do; {_REBUILD}")
        if kind == "Activation":
            return _activation(call, inputs, spelt(config["activation"]))
        if kind == "ReLU":
            return _activation(call, inputs, _rectifier(config))
        if kind in _FUNCTIONS:
            plain = config.get("axis", -1) in (-1, [-1])
            return _activation(call, inputs, _FUNCTIONS[kind] if plain else f"{kind} of another axis")
        if kind == "AveragePooling2D":
            windows = [_sides(config.get(key) or config["pool_size"]) for key in ("pool_size", "strides")]
            (window, across), (stride, _) = windows
            return op("pool", window=window if window == across else 0, stride=stride)
        if kind == "Reshape":
            return op("reshape", channels=max(config["target_shape"][-1], 0))
        if kind in _OPERATORS and (found := _operator(call, inputs)):
            return op(**found)
        if kind == "Mean" and config.get("axis") in ([1, 2], [-3, -2]):
            return op("mean")
        if kind == "Concatenate" and config.get("axis", -1) in (-1, 1, 3):
            return op("concat")
        if kind in _PLAIN:
            return op(_PLAIN[kind])
        if call.layer["class_name"] == "TFOpLambda" or (kind in _OPERATORS and "trainable" not in config):
            return op("other", unfit=f"it calls the function {kind[:100]!r}, which no MobileNet needs")
        return op("other", unfit=f"it has a {kind[:100]!r} layer, {call.path[-1][:100]!r}, which no MobileNet has")

    def take_size(self, config: Mapping[str, Any]) -> None:
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

    def resizing(self, call: Call, op: Callable[..., Op], config: Mapping[str, Any]) -> Op:
        """Take a layer that changes the size of pictures as part of the preprocessing."""
        name, label = call.kind, call.path[-1][:100]
        side = int(config["height"]) if config["height"] == config["width"] else None
        if self.convolved:
            return op("other", unfit=f"its {label!r} ({name}) changes the size of its map")
        if name != "Resizing" and side is not None and side == self.size:
            return op("same")
        if name == "RandomCrop" and "module" in call.layer:  # of Keras 3, which crops in training only
            return op("same")
        if name == "CenterCrop":
            if side is None or self.size is None or side > self.size or self.resize.get("resize") != "crop":
                reason = f"its {label!r} (CenterCrop) crops pictures that were stretched or of any size, which the "
                return op("other", unfit=f"{reason}preprocessing here cannot do; {_REBUILD}")
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
        return op("resize", size=side)


def normalization(mean: Any, variance: Any) -> tuple[Array, Array]:
    """What a Normalization layer does (keras.layers.Normalization.call), as scale and shift."""
    scale = 1 / np.maximum(np.sqrt(_numbers(variance)), 1e-7)
    return scale, -_numbers(mean) * scale


def _op(call: Call, kind: str, inputs: tuple[int, ...], **settings: Any) -> Op:
    name = call.path[-1]
    return Op(kind, name, repr(name[:100]), inputs, **{"what": call.kind[:100], **settings})


def _activation(call: Call, inputs: tuple[int, ...], function: str) -> Op:
    return _op(call, "activation", inputs, function=function, what=f"{call.kind[:100]}, {function[:50]}")


def _rectifier(config: Mapping[str, Any]) -> str:
    most, slope, threshold = (config.get(key) for key in ("max_value", "negative_slope", "threshold"))
    if most == 6 and not slope and not threshold:
        return "relu6"
    if threshold or (most not in (None, 0) and most < 6):
        return "clipped"
    return "leaky_relu" if slope else "relu"


def _channels(config: Mapping[str, Any]) -> str:
    """Say why pictures are not RGB; empty where they are."""
    shape = config.get("batch_shape", config.get("batch_input_shape"))
    if not isinstance(shape, list) or len(shape) != 4 or 3 in (shape[1], shape[3]) or shape[3] is None:
        return ""
    return (
        f"it takes pictures with {shape[1] if shape[1] == 1 else shape[3]} channels, and here they have 3 (RGB); "
        "give a model made for colour pictures"
    )


def _convolution(config: Mapping[str, Any]) -> dict[str, Any]:
    kernel, stride = (_square(config[key]) for key in ("kernel_size", "strides"))
    plain = _square(config.get("dilation_rate", 1)) == 1 and config.get("groups", 1) in (1, None)
    return {
        "kernel": kernel,
        "stride": stride,
        "channels": int(config.get("filters", 0)),
        "zeros": (0, 0) if config["padding"] == "valid" else None,
        "unfit": "" if plain else f"{str(config['name'])[:100]!r} is dilated or grouped",
    }


def _zero_padding(padding: Any) -> dict[str, Any]:
    rows, columns = ((side, side) if isinstance(side, int) else tuple(side) for side in padding)
    unfit = "" if rows == columns else "its ZeroPadding2D differs in height and width"
    return {"zeros": (int(rows[0]), int(rows[1])), "unfit": unfit}


def _operator(call: Call, inputs: tuple[int, ...]) -> dict[str, Any]:
    """An arithmetic operator, on a tensor and a constant or on several tensors; empty for what it cannot be."""
    sign = _OPERATORS[call.kind]
    layer = call.layer["class_name"] != "TFOpLambda" and "trainable" in call.layer["config"]
    called_with = [] if layer else _constants(call.layer["inbound_nodes"])
    if len(called_with) != 1:
        joins = sign == "+" or (sign == "-" and len(inputs) > 1)
        return {"kind": _JOINS[sign]} if joins else {}
    ((first, figures),) = called_with
    one, nothing = np.ones(1), np.zeros(1)
    if sign in "*/":
        if sign == "/" and first:
            raise ValueError("no scaling")
        return {"kind": "scale", "scale": figures if sign == "*" else 1 / figures, "shift": nothing}
    turned = sign == "-"
    return {
        "kind": "scale",
        "scale": -one if turned and first else one,
        "shift": -figures if turned and not first else figures,
    }


def _constants(nodes: Any) -> list[tuple[bool, Array]]:
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


def _numbers(value: Any) -> Array:
    """A constant: a number, nested lists of them, or an array that Keras wrote as a dictionary; as one row."""
    if isinstance(value, dict):
        value = value["config"]["value"]
    return np.array(value, np.float64).reshape(-1)


def _sides(value: Any) -> tuple[int, int]:
    sides = [value, value] if isinstance(value, int) else list(value)
    if len(sides) != 2 or not all(isinstance(side, int) and 1 <= side < math.inf for side in sides):
        raise ValueError("no pair of sides")
    return sides[0], sides[1]


def _square(value: Any) -> int:
    rows, columns = _sides(value)
    if rows != columns or rows > 1000:
        raise ValueError("not square")
    return rows
