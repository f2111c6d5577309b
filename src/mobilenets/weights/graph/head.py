"""What comes after the body of a graph: folded into one linear layer where that is exactly the same function.

Linear layers, 1×1 convolutions, BatchNorm, scalings and the like are linear, and so are their chains and sums; an
average over the map may come before or after them. Anything else (a hidden ReLU, LayerNormalization, a maximum) is not,
and then there is no classifier: one that left it out would answer otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mobilenets.weights.graph.body import Body
from mobilenets.weights.graph.ops import JOINS, Array, Op
from mobilenets.weights.layers import Layer, linear, two_classes

_MAX_WORK = 10**10  # multiplications for one product of matrices
_MAX_WIDTH = 10_000  # numbers between layers; the widest MobileNets have 3,840 features
_ENDS = {"softmax": "softmax", "log_softmax": "softmax", "sigmoid": "sigmoid"}
# On what ReLU6 gave, none of these changes anything.
_RECTIFIERS = {"relu", "relu6", "leaky_relu"}


class NotLinear(Exception):
    """What comes after the body is no single linear layer; the text says why."""


@dataclass(frozen=True)
class Scores:
    """A linear function of the features; without a ``weight`` the features themselves.

    ``side``: of the map that it still is, 1 where pooled, None where unknown. ``ends``: what the scores end in.
    ``parts``: the operations that it is made of, and ``last`` the place of the last linear layer among them.
    """

    side: int | None
    width: int
    weight: Array | None = None
    bias: Array | None = None
    ends: str = ""
    last: int = -1
    parts: tuple[Op, ...] = ()

    @property
    def matrix(self) -> Array:
        """The weight, as a matrix of (outputs, features)."""
        return _diagonal(np.ones(self.width)) if self.weight is None else self.weight

    @property
    def names(self) -> tuple[str, ...]:
        """Of its parts."""
        return tuple(dict.fromkeys(op.name for op in self.parts))


Value = Scores | NotLinear


def follow(body: Body, features: int) -> dict[int, Value]:
    """Compute the linear function of the ``features`` that each operation behind the body is, or why it is none."""
    values: dict[int, Value] = {}
    for place in body.places:
        op = body.ops[place]
        if op.stage != "head":
            values[place] = (
                Scores(body.side, features) if op.stage == "body" else NotLinear("it takes more than pictures")
            )
            continue
        taken = [values[source] for source in op.inputs]
        broken = next((value for value in taken if isinstance(value, NotLinear)), None)
        try:
            values[place] = broken or _apply(place, op, [value for value in taken if isinstance(value, Scores)])
        except NotLinear as error:
            values[place] = error
        except ValueError:
            values[place] = NotLinear(f"its {op.described} is not known here")
    return values


def classifier(values: Sequence[Value], labels: Sequence[str]) -> Scores | None:
    """Choose the scores among what a network gives; None where it gives the features alone.

    ``labels`` name the outputs. Raises ``NotLinear`` where there are several, or they are no classifier's.
    """
    scores = [value for value in values if isinstance(value, NotLinear) or value.last >= 0]
    if len(scores) > 1:
        raise NotLinear(f"it has {len(scores)} outputs ({', '.join(labels)[:300]})")
    if not scores:
        changed = [name for value in values if isinstance(value, Scores) for name in value.names]
        if changed:
            raise NotLinear(f"no linear layer follows its {', '.join(changed)[:200]}")
        return None
    (value,) = scores
    if isinstance(value, NotLinear):
        raise value
    if value.side != 1:
        raise NotLinear("its scores are not pooled to one per class")
    if value.ends == "softmax" and value.width == 1:
        raise NotLinear("it has one score and softmax, which always gives 1")
    if value.ends == "sigmoid" and value.width > 1:
        raise NotLinear(
            f"its {value.width} scores end in sigmoid, each class separately, so that several may be right at once, "
            "but answers here are always one of the classes"
        )
    return value


def layer_of(scores: Scores, ops: Sequence[Op]) -> tuple[Layer, list[str]]:
    """Make the linear layer, with notes; a single layer stays as it is."""
    last, notes = ops[scores.last].layer, []
    assert last is not None
    if len(scores.parts) > 1:
        bias = np.zeros(scores.width) if scores.bias is None else scores.bias
        last = linear(last.name, scores.matrix, bias)
        notes.append(f"its head ({', '.join(scores.names)}) is folded into one linear layer that computes the same")
    if scores.ends == "sigmoid":
        last = two_classes(last)
        notes.append("its one sigmoid score p is made into the scores of two classes, 1 - p and p, in this order")
    return last, notes


def _apply(place: int, op: Op, taken: Sequence[Scores]) -> Scores:
    """Give what one operation makes of linear functions."""
    if op.kind == "answer":
        return replace(taken[0], ends=taken[0].ends or "answer")
    if op.kind == "other":
        raise NotLinear(op.unfit or f"its {op.described} is not linear")
    if op.kind in JOINS or len(taken) != 1:
        return _join(op, taken)
    (value,) = taken
    if op.kind == "same":
        return value
    if op.kind in ("mean", "pool"):
        return _pool(op, value)
    if op.kind in ("flatten", "reshape", "max"):
        return _reshape(op, value)
    if op.kind == "activation":
        return _activate(op, value)
    if value.ends:
        raise NotLinear(f"its {op.described} comes after its {value.ends}")
    if op.kind in ("conv", "linear"):
        return _multiply(place, op, value)
    if op.kind == "norm" and op.layer is not None:
        arrays: Mapping[str, Array] = op.layer.arrays
        scale = arrays["weight"] / np.sqrt(arrays["running_var"].astype(np.float64) + (op.epsilon or 0))
        return _scale(op, value, scale, arrays["bias"] - arrays["running_mean"] * scale)
    if op.kind == "scale":
        if op.scale is None or op.shift is None:
            raise NotLinear(f"its {op.described} needs something that is not in the file")
        return _scale(op, value, op.scale, op.shift)
    raise NotLinear(f"its {op.described} is not linear")


def _pool(op: Op, value: Scores) -> Scores:
    if value.ends and value.side != 1:
        raise NotLinear(f"its {op.described} averages after its {value.ends}")
    if op.kind == "mean":
        return replace(value, side=1)
    # Averages over parts that cover the map, and each the same, have the average of the whole.
    side, window = value.side, op.window
    if side is None or not window or side % window or (op.stride != window and window != side):
        raise NotLinear(f"its {op.described} does not average the whole map")
    return replace(value, side=side // window)


def _reshape(op: Op, value: Scores) -> Scores:
    """Take what changes nothing on a map of one pixel."""
    if value.side != 1:
        if op.kind != "max":
            side = "several" if value.side is None else f"{value.side} × {value.side}"
            raise NotLinear(f"its {op.described} takes all {side} pixels of the map rather than their average")
        raise NotLinear(f"its {op.described} takes the maximum of the map rather than its average")
    if op.kind == "reshape" and op.channels not in (0, value.width):
        raise NotLinear(f"its {op} reshapes the features")
    return value


def _activate(op: Op, value: Scores) -> Scores:
    if op.function == "linear" or (op.function in _RECTIFIERS and not value.parts):
        return value
    ends = _ENDS.get(op.function)
    if ends is None:
        raise NotLinear(f"its {op.described} is not linear")
    if value.ends:
        raise NotLinear(f"its {op} ({ends}) comes after its {value.ends}")
    if value.side != 1:
        raise NotLinear(f"its {op} ({ends}) comes before the pooling")
    if value.last < 0:
        raise NotLinear(f"its {op} ({ends}) is applied to the features themselves")
    return replace(value, ends=ends)


def _multiply(place: int, op: Op, value: Scores) -> Scores:
    if op.layer is None:
        raise NotLinear(op.unfit or f"the weights of its {op} are not in the file")
    matrix: Array = op.layer.arrays["weight"]
    if matrix.ndim == 4:
        if matrix.shape[2:] != (1, 1):
            raise NotLinear(f"its {op} is a convolution of {matrix.shape[2]} × {matrix.shape[3]} pixels")
        if value.side != 1 and op.stride != 1:
            raise NotLinear(f"its {op} skips pixels")
        matrix = matrix[:, :, 0, 0]
    if matrix.shape[1] != value.width:
        raise NotLinear(f"its {op} takes {matrix.shape[1]} numbers, where the pooled features are {value.width}")
    bias: Array | None = op.layer.arrays.get("bias")
    if value.bias is not None:
        shift = matrix.astype(np.float64) @ value.bias
        bias = shift if bias is None else shift + bias
    weight: Array = matrix
    if value.weight is not None:
        if matrix.size * value.weight.shape[1] > _MAX_WORK:
            raise NotLinear(f"its {op} is too large to be joined with what comes before it")
        weight = matrix.astype(np.float64) @ value.weight
    return replace(value, width=len(weight), weight=weight, bias=bias, last=place, parts=(*value.parts, op))


def _scale(op: Op, value: Scores, scale: Array, shift: Array) -> Scores:
    """Multiply and add, one figure for all or one each."""
    if {scale.size, shift.size} - {1, value.width}:
        raise NotLinear(f"its {op} has {max(scale.size, shift.size)} values for {value.width} features")
    scale, shift = (np.broadcast_to(figures.reshape(-1), value.width) for figures in (scale, shift))
    weight = _diagonal(scale) if value.weight is None else scale[:, None] * value.weight
    bias = shift if value.bias is None else scale * value.bias + shift
    return replace(value, weight=weight, bias=bias, parts=(*value.parts, op))


def _join(op: Op, taken: Sequence[Scores]) -> Scores:
    """Take a sum, an average or a row of linear functions of the same features."""
    if len({value.side for value in taken}) != 1 or any(value.ends for value in taken):
        raise NotLinear(f"its {op.described} joins what cannot be joined into one linear layer")
    if sum(value.width for value in taken) > _MAX_WIDTH:
        raise NotLinear(f"its {op.described} joins more than {_MAX_WIDTH} numbers")
    weights = [value.matrix.astype(np.float64) for value in taken]
    biases = [np.zeros(value.width) if value.bias is None else value.bias for value in taken]
    if op.kind == "concat":
        weight, bias = np.concatenate(weights), np.concatenate(biases)
    elif op.kind in ("add", "average") or (op.kind == "subtract" and len(taken) == 2):
        signs = [1.0, -1.0] if op.kind == "subtract" else [1 / len(taken) if op.kind == "average" else 1.0] * len(taken)
        weight, bias = (
            np.add.reduce([sign * array for sign, array in zip(signs, arrays, strict=True)])
            for arrays in (weights, biases)
        )
    else:
        raise NotLinear(f"its {op.described} joins {len(taken)} tensors in another way than by adding them")
    parts = (*(part for value in taken for part in value.parts), op)
    last = max(value.last for value in taken) if all(value.last >= 0 for value in taken) else -1
    return Scores(taken[0].side, len(weight), weight, bias, "", last, parts)


def _diagonal(scale: Array) -> Array:
    if len(scale) > _MAX_WIDTH:
        raise NotLinear(f"it has {len(scale)} features, more than any MobileNet")
    return np.diag(scale)
