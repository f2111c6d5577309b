"""What a Keras model_config says: its layers in forward order, strides, padding, epsilon, input size and scaling.

Keras 2 and 3 write the same tree: a model has ``layers``, each with ``class_name`` and ``config``, listed in forward
order; a nested model is a layer with ``layers`` of its own. Nothing of it is run. A layer that our networks do not
have is refused, since leaving it out would compute something else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobilenets.errors import InputError
from mobilenets.models.padding import layer_padding, padded
from mobilenets.pictures.preprocess import INTERPOLATIONS
from mobilenets.weights.keras.compound import EXCITED, HARD_SWISH, activation_of, join_compounds, mark_hidden
from mobilenets.weights.keras.graph import MODELS, Op, follow, is_model
from mobilenets.weights.keras.passing import PASSING, PIXELS
from mobilenets.weights.keras.scaling import OPERATORS, Affine, constants, normalization, numbers, operator, rescaling
from mobilenets.weights.keras.wiring import Wiring

WEIGHTED = {
    "Conv2D": "conv",
    "DepthwiseConv2D": "depthwise",
    "BatchNormalization": "norm",
    "Dense": "linear",
    "Normalization": "scaling",
}
# Behind the pooling these are ``head``'s; "Add" joins V2's shortcuts.
_PLAIN = {*PASSING, "Add", "Reshape", "Softmax", HARD_SWISH, EXCITED}
_ACTIVATIONS = {"", "relu6", "relu", "hard_swish", "softmax", "sigmoid"}


@dataclass(frozen=True)
class Named:
    """A layer with weights. ``path``: names of the models around it, then its own; ``store``: its Keras 3 group."""

    kind: str
    path: tuple[str, ...]
    store: str
    scale: bool = True
    center: bool = True
    place: int = -1  # among the calls, for one behind the body
    activation: str | None = None  # of a convolution, by this package's name for it


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
    resize: Mapping[str, Any]  # fields of Preprocessing that layers of the model tell
    ops: tuple[Op, ...] = ()
    outputs: tuple[int, ...] = ()
    side: int | None = None  # of the body's last map

    def unknown(self, layer: str) -> set[str]:
        """Names of the layers with weights of other kinds behind the body, within one layer of the whole model."""
        behind = [op.path for op in self.ops if op.stage == "head" and op.kind not in WEIGHTED]
        return {path[-1] for path in behind if path[0] == layer}


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
        self.resize: dict[str, Any] = {}
        self.side: int | None = None  # of the map that the next layer takes
        self.zeros: tuple[int, int] | None = None  # of a ZeroPadding2D just passed

    def refusal(self, reason: str) -> InputError:
        return InputError(f"{self.path}: {reason}")

    def read(self, model: Mapping[str, Any]) -> Described:
        ops, outputs = follow(model, self.refusal)
        last = max((place for place, op in enumerate(ops) if op.kind == "DepthwiseConv2D"), default=len(ops))
        for op in ops[:last]:
            self.check_code(op)
            self.check_channels(op)
        join_compounds(ops)
        self.activations = self.wired(ops)
        for place, op in enumerate(ops):
            if op.stage == "head":
                self.head(place, op)
            elif op.stage in ("inside", "hidden"):
                self.aside(op)
            else:
                self.take(op)
        if len(self.epsilons) > 1:
            raise self.refusal("its BatchNorms have several epsilons; a MobileNet here has one")
        strided = tuple(w.stride for i, w in enumerate(self.windows) if i == 0 or w.kind == "depthwise")
        return Described(
            layers=tuple(self.layers),
            padding=self.padding(),
            epsilon=next(iter(self.epsilons), None),
            strides=strided,
            size=self.size,
            steps=tuple(self.steps),
            notes=tuple(dict.fromkeys(self.notes)),
            resize=self.resize,
            ops=tuple(ops),
            outputs=tuple(outputs),
            side=self.side,
        )

    def wired(self, ops: Sequence[Op]) -> dict[tuple[str, ...], str]:
        """Check the wiring; give the activation of each convolution by its path."""
        for op in ops:
            if op.stage != "inside" and any(ops[source].stage == "inside" for source in op.inputs):
                raise self.refusal(f"its {op} ({op.kind[:100]}) takes what is inside a gate or an activation")
        wiring = Wiring(ops, self.refusal)
        return wiring.activations | mark_hidden(ops, set(wiring.activations.values()))

    def aside(self, op: Op) -> None:
        """Take a layer of a gate, or the one between pooling and classifier."""
        self.check_code(op)
        if op.kind not in WEIGHTED:
            return
        config = op.layer["config"]
        if op.kind not in ("Conv2D", "Dense") or _square(config.get("kernel_size", 1)) != 1:
            raise self.refusal(f"its {op} ({op.kind}) is no 1×1 convolution, as MobileNetV3 has there")
        if not config.get("use_bias", True) or config.get("groups", 1) not in (1, None):
            raise self.refusal(f"its {op} has no bias, or is grouped, unlike in MobileNetV3")
        self.layers.append(replace(_named(op), activation=self.activations.get(op.path)))

    def take(self, op: Op) -> None:
        """Take one layer of the body, or before it."""
        layer = op.layer
        name, config = str(layer["class_name"]), layer["config"]
        self.check_code(op)
        self.input_side(config)
        if name in ("Conv2D", "DepthwiseConv2D"):
            self.window(name, config)
        fixed = _fixed(op)
        if name == "Normalization":
            if config.get("invert"):
                raise self.refusal("it has an inverted Normalization layer")
            self.step(normalization(numbers(config["mean"]), numbers(config["variance"])) if fixed else None)
        if name in WEIGHTED and not fixed:
            self.activation(name, activation_of(op))
            self.layers.append(replace(_named(op), activation=self.activations.get(op.path)))
        if name == "BatchNormalization":
            self.epsilons.add(float(config["epsilon"]))
        elif name == "ZeroPadding2D":
            self.zero_padding(config["padding"])
        elif name in ("Resizing", "CenterCrop", "RandomCrop"):
            self.resizing(op, name, config)
        elif name == "Rescaling":
            self.step(rescaling(config))
        elif name in PIXELS:
            raise self.refusal(
                f"its {op} ({name}) changes each picture by its content even at inference, which the preprocessing "
                "here cannot do; build the model without it, copy the weights (set_weights) and save that"
            )
        elif name == "Activation":
            self.activation(name, activation_of(op))
        elif name == "ReLU":
            self.activation(name, activation_of(op))
        elif name == "Relu6" or (name == "TFOpLambda" and config["function"] == "nn.relu6"):
            pass
        elif name == "TFOpLambda" or (
            # An operator of Keras 3; without "trainable" it is no layer of that name.
            name in OPERATORS and "trainable" not in config
        ):
            self.operator(layer)
        elif name not in _PLAIN and name not in WEIGHTED:
            raise self.refusal(f"it has a {name[:100]!r} layer, {op}, which no MobileNet has")

    def check_code(self, op: Op) -> None:
        """Refuse a Lambda layer; behind the body it only means that there is no classifier."""
        if op.kind == "Lambda":
            raise self.refusal(
                f"it has a Lambda layer, {op}, which is code and is never run; where it only scales pixels, build the "
                "model with Rescaling in its place, copy the weights (set_weights) and save that"
            )
        if isinstance(op.layer["config"].get("layer"), dict):
            raise self.refusal(
                f"its {op} ({op.kind[:100]}) wraps another layer, as for a row of pictures or for training; save the "
                "model inside it"
            )

    def check_channels(self, op: Op) -> None:
        """Refuse an input of pictures that are not RGB."""
        shape = op.layer["config"].get("batch_shape", op.layer["config"].get("batch_input_shape"))
        if op.kind != "InputLayer" or not isinstance(shape, list) or len(shape) != 4:
            return
        if 3 not in (shape[1], shape[3]) and shape[3] is not None:
            raise self.refusal(
                f"it takes pictures with {shape[1] if shape[1] == 1 else shape[3]} channels, and here they have 3 "
                "(RGB); give a model made for colour pictures"
            )

    def head(self, place: int, op: Op) -> None:
        """Take one layer behind the body, where anything may stand."""
        if op.kind in WEIGHTED and not _fixed(op):
            self.layers.append(_named(op, place))

    def resizing(self, op: Op, name: str, config: Mapping[str, Any]) -> None:
        """Take a layer that changes the size of pictures as part of the preprocessing."""
        side = int(config["height"]) if config["height"] == config["width"] else None
        if self.windows:
            raise self.refusal(f"its {op} ({name}) changes the size of its map")
        if name != "Resizing" and side is not None and side == self.side:
            return
        if name == "RandomCrop" and "module" in op.layer:  # of Keras 3, which crops in training only
            return
        if name == "CenterCrop":
            if side is None or self.side is None or side > self.side or self.resize.get("resize") != "crop":
                raise self.refusal(
                    f"its {op} (CenterCrop) crops pictures that were stretched or of any size, which the "
                    "preprocessing here cannot do; build the model without it, copy the weights (set_weights) and "
                    "save that"
                )
            self.resize["crop_fraction"] *= side / self.side
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
        self.size = self.side = side
        self.notes.append(
            f"a {name} layer inside the model is part of the preprocessing: pictures come at {side} pixels"
        )

    def input_side(self, config: Mapping[str, Any]) -> None:
        """Take the first square input shape that is told."""
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        if self.size is None and not self.windows and isinstance(shape, list) and len(shape) == 4:
            height, width = shape[2:] if shape[1] in (1, 3) else shape[1:3]
            if height is not None and height == width:
                self.size = self.side = int(height)
            elif height != width:
                self.notes.append(
                    f"it was made for pictures of {width} × {height}, which are not square; here they are, so its "
                    "answers are others than in Keras (--size chooses the side)"
                )

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
            before, after = padded(self.side, kernel, stride, "same") if zeros is None else zeros
            self.side = (self.side + before + after - kernel) // stride + 1

    def zero_padding(self, padding: Any) -> None:
        """Take the zeros for the convolution that follows."""
        rows, columns = ((side, side) if isinstance(side, int) else tuple(side) for side in padding)
        if rows != columns or self.zeros is not None:
            raise self.refusal("its ZeroPadding2D differs in height and width")
        self.zeros = int(rows[0]), int(rows[1])

    def padding(self) -> str:
        """Find the padding here that does what the file's does, at the size that the file was made for."""
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
                    self.notes.append(
                        "its first convolution is padded only at the end; here, at odd sizes, at both ends"
                    )
                return padding
        raise self.refusal("its zero padding is neither SAME nor that of keras.applications")

    def activation(self, layer: str, activation: str) -> None:
        """Refuse what no MobileNet computes in the body, or at the end."""
        known = _ACTIVATIONS - {"relu6", "relu", "hard_swish"} if layer == "Dense" else _ACTIVATIONS
        if activation not in known:
            raise self.refusal(f"a {layer} has the activation {activation[:100]!r}, which no MobileNet has")

    def step(self, step: Affine | None) -> None:
        """Take a step on the pixels."""
        if self.windows:
            raise self.refusal("it scales values after its first convolution")
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


def _named(op: Op, place: int = -1) -> Named:
    config = op.layer["config"]
    flags = bool(config.get("scale", True)), bool(config.get("center", True))
    return Named(WEIGHTED[op.kind], op.path, op.store, *flags, place)


def _fixed(op: Op) -> bool:
    """Whether it is a Normalization whose figures are in the config."""
    return op.kind == "Normalization" and op.layer["config"].get("mean") is not None


def _agrees(window: _Window, padding: str) -> bool:
    """Whether a strided convolution is padded so, at its size; where that is open, at an even one."""

    def zeros(way: str) -> tuple[int, int]:
        if window.side is None:
            return padded(0, window.kernel, window.stride, "after" if way == "same" else way)
        return padded(window.side, window.kernel, window.stride, way)

    actual = zeros("same") if window.zeros is None else window.zeros
    return actual == zeros(layer_padding(padding, window.kind == "depthwise"))


def _square(value: Any) -> int:
    sides = [value, value] if isinstance(value, int) else list(value)
    if len(sides) != 2 or sides[0] != sides[1] or not isinstance(sides[0], int) or not 1 <= sides[0] <= 1000:
        raise ValueError("not square")
    return sides[0]
