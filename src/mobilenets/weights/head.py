"""What comes after the last activation of a graph, folded into one linear layer where that is the same function.

Linear layers, 1×1 convolutions, BatchNorm, scalings and the like are linear, and so are their chains and sums; an
average over the map may come before or after them. Anything else (LayerNormalization, a maximum) is not, and then there
is no classifier: one that left it out would answer otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mobilenets.errors import InputError
from mobilenets.weights import operations as ops

ENDS = {"softmax": "softmax", "log_softmax": "softmax", "sigmoid": "sigmoid"}
MAX_WORK = 10**10  # multiplications to join layers
_MAX_WIDTH = 10_000  # numbers between layers; the widest MobileNets have 3,840 features


class NotLinear(Exception):
    """What comes after the body is no single linear layer; the text says why."""


@dataclass(frozen=True)
class Scores:
    """A linear function of the features; without a ``weight`` the features themselves.

    ``side``: of the map that it still is, 1 where pooled, None where unknown. ``ends``: what the scores end in.
    ``flat``: whether each pixel of the map is a feature of its own. ``parts``: the operations that it is made of, and
    ``last`` the place of the last linear layer among them.
    """

    side: int | None
    width: int
    weight: ops.Array | None = None
    bias: ops.Array | None = None
    ends: str = ""
    flat: bool = False
    last: int = -1
    parts: tuple[ops.Operation, ...] = ()

    @property
    def matrix(self) -> ops.Array:
        """The weight, as a matrix of (outputs, features)."""
        return _diagonal(np.ones(self.width)) if self.weight is None else self.weight


Value = Scores | NotLinear


@dataclass(frozen=True)
class Folded:
    """A graph with one linear layer at its end, or none: then ``reason`` may say why. ``ends``: as of ``Scores``."""

    operations: list[ops.Operation]
    output: int
    ends: str = ""
    parts: tuple[str, ...] = ()
    reason: str = ""


Choose = Callable[[Mapping[int, Value]], Scores | None]


def fold(
    operations: Sequence[ops.Operation],
    sides: Sequence[ops.Pair | None],
    outputs: Sequence[int],
    choose: Choose | None = None,
) -> Folded:
    """Fold what stands behind the last activation.

    - ``operations``: all operations; activations are whole.
    - ``sides``: rows and columns of what each gives.
    - ``outputs``: the places of what the network gives.
    - ``choose``: chooses the scores by the places of all that comes after the last activation; raises ``NotLinear``. By
      default the only ones among the outputs are taken.

    Raises ``InputError`` where the last activation is not all that what follows takes.
    """
    bent = (place for place, operation in enumerate(operations) if _bends(operation, sides[place]))
    start = max(bent, default=-1)
    if start < 0:
        return Folded(list(operations), outputs[0])
    side = 1 if pooled(operations, start) else _side(sides[start])
    values: dict[int, Value] = {start: Scores(side, channels(operations, start))}
    work = 0
    for place, op in enumerate(operations):
        if place == start or not any(source in values for source in op.inputs):
            continue
        for source in op.inputs:
            if source not in values and channels(operations, source):
                raise InputError(f"its {op} ({type(op).__name__}) takes a map from inside the body, in no MobileNet")
        given = [value for source in op.inputs if isinstance(value := values.get(source), Scores)]
        work += _work(op, given)
        if work > MAX_WORK:
            raise InputError("its layers take more arithmetic to be joined than any MobileNet's")
        taken = [values.get(source, NotLinear("it takes more than pictures")) for source in op.inputs]
        broken = next((value for value in taken if isinstance(value, NotLinear)), None)
        try:
            values[place] = broken or _apply(place, op, given)
        except NotLinear as error:
            values[place] = error
    made = list(operations[: start + 1])
    try:
        if choose is not None:
            scores = choose(values)
        else:
            named = [str(operations[output]) for output in outputs]
            scores = classifier([values.get(output, values[start]) for output in outputs], named)
    except NotLinear as reason:
        return Folded(made, start, reason=str(reason))
    if scores is None:
        # What only pools the features stays as it is.
        alone = isinstance(values.get(outputs[0]), Scores) and len(outputs) == 1
        return Folded(list(operations), outputs[0]) if alone else Folded(made, start)
    name = operations[scores.last].name
    if side != 1 and not scores.flat:
        made.append(ops.MeanPool(name, (start,)))
    made.append(ops.Flatten(name, (len(made) - 1,)))
    made.append(ops.Linear(name, (len(made) - 1,), scores.matrix, scores.bias))
    parts = tuple(dict.fromkeys(op.name for op in scores.parts)) if len(scores.parts) > 1 else ()
    return Folded(made, len(made) - 1, scores.ends, parts)


def _bends(operation: ops.Operation, side: ops.Pair | None) -> bool:
    """Whether an operation of a body is not linear: an activation, or the maximum of less than the map."""
    if isinstance(operation, ops.Activation):
        return operation.function not in (*ENDS, "argmax")
    return isinstance(operation, ops.Clip) or (isinstance(operation, ops.MaxPool) and side != (1, 1))


def channels(operations: Sequence[ops.Operation], place: int) -> int:
    """Count the channels of what an operation gives; 0 where nothing before it tells."""
    while not isinstance(operation := operations[place], ops.Conv | ops.Linear):
        if not operation.inputs:
            return 0
        place = operation.inputs[0]
    return len(operation.weight)


def pooled(operations: Sequence[ops.Operation], place: int) -> bool:
    """Whether an operation gives a map of one pixel or a vector: what follows pooling."""
    while isinstance(operations[place], ops.Conv | ops.Linear | ops.Activation | ops.Clip | ops.Affine | ops.Norm):
        place = operations[place].inputs[0]
    return isinstance(operations[place], ops.MeanPool | ops.Flatten)


def _side(pair: ops.Pair | None) -> int | None:
    return pair[0] if pair is not None and pair[0] == pair[1] else None


def classifier(values: Sequence[Value], labels: Sequence[str]) -> Scores | None:
    """Choose the scores among what a network gives; None where it gives the features alone.

    ``labels`` name the outputs. Raises ``NotLinear`` where there are several, or they are no classifier's.
    """
    scores = [value for value in values if isinstance(value, NotLinear) or value.last >= 0]
    if len(scores) > 1:
        raise NotLinear(f"it has {len(scores)} outputs ({', '.join(labels)[:300]})")
    if not scores:
        changed = [op.name for value in values if isinstance(value, Scores) for op in value.parts]
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


def _work(op: ops.Operation, taken: Sequence[Scores]) -> int:
    """Count the multiplications that folding an operation takes."""
    sizes = [value.weight.size for value in taken if value.weight is not None]
    return sum(size * len(op.weight) for size in sizes) if isinstance(op, ops.Conv | ops.Linear) else sum(sizes)


def _apply(place: int, op: ops.Operation, taken: Sequence[Scores]) -> Scores:
    """Give what one operation makes of linear functions."""
    if isinstance(op, ops.Unknown):
        raise NotLinear(op.what)
    if isinstance(op, ops.Add | ops.Join):
        return _join(op, "add" if isinstance(op, ops.Add) else op.how, taken)
    value, what = taken[0], f"{op} ({type(op).__name__})"
    if len(taken) > 1 or isinstance(op, ops.MaxPool):
        raise NotLinear(f"its {what} is not linear")
    if isinstance(op, ops.MeanPool | ops.AveragePool):
        return _pool(op, value)
    if isinstance(op, ops.Flatten):
        if value.side and value.side > 1 and not op.channels_last and not value.parts:
            return replace(value, side=1, width=value.width * value.side**2, flat=True)
        if value.side != 1:
            side = "several" if value.side is None else f"{value.side} × {value.side}"
            raise NotLinear(f"its {what} takes all {side} pixels of the map rather than their average")
        return value
    if isinstance(op, ops.Activation):
        return _end(op, value)
    if value.ends:
        raise NotLinear(f"its {what} comes after its {value.ends}")
    if isinstance(op, ops.Conv | ops.Linear):
        return _multiply(place, op, value)
    if isinstance(op, ops.Norm):
        return _scale(op, value, *factor(op.numbers))
    if isinstance(op, ops.Affine):
        return _scale(op, value, op.scale, op.shift)
    raise NotLinear(f"its {what} is not linear")


def factor(numbers: ops.BatchNorm) -> tuple[ops.Array, ops.Array]:
    """Give scale and shift of a BatchNorm as a multiplication and an addition."""
    scale = numbers.scale / np.sqrt(numbers.variance.astype(np.float64) + numbers.epsilon)
    return scale, numbers.shift - numbers.mean * scale


def _pool(op: ops.MeanPool | ops.AveragePool, value: Scores) -> Scores:
    if value.ends and value.side != 1:
        raise NotLinear(f"its {op} averages after its {value.ends}")
    if isinstance(op, ops.MeanPool):
        return replace(value, side=1)
    # Averages over parts that cover the map, and each the same, have the average of the whole.
    side, window = value.side, op.window
    if side is None or not window or side % window or (op.stride != window and window != side):
        raise NotLinear(f"its {op} (AveragePool) does not average the whole map")
    return replace(value, side=side // window)


def _end(op: ops.Activation, value: Scores) -> Scores:
    ends = ENDS.get(op.function)
    if ends is None:  # argmax
        return value
    if value.ends:
        raise NotLinear(f"its {op} ({ends}) comes after its {value.ends}")
    if value.side != 1:
        raise NotLinear(f"its {op} ({ends}) comes before the pooling")
    if value.last < 0:
        raise NotLinear(f"its {op} ({ends}) is applied to the features themselves")
    return replace(value, ends=ends)


def _multiply(place: int, op: ops.Conv | ops.Linear, value: Scores) -> Scores:
    matrix = op.weight
    if isinstance(op, ops.Conv):
        if matrix.shape[2:] != (1, 1) or op.groups > 1:
            raise NotLinear(f"its {op} is a convolution of {matrix.shape[2]} × {matrix.shape[3]} pixels")
        if value.side != 1 and op.stride != (1, 1):
            raise NotLinear(f"its {op} skips pixels")
        matrix = matrix[:, :, 0, 0]
    if matrix.shape[1] != value.width:
        raise NotLinear(f"its {op} takes {matrix.shape[1]} numbers, where the pooled features are {value.width}")
    bias = op.bias
    if value.bias is not None:
        shift = matrix.astype(np.float64) @ value.bias
        bias = shift if bias is None else shift + bias
    weight = matrix
    if value.weight is not None:
        weight = matrix.astype(np.float64) @ value.weight
    return replace(value, width=len(weight), weight=weight, bias=bias, last=place, parts=(*value.parts, op))


def _scale(op: ops.Operation, value: Scores, scale: ops.Array, shift: ops.Array) -> Scores:
    """Multiply and add, one figure for all or one each."""
    if {scale.size, shift.size} - {1, value.width}:
        raise NotLinear(f"its {op} has {max(scale.size, shift.size)} values for {value.width} features")
    scale, shift = (np.broadcast_to(figures.reshape(-1), value.width) for figures in (scale, shift))
    bias = shift if value.bias is None else scale * value.bias + shift
    if value.last >= 0 and (scale == 1).all():  # the bias of a linear layer
        return replace(value, bias=bias)
    weight = _diagonal(scale) if value.weight is None else scale[:, None] * value.weight
    return replace(value, weight=weight, bias=bias, parts=(*value.parts, op))


def _join(op: ops.Operation, how: str, taken: Sequence[Scores]) -> Scores:
    """Take a sum, an average or a row of linear functions of the same features."""
    if len({(value.side, value.flat) for value in taken}) != 1 or any(value.ends for value in taken):
        raise NotLinear(f"its {op} ({how}) joins what cannot be joined into one linear layer")
    if sum(value.width for value in taken) > _MAX_WIDTH:
        raise NotLinear(f"its {op} ({how}) joins more than {_MAX_WIDTH} numbers")
    weights = [value.matrix.astype(np.float64) for value in taken]
    biases = [np.zeros(value.width) if value.bias is None else value.bias for value in taken]
    if how == "concat":
        weight, bias = np.concatenate(weights), np.concatenate(biases)
    else:
        signs = [1.0, -1.0] if how == "subtract" else [1 / len(taken) if how == "average" else 1.0] * len(taken)
        weight, bias = (
            np.add.reduce([sign * array for sign, array in zip(signs, arrays, strict=True)])
            for arrays in (weights, biases)
        )
    parts = (*(part for value in taken for part in value.parts), op)
    last = max(value.last for value in taken) if all(value.last >= 0 for value in taken) else -1
    return Scores(taken[0].side, len(weight), weight, bias, "", taken[0].flat, last, parts)


def _diagonal(scale: ops.Array) -> ops.Array:
    if len(scale) > _MAX_WIDTH:
        raise NotLinear(f"it has {len(scale)} features, more than any MobileNet")
    return np.diag(scale)
