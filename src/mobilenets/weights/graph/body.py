"""The way of a picture through a graph, to the end of the body: checked to be serially MobileNetV1 or V2.

Weights alone would not show a missing shortcut or ReLU6, and the network would compute something else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from mobilenets.weights.graph.ops import (
    CONVOLUTIONS,
    JOINS,
    POOLS,
    GraphError,
    Op,
    Window,
    affine,
    padding_of,
)
from mobilenets.weights.layers import Layer, norm

_MAX_STEPS = 16
_NO = "in no MobileNetV1 or V2"
# What may follow a block's last ReLU6 within the body.
_CONTINUING = {"depthwise", "pad", "same"}


@dataclass(frozen=True)
class _Value:
    """What an operation gives. ``source``: the one that made it, but for those that pass it on.

    ``unit``: the convolution that it comes from, -1 for pictures, with what came after that: ``steps`` of scaling, a
    ``norm``, ReLU6 (``active``), a shortcut (``joined``), ``zeros`` around it. ``behind``: it comes after the body.
    """

    source: int
    unit: int = -1
    steps: tuple[Op, ...] = ()
    norm: Op | None = None
    active: bool = False
    joined: bool = False
    zeros: tuple[int, int] | None = None
    behind: bool = False


@dataclass
class Unit:
    """A convolution of the body, with what it takes and what is made of it."""

    op: Op
    takes: _Value
    channels: int
    window: Window
    gives: _Value | None = None

    @property
    def depthwise(self) -> bool:
        """Whether each channel is filtered by itself."""
        return self.op.kind == "depthwise"


class Body:
    """Goes along the operations that ``outputs`` need, once, and marks the stage of each.

    ``units`` are the convolutions of the body in forward order, ``pictures`` what is done before the first, ``size``
    the pixels of a side there, and ``side`` those of the last map. Raises ``GraphError`` for another body than V1's
    or V2's.
    """

    def __init__(self, ops: Sequence[Op], outputs: Sequence[int]) -> None:
        self.ops = ops
        self.units: list[Unit] = []
        self.pictures: tuple[Op, ...] = ()
        self.size: int | None = None
        self.side: int | None = None
        self.places = needed(ops, outputs)
        self._values: dict[int, _Value] = {}
        self._left: list[tuple[Op, _Value]] = []
        for place in self.places:
            value = self._take(place, ops[place])
            ops[place].stage = "head" if value.behind else "body" if value.unit >= 0 else "input"
            self._values[place] = value
        if self.units:
            self._finish()
        if any(unit.depthwise for unit in self.units):  # without any it is refused as no MobileNet
            self.check()

    @property
    def features(self) -> int:
        """Channels of the last map."""
        return self.units[-1].channels if self.units else 0

    @property
    def padding(self) -> str:
        """The padding of its convolutions. Raises ``GraphError``."""
        return padding_of([unit.window for unit in self.units])

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the first convolution and then of each depthwise layer."""
        return tuple(unit.op.stride for i, unit in enumerate(self.units) if i == 0 or unit.depthwise)

    def layers(self) -> tuple[list[Layer], float | None]:
        """Make the layers, and give the epsilon of all BatchNorms: the smallest, so that no variance falls below 0."""
        norms = [unit.gives.norm for unit in self.units if unit.gives is not None and unit.gives.norm is not None]
        epsilon = min((op.epsilon for op in norms if op.epsilon is not None), default=None)
        layers: list[Layer] = []
        for unit in self.units:
            assert unit.op.layer is not None
            layers.append(unit.op.layer)
            gives = unit.gives
            if gives is not None and gives.norm is not None:
                layers.append(_at(gives.norm, epsilon))
            elif gives is not None and gives.steps:
                layers.append(_plain(gives.steps, unit.channels, 1e-3 if epsilon is None else epsilon))
        return layers, epsilon

    def _take(self, place: int, op: Op) -> _Value:
        """Give what one operation makes."""
        taken = [self._values[source] for source in op.inputs]
        if any(value.behind for value in taken):
            return self._behind(place, op, taken)
        if op.kind == "add" and len(taken) > 1:
            return self._add(place, op, taken)
        if len(taken) > 1:
            what = (
                ", as nothing in the body of a MobileNet does"
                if self.units
                else " before the first convolution, where here only numbers are scaled"
            )
            raise GraphError(op.unfit or f"its {op.described} takes {len(taken)} tensors{what}")
        value = taken[0] if taken else _Value(place)
        if self._starts(op, value):
            return self._behind(place, op, taken)
        if op.unfit:
            raise GraphError(op.unfit)
        if op.kind in CONVOLUTIONS:
            return self._convolve(place, op, value)
        if op.kind == "pad":
            if value.zeros is not None:
                raise GraphError(f"its {op.described} pads what is padded, {_NO}")
            return replace(value, zeros=op.zeros)
        if value.zeros is not None:
            raise GraphError(f"its {op.described} takes a map padded with zeros, {_NO}")
        if op.kind in ("same", *JOINS) or (op.kind == "activation" and op.function == "linear"):
            return value
        return self._picture(place, op, value) if value.unit < 0 else self._unit(place, op, value)

    def _picture(self, place: int, op: Op, value: _Value) -> _Value:
        """Take what is done to pictures before the first convolution."""
        if op.kind not in ("input", "resize", "scale", "reshape"):
            raise GraphError(f"its {op.described} stands before the first convolution, {_NO}")
        return replace(value, source=place, steps=self._more(value, op))

    def _more(self, value: _Value, op: Op) -> tuple[Op, ...]:
        if len(value.steps) == _MAX_STEPS:
            raise GraphError(f"{op} is one of more than {_MAX_STEPS} in a row, {_NO}")
        return (*value.steps, op)

    def _unit(self, place: int, op: Op, value: _Value) -> _Value:
        """Take what may follow a convolution of the body: BatchNorm, then ReLU6."""
        of = self.units[value.unit].op
        ways = {"a shortcut": value.joined, "ReLU6": value.active, "a BatchNorm": value.norm or value.steps}
        after = next((name for name, done in ways.items() if done), "")
        if op.kind == "norm":
            if after:
                raise GraphError(f"its BatchNorm {op} follows {after} after {of}, {_NO}")
            return replace(value, source=place, norm=op)
        if op.kind == "scale":
            if value.joined or value.active or value.norm:
                raise GraphError(f"its scaling {op} follows {after} after {of}, {_NO}")
            return replace(value, source=place, steps=self._more(value, op))
        if op.kind == "activation" and op.function == "relu6":
            if value.joined:  # a second ReLU6 changes nothing
                raise GraphError(f"its activation {op} follows {after} after {of}, {_NO}")
            return replace(value, source=place, active=True)
        if op.kind == "activation":
            raise GraphError(
                f"its {op.described} follows {of} before the pooling and is not ReLU6, which a MobileNet has"
            )
        raise GraphError(f"its {op.described} follows {of} before the pooling, {_NO}")

    def _convolve(self, place: int, op: Op, value: _Value) -> _Value:
        """Take a convolution of the body."""
        last = len(self.units) - 1
        if value.unit != last:
            raise GraphError(f"its {op} does not take what {self.units[-1].op} gives, as in a MobileNet it would")
        if last >= 0:
            self.units[last].gives = replace(value, zeros=None)
        else:
            self.pictures = value.steps
            sizes = [step.size for step in (*value.steps, op) if step.size is not None]
            resized = [step.size for step in value.steps if step.kind == "resize"]
            self.size = self.side = (*reversed(resized), *sizes, None)[0]
        depthwise = op.kind == "depthwise"
        if op.stride > 1 and not depthwise and self.units:
            raise GraphError(f"its {op} has stride {op.stride}, where a MobileNet has it in depthwise layers only")
        zeros = op.zeros
        if value.zeros is not None:
            if zeros != (0, 0):
                raise GraphError(f"its {op} pads what is padded, {_NO}")
            zeros = value.zeros
        half = op.kernel // 2
        if op.stride == 1 and zeros not in (None, (half, half)):
            raise GraphError(f"its {op} changes the size of its map at stride 1, {_NO}")
        window = Window(op, zeros, self.side)
        channels = self.units[-1].channels if depthwise and self.units else op.channels
        self.units.append(Unit(op, value, channels, window))
        self.side = window.gives
        return _Value(place, last + 1)

    def _add(self, place: int, op: Op, taken: Sequence[_Value]) -> _Value:
        """Take a shortcut: from the input of the block whose projection comes last."""
        last = len(self.units) - 1
        wrong = GraphError(f"its {op} joins other tensors than a block's input and its projection")
        if last < 2 or len(taken) != 2 or self.units[last].depthwise or not self.units[last - 1].depthwise:
            raise wrong
        # What the depthwise layer takes is an expansion, or the block's input itself.
        start = self.units[last - 2 if self._expands(last - 2) else last - 1].takes
        given = [value for value in taken if value.unit == last and not value.joined]
        other = [value for value in taken if value.unit != last and value.zeros is None]
        if len(given) != 1 or len(other) != 1 or other[0].source != start.source:
            raise wrong
        if given[0].active:
            raise GraphError(f"ReLU6 follows {self.units[last].op}, unlike in MobileNetV2")
        return replace(given[0], source=place, joined=True)

    def _behind(self, place: int, op: Op, taken: Sequence[_Value]) -> _Value:
        """Take what comes after the body, where anything may: ``head`` says what it comes to."""
        started = [value for value in taken if not value.behind and value.unit >= 0]
        if op.kind == "depthwise" or not all(self._whole(value) or op.kind in POOLS for value in started):
            start = self._left[0][0] if self._left else op
            raise GraphError(f"its {op.described} takes what {start.described} gives back into the body, {_NO}")
        self._left += [(op, value) for value in started]
        return _Value(place, max(value.unit for value in taken), behind=True)

    def _whole(self, value: _Value) -> bool:
        """Whether a body could end here: after the ReLU6 of an ordinary convolution other than the first."""
        if value.unit < 1 or value.unit != len(self.units) - 1:
            return False
        return value.active and not (value.joined or value.zeros or self.units[value.unit].depthwise)

    def _starts(self, op: Op, value: _Value) -> bool:
        """Whether a head begins with this operation. Where a depthwise layer follows after all, that is refused."""
        if value.unit >= 0 and op.kind in POOLS and value.zeros is None:
            return True
        goes_on = op.kind in _CONTINUING or (op.kind == "activation" and op.function in ("linear", "relu6"))
        return not goes_on and self._whole(value)

    def _expands(self, index: int) -> bool:
        """Whether a convolution is the expansion of a block rather than the stem or a projection."""
        return index > 0 and not self.units[index].depthwise and not self.units[index - 1].depthwise

    def _finish(self) -> None:
        """Find what leaves the body."""
        last = len(self.units) - 1
        for op, value in self._left:
            if value.unit != last:
                of = self.units[value.unit].op
                raise GraphError(f"its {op.described} takes {of} and not {self.units[last].op}, {_NO}")
        ends = [value for value in self._values.values() if value.unit == last and not value.behind]
        left = {value.source: value for _, value in self._left} or {ends[-1].source: ends[-1]}
        if len(left) > 1:
            raise GraphError(f"{self.units[last].op} is pooled before and behind its activation, {_NO}")
        self.units[last].gives = end = next(iter(left.values()))
        if end.zeros is not None:
            raise GraphError("its last zero padding has no convolution after it")

    def check(self) -> None:
        """Refuse a chain of convolutions, activations and shortcuts that is not V1's or V2's."""
        kinds = "".join("d" if unit.depthwise else "c" for unit in self.units)
        first = re.fullmatch(r"c(dc)+", kinds) is not None
        second = re.fullmatch(r"c(c?dc)+c", kinds) is not None
        if not first and not second:
            raise GraphError("its convolutions do not follow one another as in MobileNetV1 or V2")
        block = self.units[0]
        for before, unit in pairwise([self.units[0], *self.units]):
            gives = unit.gives
            assert gives is not None
            projects = second and before.depthwise
            if gives.active == projects:
                what = "ReLU6 follows" if projects else "no ReLU6 follows"
                raise GraphError(f"{what} {unit.op}{', a projection' * projects}, unlike in MobileNetV1 and V2")
            if gives.joined and not projects:
                raise GraphError(f"a shortcut leads around {unit.op}, unlike in any MobileNetV1")
            if projects:
                due = before.op.stride == 1 and unit.channels == block.channels
                if gives.joined != due:
                    what = "no shortcut leads" if due else "a shortcut leads"
                    raise GraphError(f"{what} around the block of {unit.op}, unlike in MobileNetV2")
            if before.depthwise:
                block = unit


def needed(ops: Sequence[Op], outputs: Sequence[int]) -> list[int]:
    """Give the places of all that the outputs take, in order."""
    found: set[int] = set()
    waiting = list(outputs)
    while waiting:
        place = waiting.pop()
        if place not in found:
            found.add(place)
            waiting += ops[place].inputs
    return sorted(found)


def _at(op: Op, epsilon: float | None) -> Layer:
    """Give a BatchNorm of the same function under another epsilon."""
    assert op.layer is not None
    if op.epsilon is None or epsilon is None or op.epsilon == epsilon:
        return op.layer
    arrays = op.layer.arrays
    variance = arrays["running_var"].astype(np.float64) + (op.epsilon - epsilon)
    return norm(op.layer.name, arrays["weight"], arrays["bias"], arrays["running_mean"], variance)


def _plain(steps: Sequence[Op], channels: int, epsilon: float) -> Layer:
    """Make a BatchNorm of multiplications and additions, which are what is left of one after constant folding."""
    scale, shift = affine(list(steps), channels)
    return norm(steps[0].name, scale, shift, np.zeros(channels), np.ones(channels) - epsilon)
