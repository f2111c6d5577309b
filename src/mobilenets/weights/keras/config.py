"""What a Keras model_config says: its layers in forward order, strides, padding, epsilon, input size and scaling.

Keras 2 and 3 write the same tree: a model has ``layers``, each with ``class_name`` and ``config``, listed in forward
order; a nested model is a layer with ``layers`` of its own. Nothing of it is run. A layer that our networks do not
have is refused, since leaving it out would compute something else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.errors import InputError
from mobilenets.weights.keras.graph import MODELS, Op, follow, is_model, spelt
from mobilenets.weights.keras.scaling import OPERATORS, Affine, constants, normalization, numbers, operator, rescaling
from mobilenets.weights.keras.wiring import Wiring

WEIGHTED = {
    "Conv2D": "conv",
    "DepthwiseConv2D": "depthwise",
    "BatchNormalization": "norm",
    "Dense": "linear",
    "Normalization": "scaling",
}
# These pass numbers on as they are, at inference; Add joins V2's shortcuts.
_PASSING = {
    "InputLayer", "Add", "Reshape", "Flatten", "GlobalAveragePooling2D", "Softmax", "Dropout", "SpatialDropout2D",
    "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization", "RandomFlip", "RandomRotation",
    "RandomZoom", "RandomTranslation", "RandomContrast", "RandomBrightness", "RandomHeight", "RandomWidth",
}  # fmt: skip
_ACTIVATIONS = {"linear", "relu6", "softmax", "sigmoid"}


@dataclass(frozen=True)
class Named:
    """A layer with weights. ``path``: names of the models around it, then its own; ``store``: its Keras 3 group."""

    kind: str
    path: tuple[str, ...]
    store: str
    scale: bool = True
    center: bool = True
    behind: bool = False  # behind the pooling
    single: bool = False  # gives one score that goes through sigmoid


@dataclass(frozen=True)
class Described:
    """A model_config, read. A ``None`` in ``steps`` is a Normalization layer whose figures are among the weights."""

    layers: tuple[Named, ...]
    padding: str
    epsilon: float | None
    strides: tuple[int, ...]
    size: int | None
    steps: tuple[Affine | None, ...]
    notes: tuple[str, ...]
    stretched: bool = False  # whether pictures are resized without regard to their sides' proportion


def describe(path: Path, text: str) -> Described | None:
    """Read a model_config; None where it is of a model class that does not list its layers.

    Raises InputError for one that is malformed, or holds what no MobileNet has; Lambda layers are never run.
    """
    try:
        config = json.loads(text)
        if config["class_name"] not in MODELS and not is_model(config):
            return None
        return _Reader(path).read(config)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
        raise InputError(f"{path}: its model_config is malformed; give the file as Keras wrote it") from error


@dataclass(frozen=True)
class _Window:
    """A convolution: the kernel's side, its stride, and the zeros before and after (None: SAME)."""

    kind: str
    kernel: int
    stride: int
    zeros: tuple[int, int] | None
    side: int | None


class _Reader:
    """Goes along the layers once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.layers: list[Named] = []
        self.windows: list[_Window] = []
        self.epsilons: set[float] = set()
        self.steps: list[Affine | None] = []
        self.notes: list[str] = []
        self.size: int | None = None
        self.stretched = False
        self.side: int | None = None  # of the map that the next layer takes
        self.zeros: tuple[int, int] | None = None  # of a ZeroPadding2D just passed

    def refusal(self, reason: str) -> InputError:
        return InputError(f"{self.path}: {reason}")

    def read(self, model: Mapping[str, Any]) -> Described:
        ops = follow(model, self.refusal)
        for op in ops:
            if op.kind == "Lambda":
                raise self.refusal(f"it has a Lambda layer, {op}, which is code and is never run")
        wiring = Wiring(ops, self.refusal)
        for op in ops:
            self.take(op)
        self.notes += wiring.notes()
        if len(self.epsilons) > 1:
            raise self.refusal("its BatchNorms have several epsilons, ours has one")
        strided = tuple(w.stride for i, w in enumerate(self.windows) if i == 0 or w.kind == "depthwise")
        return Described(
            layers=tuple(self.layers),
            padding=self.padding(),
            epsilon=next(iter(self.epsilons), None),
            strides=strided,
            size=self.size,
            steps=tuple(self.steps),
            notes=tuple(dict.fromkeys(self.notes)),
            stretched=self.stretched,
        )

    def take(self, op: Op) -> None:
        """Take one layer."""
        layer = op.layer
        name, config = str(layer["class_name"]), layer["config"]
        if op.behind and self.windows and name not in ("AveragePooling2D", "Normalization", "Rescaling"):
            self.head(op, name, config)
            return
        self.input_side(config)
        if name in ("Conv2D", "DepthwiseConv2D"):
            self.window(name, config)
        fixed = name == "Normalization" and config.get("mean") is not None
        if name == "Normalization":
            if config.get("invert"):
                raise self.refusal("it has an inverted Normalization layer")
            self.step(normalization(numbers(config["mean"]), numbers(config["variance"])) if fixed else None)
        if name in WEIGHTED and not fixed:
            self.activation(name, config.get("activation"))
            flags = bool(config.get("scale", True)), bool(config.get("center", True))
            self.layers.append(Named(WEIGHTED[name], op.path, op.store, *flags))
        if name == "BatchNormalization":
            self.epsilons.add(float(config["epsilon"]))
        elif name == "ZeroPadding2D":
            self.zero_padding(config["padding"])
        elif name == "Resizing":
            self.size = self.side = int(config["height"]) if config["height"] == config["width"] else None
            self.stretched = not config.get("crop_to_aspect_ratio") and not config.get("pad_to_aspect_ratio")
            self.notes.append(f"a Resizing layer inside the model is left out; pictures come at {self.size} pixels")
        elif name == "Rescaling":
            self.step(rescaling(config))
        elif name == "AveragePooling2D":
            # Over the whole map it is the global one.
            if self.side is None or list(config["pool_size"]) != [self.side, self.side]:
                raise self.refusal("its AveragePooling2D does not average the whole map, as a MobileNet does")
        elif name == "Activation":
            self.activation(name, config["activation"])
        elif name == "ReLU":
            plain = not config.get("negative_slope") and not config.get("threshold")
            self.activation(name, "relu6" if config.get("max_value") == 6 and plain else "relu")
        elif name == "Relu6" or (name == "TFOpLambda" and config["function"] == "nn.relu6"):
            pass
        elif name == "TFOpLambda" or (
            # An operator of Keras 3; without "trainable" it is no layer of that name.
            name in OPERATORS and "trainable" not in config
        ):
            self.operator(layer)
        elif name not in _PASSING and name not in WEIGHTED:
            raise self.refusal(f"it has a {name[:100]!r} layer, {op}, which no MobileNet has")

    def head(self, op: Op, name: str, config: Mapping[str, Any]) -> None:
        """Take one layer behind the pooling, where anything may stand."""
        if name in WEIGHTED:
            flags = bool(config.get("scale", True)), bool(config.get("center", True))
            self.layers.append(Named(WEIGHTED[name], op.path, op.store, *flags, behind=True, single=op.single))
        if name in ("Activation", "Dense", "Conv2D") and spelt(config.get("activation")) == "sigmoid":
            if not op.single and not any(named.single for named in self.layers):
                self.notes.append("its scores end in sigmoid, one class at a time; ours end in softmax")
        elif name not in _PASSING and name not in WEIGHTED and name not in ("Activation", "ReLU"):
            self.notes.append(f"its layer {op} behind the pooling, a {name[:100]!r}, is left out")

    def input_side(self, config: Mapping[str, Any]) -> None:
        """Take the first square input shape that is told."""
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        if self.size is None and not self.windows and isinstance(shape, list) and len(shape) == 4:
            height, width = shape[2:] if shape[1] in (1, 3) else shape[1:3]
            if height is not None and height == width:
                self.size = self.side = int(height)
            elif height != width:
                self.notes.append(f"it was made for pictures of {width} × {height}, which are not square")

    def window(self, name: str, config: Mapping[str, Any]) -> None:
        """Take the geometry of a convolution."""
        kernel, stride = (_square(config[key]) for key in ("kernel_size", "strides"))
        if _square(config.get("dilation_rate", 1)) != 1 or config.get("groups", 1) not in (1, None):
            raise self.refusal(f"{str(config['name'])[:100]!r} is dilated or grouped")
        zeros, self.zeros = self.zeros, None
        valid = config["padding"] == "valid"
        if zeros is not None and not valid:
            raise self.refusal(f"{str(config['name'])[:100]!r} is padded twice")
        if valid and zeros is None:
            zeros = (0, 0)
        centred = kernel // 2, kernel // 2
        if stride == 1 and zeros not in (None, centred):
            raise self.refusal(f"{str(config['name'])[:100]!r} changes the size of its map at stride 1")
        self.windows.append(_Window(WEIGHTED[name], kernel, stride, zeros, self.side))
        if self.side is not None:
            before, after = _same(self.side, kernel, stride) if zeros is None else zeros
            self.side = (self.side + before + after - kernel) // stride + 1

    def zero_padding(self, padding: Any) -> None:
        """Take the zeros for the convolution that follows."""
        rows, columns = ((side, side) if isinstance(side, int) else tuple(side) for side in padding)
        if rows != columns or self.zeros is not None:
            raise self.refusal("its ZeroPadding2D differs in height and width")
        self.zeros = int(rows[0]), int(rows[1])

    def padding(self) -> str:
        """Find the padding of ours that does what the file's does, at the size that the file was made for."""
        if self.zeros is not None:
            raise self.refusal("a ZeroPadding2D has no convolution after it")
        strided = [window for window in self.windows if window.stride > 1]
        explicit = any(window.zeros is not None for window in strided)
        depthwises = sum(window.kind == "depthwise" for window in self.windows)
        habit = habitual_padding(len(self.windows) - depthwises, depthwises)
        order: tuple[str, ...] = (habit, "same", "symmetric", "keras") if explicit else ("same",)
        if explicit and any(window.side is None for window in strided):
            # keras.applications' V2 has (0, 1) at every size when it is built without one, as "keras" does.
            order = ("keras", "same", "symmetric")
        for padding in order:
            if all(_agrees(window, padding) for window in strided):
                first = self.windows[0] if explicit else None
                if (
                    first
                    and padding == "keras"
                    and (first.kind, first.side) == ("conv", None)
                    and first.zeros is not None
                ):
                    self.notes.append("its first convolution is padded at the end only, ours at odd sizes at both ends")
                return padding
        raise self.refusal("its zero padding is neither SAME nor that of keras.applications")

    def activation(self, layer: str, activation: Any) -> None:
        """Refuse what computes something else than ReLU6 in the body and softmax at the end."""
        activation = spelt(activation)
        known = _ACTIVATIONS - {"relu6"} if layer == "Dense" else _ACTIVATIONS
        if activation not in known:
            raise self.refusal(f"a {layer} has the activation {activation[:100]!r}, where a MobileNet has ReLU6")

    def step(self, step: Affine | None) -> None:
        """Take a step on the pixels."""
        if self.windows:
            raise self.refusal("it scales numbers behind its first convolution")
        self.steps.append(step)

    def operator(self, layer: Mapping[str, Any]) -> None:
        """Take an arithmetic operator, on a tensor and a constant or on two tensors."""
        name = str(layer["config"].get("function", layer["class_name"]))
        if name == "cast":
            return
        sign = OPERATORS.get(name)
        called_with = constants(layer["inbound_nodes"]) if sign else []
        if len(called_with) == 1 and sign:
            self.step(operator(sign, *called_with[0]))
        elif sign != "+":  # the sum of two tensors is a shortcut of V2
            raise self.refusal(f"it calls the function {name[:100]!r}, which no MobileNet needs")


def habitual_padding(convs: int, depthwises: int) -> str:
    """The padding of keras.applications: V1 has about as many convolutions as depthwise layers, V2 twice as many."""
    return "keras" if convs <= depthwises + 2 else "same"


def _agrees(window: _Window, padding: str) -> bool:
    """Whether a strided convolution is padded so, at its size; where that is open, at an even one."""
    centred = window.kernel // 2, window.kernel // 2
    after = max(window.kernel // 2 - 1, 0), window.kernel // 2
    same = after if window.side is None else _same(window.side, window.kernel, window.stride)
    actual = same if window.zeros is None else window.zeros
    if padding == "keras" and window.kind == "depthwise":
        return actual == after
    return actual == (centred if padding == "symmetric" else same)


def _same(side: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def _square(value: Any) -> int:
    sides = [value, value] if isinstance(value, int) else list(value)
    if len(sides) != 2 or sides[0] != sides[1] or not isinstance(sides[0], int) or not 1 <= sides[0] <= 1000:
        raise ValueError("not square")
    return sides[0]
