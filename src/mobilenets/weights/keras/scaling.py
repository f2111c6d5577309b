"""The layers and operators inside a Keras model that scale pixels, as one step, value × factor + offset, a channel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Three = tuple[float, float, float]

# Of Keras 3 (keras.src.ops.numpy), by class; of TensorFlow's Keras 2, by the function of a TFOpLambda.
OPERATORS = {
    "TrueDivide": "/", "Divide": "/", "Multiply": "*", "Add": "+", "Subtract": "-",
    "math.truediv": "/", "math.divide": "/", "math.multiply": "*", "math.add": "+", "math.subtract": "-",
    "__operators__.truediv": "/", "__operators__.mul": "*", "__operators__.add": "+", "__operators__.sub": "-",
}  # fmt: skip


@dataclass(frozen=True)
class Affine:
    """Value × ``factor`` + ``offset``."""

    factor: Three
    offset: Three


def rescaling(config: Mapping[str, Any]) -> Affine:
    """What a Rescaling layer does."""
    return Affine(_three(numbers(config["scale"])), _three(numbers(config["offset"])))


def normalization(mean: Sequence[float], variance: Sequence[float]) -> Affine:
    """What a Normalization layer does (keras.layers.Normalization.call)."""
    means, deviations = _three(mean), [max(math.sqrt(value), 1e-7) for value in _three(variance)]
    return Affine(
        _three([1 / deviation for deviation in deviations]),
        _three([-mean / deviation for mean, deviation in zip(means, deviations, strict=True)]),
    )


def operator(sign: str, first: bool, value: Sequence[float]) -> Affine:
    """What an operator with a constant does; ``first``: the constant stands before it. Raises ValueError for 1 / x."""
    if sign == "/" and not first:
        return Affine(_three([1 / number for number in value]), (0.0, 0.0, 0.0))
    if sign == "*":
        return Affine(_three(value), (0.0, 0.0, 0.0))
    if sign == "+" or (sign == "-" and not first):
        return Affine((1.0, 1.0, 1.0), _three([-number if sign == "-" else number for number in value]))
    raise ValueError("no scaling")


def joined(steps: Sequence[Affine]) -> tuple[Three, Three]:
    """Mean and std with which (x / 255 - mean) / std is all steps on x; raises ValueError where there are none."""
    factor, offset = [1.0] * 3, [0.0] * 3
    for step in steps:
        factor = [a * b for a, b in zip(factor, step.factor, strict=True)]
        offset = [a * b + c for a, b, c in zip(offset, step.factor, step.offset, strict=True)]
    if min(factor) <= 0:
        raise ValueError("pixels are reversed")
    # Nine digits, float32's, so that figures such as 0.5 come out as they are meant; 0.0 takes the sign off -0.0.
    std = [float(f"{1 / (255 * a):.9g}") for a in factor]
    return _three([float(f"{-b / (255 * a):.9g}") + 0.0 for a, b in zip(factor, offset, strict=True)]), _three(std)


def constants(nodes: Any) -> list[tuple[bool, tuple[float, ...]]]:
    """The constants that an operator is called with, by its ``inbound_nodes``, and whether each stands first."""
    if len(nodes) != 1:
        raise ValueError("an operator is called more than once")
    node = nodes[0]
    if isinstance(node, dict):  # Keras 3: {"args": [tensor, 127.5], "kwargs": {}}
        values = [*enumerate(node["args"]), *((1, value) for value in node["kwargs"].values() if value is not None)]
        return [(place == 0, numbers(value)) for place, value in values if not _is_tensor(value)]
    # Keras 2: ["x", 0, 0, {"y": 127.5, "name": null}]; a constant that stands first is marked in place of a name.
    if node[0] == "_CONSTANT_VALUE":
        return [(True, numbers(node[2]))]
    return [(False, numbers(value)) for key, value in node[3].items() if key == "y" and not _is_tensor(value)]


def numbers(value: Any) -> tuple[float, ...]:
    """A constant of a config: a number, nested lists of them, or an array that Keras wrote as a dictionary."""
    if isinstance(value, dict):
        value = value["config"]["value"]
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return tuple(float(item) for item in (value if isinstance(value, list) else [value]))


def _is_tensor(value: Any) -> bool:
    """Whether an argument is the output of a layer: of Keras 3, or ["x", 0, 0] of Keras 2."""
    if isinstance(value, dict):
        return bool(value["class_name"] == "__keras_tensor__")
    return isinstance(value, list) and isinstance(value[0], str)


def _three(values: Sequence[float]) -> Three:
    if len(values) not in (1, 3) or not all(map(math.isfinite, values)):
        raise ValueError("not one value per channel")
    first, second, third = list(values) * (3 // len(values))
    return first, second, third
