"""How the layers of a Keras model_config are wired: checked to be serially MobileNetV1, V2 or V3.

Weights alone would not show a missing shortcut or activation, and the network would compute something else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from mobilenets.weights.keras.compound import EXCITED, HARD_SWISH, activation_of
from mobilenets.weights.keras.graph import Op, Refuse
from mobilenets.weights.keras.passing import PASSING

_ADDS = {"math.add", "__operators__.add"}
_POOLS = {"GlobalAveragePooling2D", "AveragePooling2D", "Flatten", "Reshape"}
# What may follow a block's last activation within the body.
_CONTINUING = {"DepthwiseConv2D", "ZeroPadding2D", "ReLU", "Relu6", "nn.relu6", HARD_SWISH, EXCITED, "cast"}
_ACTIVATIONS = ("relu6", "relu", "hard_swish")
_ACTIVATING = {"Activation", "ReLU", "Relu6", "nn.relu6", HARD_SWISH}


@dataclass(frozen=True)
class _Tensor:
    """An output. ``source``: the call that made it, but for those that pass it on; ``draft``: its convolution."""

    source: int
    draft: int = -1
    norm: bool = False
    active: str = ""
    excited: bool = False
    joined: bool = False
    padded: bool = False
    behind: bool = False


@dataclass
class _Draft:
    """A convolution of the body, with what it takes and what is made of it."""

    op: Op
    takes: _Tensor
    channels: int
    stride: int
    gives: _Tensor | None = None

    @property
    def depthwise(self) -> bool:
        return self.op.kind == "DepthwiseConv2D"


class Wiring:
    """Goes along the calls once, marks those behind the body, and refuses another body than V1's, V2's or V3's."""

    def __init__(self, ops: Sequence[Op], refuse: Refuse) -> None:
        self.ops, self.refuse = ops, refuse
        self.tensors: list[_Tensor] = []
        self.drafts: list[_Draft] = []
        self.pooled: list[tuple[Op, _Tensor]] = []
        for place, op in enumerate(ops):
            if op.stage == "inside":
                self.tensors.append(_Tensor(place))
                continue
            tensor = self.take(place, op)
            op.stage = "head" if tensor.behind else "body" if tensor.draft >= 0 else "input"
            self.tensors.append(tensor)
        if any(draft.depthwise for draft in self.drafts):  # without any it is refused as no MobileNet
            self.finish()
            self.check()

    @property
    def activations(self) -> dict[tuple[str, ...], str]:
        """By the path of each convolution of the body, its activation."""
        return {
            draft.op.path: (draft.gives.active or "none") for draft in self.drafts if draft.gives is not None
        }

    def take(self, place: int, op: Op) -> _Tensor:
        """Give what one call makes."""
        taken = [self.tensors[source] for source in op.inputs]
        if any(tensor.behind for tensor in taken):
            return self.behind(place, op, taken)
        if op.kind in ("Add", *_ADDS) and len(taken) > 1:
            return self.add(place, op, taken)
        if len(taken) > 1:
            what = (
                ", as nothing in the body of a MobileNet does"
                if self.drafts
                else " before the first convolution, where here only numbers are scaled"
            )
            raise self.refuse(f"its {op} ({op.kind[:100]}) takes {len(taken)} tensors{what}")
        tensor = taken[0] if taken else _Tensor(place)
        if self.starts(op, tensor):
            return self.behind(place, op, taken)
        if op.kind in ("Conv2D", "DepthwiseConv2D"):
            return self.convolve(place, op, tensor)
        if tensor.padded and op.kind not in ("ZeroPadding2D",) and tensor.draft >= 0:
            raise self.refuse(f"its {op} ({op.kind[:100]}) takes a map padded with zeros, in no MobileNetV1 or V2")
        if op.kind == "ZeroPadding2D":
            return replace(tensor, padded=True)
        if tensor.draft < 0:
            if op.kind in ("BatchNormalization", "Dense") or op.kind in _POOLS - {"Reshape"}:
                raise self.refuse(f"its {op} ({op.kind}) stands before the first convolution, in no MobileNetV1 or V2")
            return tensor
        return self.unit(place, op, tensor)

    def unit(self, place: int, op: Op, tensor: _Tensor) -> _Tensor:
        """Take what may follow a convolution of the body: BatchNorm, activation, squeeze-and-excitation."""
        of = self.drafts[tensor.draft].op
        done = next((what for what in ("joined", "excited", "active", "norm") if getattr(tensor, what)), "")
        words = {"active": shown(tensor.active), "excited": "squeeze-and-excitation"}
        after = {"joined": "a shortcut", "norm": "a BatchNorm", **words}.get(done, "")
        if op.kind == "BatchNormalization":
            if done:
                raise self.refuse(f"its BatchNorm {op} follows {after} after {of}, in no MobileNetV1 or V2")
            return replace(tensor, source=place, norm=True)
        activation = activation_of(op) if op.kind in _ACTIVATING else ""
        if activation in _ACTIVATIONS:
            again = done == "active" and activation == tensor.active != "hard_swish"  # changes nothing
            if done in ("joined", "excited") or (done == "active" and not again):
                raise self.refuse(f"its activation {op} follows {after} after {of}, in no MobileNet")
            return replace(tensor, source=place, active=activation)
        if op.kind == EXCITED:
            if done != "active" or not self.drafts[tensor.draft].depthwise:
                raise self.refuse(f"its squeeze-and-excitation {op} follows {after or of}, unlike in MobileNetV3")
            return replace(tensor, source=place, excited=True)
        if op.kind in ("Dense", "Softmax", "GlobalMaxPooling2D", "MaxPooling2D") or activation:
            raise self.refuse(
                f"its {op} ({activation or op.kind}) follows {of} before the pooling, in no MobileNetV1 or V2"
            )
        return tensor

    def convolve(self, place: int, op: Op, tensor: _Tensor) -> _Tensor:
        """Take a convolution of the body."""
        config = op.layer["config"]
        last = len(self.drafts) - 1
        if tensor.draft != last:
            raise self.refuse(f"its {op} does not take what {self.drafts[-1].op} gives, as in a MobileNet it would")
        if last >= 0:
            self.drafts[last].gives = replace(tensor, padded=False)
        depthwise = op.kind == "DepthwiseConv2D"
        strides = config["strides"]
        stride = max(strides) if isinstance(strides, list) else int(strides)
        if stride > 1 and not depthwise and self.drafts:
            raise self.refuse(f"its {op} has stride {stride}, where a MobileNet has it in depthwise layers only")
        channels = self.drafts[-1].channels if depthwise and self.drafts else int(config.get("filters", 0))
        self.drafts.append(_Draft(op, tensor, channels, stride))
        return _Tensor(place, last + 1, active=activation_of(op))  # one that no MobileNet has is refused by the reader

    def add(self, place: int, op: Op, taken: Sequence[_Tensor]) -> _Tensor:
        """Take a shortcut: from the input of the block whose projection comes last."""
        last = len(self.drafts) - 1
        wrong = self.refuse(f"its {op} joins other tensors than a block's input and its projection")
        if last < 2 or len(taken) != 2 or self.drafts[last].depthwise or not self.drafts[last - 1].depthwise:
            raise wrong
        # What the depthwise layer takes is an expansion, or the block's input itself.
        start = self.drafts[last - 2 if self.expands(last - 2) else last - 1].takes
        given = [tensor for tensor in taken if tensor.draft == last and not tensor.joined]
        other = [tensor for tensor in taken if tensor.draft != last and not tensor.padded]
        if len(given) != 1 or len(other) != 1 or other[0].source != start.source:
            raise wrong
        if given[0].active:
            raise self.refuse(f"{shown(given[0].active)} follows {self.drafts[last].op}, unlike in MobileNetV2")
        return replace(given[0], source=place, joined=True)

    def behind(self, place: int, op: Op, taken: Sequence[_Tensor]) -> _Tensor:
        """Take what comes after the body, where anything may: ``head`` says what it comes to."""
        started = [tensor for tensor in taken if not tensor.behind and tensor.draft >= 0]
        if op.kind == "DepthwiseConv2D" or not all(self.whole(tensor) or op.kind in _POOLS for tensor in started):
            start = self.pooled[0][0] if self.pooled else op
            what = f"takes what {start} ({start.kind[:100]}) gives back into the body"
            raise self.refuse(f"its {op} ({op.kind[:100]}) {what}, in no MobileNetV1 or V2")
        self.pooled += [(op, tensor) for tensor in started]
        return _Tensor(place, max(tensor.draft for tensor in taken), behind=True)

    def whole(self, tensor: _Tensor) -> bool:
        """Whether a body could end here: after the activation of an ordinary convolution other than the first."""
        if tensor.draft < 1 or tensor.draft != len(self.drafts) - 1 or not tensor.active:
            return False
        return not (tensor.joined or tensor.padded or self.drafts[tensor.draft].depthwise)

    def starts(self, op: Op, tensor: _Tensor) -> bool:
        """Whether a head begins with this call. Where a depthwise layer follows after all, that is refused."""
        if tensor.draft >= 0 and op.kind in _POOLS and not tensor.padded:
            return True
        goes_on = op.kind in {*_CONTINUING, *PASSING} or (
            op.kind == "Activation" and activation_of(op) in ("", *_ACTIVATIONS)
        )
        return not goes_on and self.whole(tensor)

    def expands(self, index: int) -> bool:
        """Whether a convolution is the expansion of a block rather than the stem or a projection."""
        return index > 0 and not self.drafts[index].depthwise and not self.drafts[index - 1].depthwise

    def finish(self) -> None:
        """Find what leaves the body."""
        last = len(self.drafts) - 1
        for op, tensor in self.pooled:
            if tensor.draft != last:
                of = self.drafts[tensor.draft].op
                raise self.refuse(
                    f"its {op} ({op.kind}) takes {of} and not {self.drafts[last].op}, in no MobileNetV1 or V2"
                )
        ends = [tensor for tensor in self.tensors if tensor.draft == last and not tensor.behind]
        left = {tensor.source: tensor for _, tensor in self.pooled} or {ends[-1].source: ends[-1]}
        if len(left) > 1:
            raise self.refuse(
                f"{self.drafts[last].op} is pooled before and behind its activation, in no MobileNetV1 or V2"
            )
        self.drafts[last].gives = end = next(iter(left.values()))
        if end.padded:
            raise self.refuse("a ZeroPadding2D has no convolution after it")

    def check(self) -> None:
        """Refuse a chain of convolutions, activations and shortcuts that is not V1's or V2's."""
        body = self.drafts
        kinds = "".join("d" if draft.depthwise else "c" for draft in body)
        first = re.fullmatch(r"c(dc)+", kinds) is not None
        second = re.fullmatch(r"c(c?dc)+c", kinds) is not None
        if not first and not second:
            raise self.refuse("its convolutions do not follow one another as in MobileNetV1 or V2")
        block = body[0]
        for before, draft in pairwise([body[0], *body]):
            gives = draft.gives
            assert gives is not None
            projects = second and before.depthwise
            if bool(gives.active) == projects:
                what = f"{shown(gives.active)} follows" if projects else "no ReLU6 follows"
                raise self.refuse(f"{what} {draft.op}{', a projection' * projects}, unlike in MobileNetV1 and V2")
            if gives.joined and not projects:
                raise self.refuse(f"a shortcut leads around {draft.op}, unlike in any MobileNetV1")
            if projects:
                due = before.stride == 1 and draft.channels == block.channels
                if gives.joined != due:
                    what = "no shortcut leads" if due else "a shortcut leads"
                    raise self.refuse(f"{what} around the block of {draft.op}, unlike in MobileNetV2")
            if before.depthwise:
                block = draft


def shown(activation: str) -> str:
    """Spell an activation for people."""
    return {"relu6": "ReLU6", "relu": "ReLU", "hard_swish": "hard-swish"}.get(activation, activation)
