"""What comes after the body of a Keras model: folded into one linear layer where that is exactly the same function.

Dense, 1×1 convolutions, BatchNorm, Rescaling and the like are linear, and so are their chains and sums; an average
over the map may come before or after them. Anything else (a hidden ReLU, LayerNormalization, a maximum) is not, and
then there is no classifier: one that left it out would answer otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.weights.keras.graph import Op, spelt
from mobilenets.weights.keras.passing import PASSING
from mobilenets.weights.keras.scaling import OPERATORS, constants, numbers

Array = npt.NDArray[Any]
Parts = Mapping[int, Mapping[str, Array]]

_MAX_WORK = 10**10  # multiplications for one product of matrices
_MAX_WIDTH = 10_000  # numbers between layers; the widest MobileNets have 3,840 features
_ENDS = {
    "Softmax": "softmax", "LogSoftmax": "softmax", "log_softmax": "softmax", "softmax": "softmax",
    "nn.softmax": "softmax", "nn.log_softmax": "softmax",
    "Sigmoid": "sigmoid", "sigmoid": "sigmoid", "math.sigmoid": "sigmoid", "nn.sigmoid": "sigmoid",
}  # fmt: skip
# On what ReLU6 gave, none of these changes anything.
_RECTIFIERS = {"relu", "relu6", "leaky_relu"}


class NotLinear(Exception):
    """What comes after the body is no single linear layer; the text says why."""


@dataclass(frozen=True)
class Classifier:
    """One linear layer: ``weight`` (outputs, features), what it ``ends`` in, and the ``names`` of its parts."""

    weight: Array
    bias: Array
    ends: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Value:
    """A linear function of the features; without a ``weight`` the features themselves.

    ``side``: of the map that it still is, 1 where pooled, None where unknown. ``linear``: whether it is scores.
    """

    side: int | None
    width: int
    weight: Array | None = None
    bias: Array | None = None
    ends: str = ""
    linear: bool = False
    names: tuple[str, ...] = ()


def fold(ops: Sequence[Op], outputs: Sequence[int], parts: Parts, features: int, side: int | None) -> Classifier | None:
    """Compute the linear layer that a model's head is.

    Parameters
    ----------
    ops:
        All calls of the model in forward order; those behind the body are marked.
    outputs:
        The places among them of what the model gives.
    parts:
        By place, the arrays of the layers with weights, by Keras's names.
    features:
        Channels of the body's last map, or of the layer between pooling and classifier that V3 has.
    side:
        Of that map, in pixels; None where the file does not tell.

    Returns None for a model that gives the features. Raises ``NotLinear`` for anything else.

    """
    values: dict[int, _Value | NotLinear] = {}
    body = _Value(side, features)
    for place, op in enumerate(ops):
        if op.stage != "head":
            known = {"body": body, "hidden": replace(body, side=1)}
            values[place] = known.get(op.stage, NotLinear("it takes more than pictures"))
            continue
        taken = [values[source] for source in op.inputs]
        broken = next((value for value in taken if isinstance(value, NotLinear)), None)
        try:
            values[place] = broken or _apply(op, [v for v in taken if isinstance(v, _Value)], parts.get(place, {}))
        except NotLinear as error:
            values[place] = error
        except (ValueError, KeyError, TypeError, AttributeError):
            values[place] = NotLinear(f"its {op} ({op.kind[:100]}) is not known here")
    given = [values[place] for place in dict.fromkeys(outputs)]
    scores = [value for value in given if isinstance(value, NotLinear) or value.linear]
    if len(scores) > 1:
        named = ", ".join(str(ops[place]) for place in dict.fromkeys(outputs))
        raise NotLinear(f"it has {len(scores)} outputs ({named[:300]})")
    return _classifier(scores[0] if scores else None, given)


def _classifier(value: _Value | NotLinear | None, given: Sequence[_Value | NotLinear]) -> Classifier | None:
    if isinstance(value, NotLinear):
        raise value
    if value is None:
        changed = [name for one in given if isinstance(one, _Value) for name in one.names]
        if changed:
            raise NotLinear(f"no Dense layer follows its {', '.join(changed)[:200]}")
        return None
    if value.side != 1:
        raise NotLinear("its scores are not pooled to one per class")
    assert value.weight is not None
    if value.ends == "softmax" and value.width == 1:
        raise NotLinear("it has one score and softmax, which always gives 1")
    if value.ends == "sigmoid" and value.width > 1:
        raise NotLinear(
            f"its {value.width} scores end in sigmoid, each class separately, so that several may be right at once, "
            "but answers here are always one of the classes"
        )
    bias = np.zeros(value.width) if value.bias is None else value.bias
    return Classifier(value.weight, bias, value.ends, value.names)


def _apply(op: Op, taken: Sequence[_Value], arrays: Mapping[str, Array]) -> _Value:
    """Give what one call makes of linear functions."""
    kind, config = op.kind, op.layer["config"]
    constant = kind in OPERATORS and "trainable" not in config
    if len(taken) != 1 or kind in ("Concatenate", "Average"):
        return _join(op, taken)
    (value,) = taken
    if kind in PASSING:
        return value
    if kind in ("GlobalAveragePooling2D", "AveragePooling2D", "Mean"):
        return _pool(op, value)
    if kind in ("Flatten", "Reshape", "Squeeze", "GlobalMaxPooling2D", "MaxPooling2D"):
        return _reshape(op, value)
    ends = _ENDS.get(kind, "")
    if kind == "Activation" or ends:
        return _activate(op, value, ends or spelt(config.get("activation")), config.get("axis", -1))
    if kind in ("ReLU", "Relu6", "LeakyReLU", "nn.relu6"):
        limited = config.get("max_value") not in (None, 0) and config["max_value"] < 6
        return _activate(op, value, "" if limited or config.get("threshold") else "relu")
    if value.ends:
        raise NotLinear(f"its {op} ({kind[:100]}) comes after its {value.ends}")
    if kind in ("Dense", "Conv2D"):
        scores = _multiply(op, value, arrays)
        return _activate(op, scores, spelt(config.get("activation")))
    if kind == "BatchNormalization":
        mean, variance = arrays["moving_mean"], arrays["moving_variance"].astype(np.float64)
        scale = arrays.get("gamma", np.ones(len(mean))) / np.sqrt(variance + float(config["epsilon"]))
        return _scale(op, value, scale, arrays.get("beta", np.zeros(len(mean))) - mean * scale)
    if kind == "Normalization" and not config.get("invert"):
        told = config.get("mean") is not None
        mean, variance = (
            np.array(numbers(config[part])) if told else arrays[part].reshape(-1).astype(np.float64)
            for part in ("mean", "variance")
        )
        scale = 1 / np.maximum(np.sqrt(variance), 1e-7)
        return _scale(op, value, scale, -mean * scale)
    if kind == "Rescaling":
        return _scale(op, value, np.array(numbers(config["scale"])), np.array(numbers(config["offset"])))
    if constant or op.layer["class_name"] == "TFOpLambda":
        ((first, figures),) = constants(op.layer["inbound_nodes"])
        return _operate(op, value, OPERATORS[kind], first, np.array(figures))
    raise NotLinear(f"its {op} ({kind[:100]}) is not linear")


def _pool(op: Op, value: _Value) -> _Value:
    config = op.layer["config"]
    if value.ends and value.side != 1:
        raise NotLinear(f"its {op} averages after its {value.ends}")
    if op.kind == "Mean":
        if config.get("axis") not in ([1, 2], [-3, -2]):
            raise NotLinear(f"its {op} averages over something other than the map")
        return replace(value, side=1)
    if op.kind == "GlobalAveragePooling2D":
        return replace(value, side=1)
    pool, stride = (_pair(config.get(key) or config["pool_size"]) for key in ("pool_size", "strides"))
    # Averages over parts that cover the map, and each the same, have the average of the whole.
    if value.side is None or pool[0] != pool[1] or value.side % pool[0] or (stride != pool and pool[0] != value.side):
        raise NotLinear(f"its {op} (AveragePooling2D) does not average the whole map")
    return replace(value, side=value.side // pool[0])


def _reshape(op: Op, value: _Value) -> _Value:
    """Take what changes nothing on a map of one pixel."""
    if value.side != 1:
        if op.kind == "Flatten" or op.kind == "Reshape":
            side = "several" if value.side is None else f"{value.side} × {value.side}"
            raise NotLinear(f"its {op} ({op.kind}) takes all {side} pixels of the map rather than their average")
        raise NotLinear(f"its {op} ({op.kind}) takes the maximum of the map rather than its average")
    if op.kind == "Reshape" and op.layer["config"]["target_shape"][-1] not in (-1, value.width):
        raise NotLinear(f"its {op} reshapes the features")
    return value


def _activate(op: Op, value: _Value, activation: str, axis: Any = -1) -> _Value:
    if activation == "linear":
        return value
    if activation in _RECTIFIERS and value.weight is None and not value.names:
        return value
    ends = _ENDS.get(activation)
    if ends is None or axis not in (-1, [-1]):
        raise NotLinear(f"its {op} ({op.kind[:100]}{f', {activation[:50]}' if activation else ''}) is not linear")
    if value.ends:
        raise NotLinear(f"its {op} ({ends}) comes after its {value.ends}")
    if value.side != 1:
        raise NotLinear(f"its {op} ({ends}) comes before the pooling")
    if not value.linear:
        raise NotLinear(f"its {op} ({ends}) is applied to the features themselves")
    return replace(value, ends=ends)


def _multiply(op: Op, value: _Value, arrays: Mapping[str, Array]) -> _Value:
    kernel, config = arrays["kernel"], op.layer["config"]
    if kernel.ndim == 4:
        if kernel.shape[:2] != (1, 1) or config.get("groups", 1) not in (1, None):
            raise NotLinear(f"its {op} is a convolution of {kernel.shape[0]} × {kernel.shape[1]} pixels")
        if value.side != 1 and _pair(config["strides"]) != [1, 1]:
            raise NotLinear(f"its {op} skips pixels")
        kernel = kernel[0, 0]
    if len(kernel) != value.width:
        raise NotLinear(f"its {op} takes {len(kernel)} numbers, where the pooled features are {value.width}")
    matrix = kernel.T
    bias = arrays.get("bias")
    if value.weight is not None:
        if matrix.size * value.weight.shape[1] > _MAX_WORK:
            raise NotLinear(f"its {op} is too large to be joined with what comes before it")
        matrix = matrix.astype(np.float64) @ value.weight
    if value.bias is not None:
        shift = kernel.T.astype(np.float64) @ value.bias
        bias = shift if bias is None else shift + bias
    names = (*value.names, op.path[-1])
    return replace(value, width=len(matrix), weight=matrix, bias=bias, linear=True, names=names)


def _scale(op: Op, value: _Value, scale: Array, shift: Array) -> _Value:
    """Multiply and add, one figure for all or one each."""
    if {scale.size, shift.size} - {1, value.width}:
        raise NotLinear(f"its {op} has {max(scale.size, shift.size)} values for {value.width} features")
    scale, shift = (np.broadcast_to(figures.reshape(-1), value.width) for figures in (scale, shift))
    weight = _diagonal(scale) if value.weight is None else scale[:, None] * value.weight
    bias = shift if value.bias is None else scale * value.bias + shift
    return replace(value, weight=weight, bias=bias, names=(*value.names, op.path[-1]))


def _operate(op: Op, value: _Value, sign: str, first: bool, figures: Array) -> _Value:
    ones, zeros = np.ones(1), np.zeros(1)
    if sign == "/" and first:
        raise NotLinear(f"its {op} divides by the features")
    if sign in "*/":
        return _scale(op, value, figures if sign == "*" else 1 / figures, zeros)
    turned = sign == "-"
    return _scale(op, value, -ones if turned and first else ones, -figures if turned and not first else figures)


def _join(op: Op, taken: Sequence[_Value]) -> _Value:
    """Take a sum, an average or a row of linear functions of the same features."""
    if len({value.side for value in taken}) != 1 or any(value.ends for value in taken):
        raise NotLinear(f"its {op} ({op.kind[:100]}) joins what cannot be joined into one linear layer")
    if sum(value.width for value in taken) > _MAX_WIDTH:
        raise NotLinear(f"its {op} ({op.kind[:100]}) joins more than {_MAX_WIDTH} numbers")
    pairs = [
        (
            _diagonal(np.ones(value.width)) if value.weight is None else value.weight.astype(np.float64),
            np.zeros(value.width) if value.bias is None else value.bias,
        )
        for value in taken
    ]
    names = tuple(dict.fromkeys(name for value in taken for name in value.names)) or (op.path[-1],)
    linear = all(value.linear for value in taken)
    sign = OPERATORS.get(op.kind)
    if op.kind == "Concatenate" and op.layer["config"].get("axis", -1) in (-1, 1, 3):
        weight, bias = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    elif op.kind == "Average" or sign == "+" or (sign == "-" and len(taken) == 2):
        by = [1.0, -1.0] if sign == "-" else [1 / len(taken) if op.kind == "Average" else 1.0] * len(taken)
        weight, bias = (
            np.add.reduce([factor * pair[part] for factor, pair in zip(by, pairs, strict=True)]) for part in (0, 1)
        )
    else:
        raise NotLinear(f"its {op} ({op.kind[:100]}) joins {len(taken)} tensors in another way than by adding them")
    return _Value(taken[0].side, len(weight), weight, bias, "", linear, names)


def _diagonal(scale: Array) -> Array:
    if len(scale) > _MAX_WIDTH:
        raise NotLinear(f"it has {len(scale)} features, more than any MobileNet")
    return np.diag(scale)


def _pair(value: Any) -> list[int]:
    sides = [value, value] if isinstance(value, int) else list(value)
    if len(sides) != 2 or not all(isinstance(side, int) and 1 <= side < math.inf for side in sides):
        raise ValueError("no pair of sides")
    return sides
