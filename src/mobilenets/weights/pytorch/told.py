"""What a pickled module says of itself beside its weights, held against the network that it is to become."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from mobilenets.errors import InputError
from mobilenets.weights.layers import Foreign, Layer, of_kind
from mobilenets.weights.pytorch.checkpoint import Convolution, State

# Sources that have a module for each activation.
_WITH_MODULES = ("of torchvision", "of timm")
_OTHER_POOLS = re.compile(r"(Max|Lp|Concat|Attention|Fractional|Median|Blur)\w*Pool|Pool\w*Max|GeM|Gem")
_ENDS = ("Softmax", "LogSoftmax", "Sigmoid")
# By the activations of a body, the classes of the modules that activate in it, gates included.
_CLASSES = {
    "relu6": {"ReLU6"},
    "relu": {"ReLU"},
    "hard_swish": {"Hardswish", "HardSwish", "HardSwishMe", "Hardsigmoid", "HardSigmoid", "HardSigmoidMe"},
}


def check_module(foreign: Foreign, module: State) -> tuple[Foreign, Sequence[str]]:
    """Take strides, padding and epsilon from the modules of a file, where it has them; and which facts were seen.

    Raises ``InputError`` for what the source's MobileNets do not have: another activation, stride or padding.
    """
    depthwise = of_kind(foreign.layers, "depthwise")
    if module.kind == "state dictionary" or not depthwise:
        return foreign, ()
    known = foreign.activations or ("relu6",)
    _check_activations(module, depthwise, known)
    if known == ("relu6",):  # the head of V3 and V4 has layers and activations of its own
        foreign = replace(foreign, headless=foreign.headless or _headless(module, foreign))
    classes = set[str]().union(*(_CLASSES[name] for name in known))
    rectifiers = sum(kind in classes for kind in module.modules.values())
    if known == ("relu6",) and foreign.format.endswith(_WITH_MODULES) and rectifiers <= 2 * len(depthwise):
        raise InputError(
            f"its modules show {rectifiers or 'no'} ReLU6, fewer than MobileNetV1 and V2 have; it would compute "
            "something else"
        )
    convs = [layer for layer in of_kind(foreign.layers, "conv") if layer.arrays["weight"].shape[1] == 3][:1]
    told = [module.convolutions.get(layer.name) for layer in (*convs, *depthwise)]
    described = [conv for conv in told if conv is not None]
    seen = ["activation"] if rectifiers else []
    if described and len(described) == len(told):
        others = {layer.name for layer in of_kind(foreign.layers, "conv")[1:]}
        rest = {n: c for n, c in module.convolutions.items() if n in others}
        foreign = _convolutions(foreign, described, {} if known == ("relu",) else rest)
        seen += ["strides", "padding"]
    norms = [module.epsilons.get(layer.name) for layer in of_kind(foreign.layers, "norm")]
    epsilons = {epsilon for epsilon in norms if epsilon is not None}
    if epsilons and None not in norms:
        if len(epsilons) > 1:
            raise InputError(f"its BatchNorms have the epsilons {sorted(epsilons)[:3]}, where a MobileNet has one")
        foreign = replace(foreign, epsilon=epsilons.pop())
        seen.append("epsilon")
    return foreign, seen


def _check_activations(module: State, depthwise: Sequence[Layer], known: Sequence[str]) -> None:
    """Refuse an activation other than those of the source's body; behind it a head of several layers may have one."""
    classes = set[str]().union(*(_CLASSES[name] for name in known))
    bodies = {layer.name.partition(".")[0] for layer in depthwise}
    shared = _common([layer.name for layer in depthwise])
    for name, kind in module.activations.items():
        if kind not in classes and name.startswith(shared) and (shared or name.partition(".")[0] in bodies):
            expected = (
                "MobileNetV1 and V2 have ReLU6" if known == ("relu6",) else f"its source has {' and '.join(known)}"
            )
            raise InputError(f"it activates with {kind} ({name[:60]!r}), where {expected}; its answers would differ")


def _headless(module: State, foreign: Foreign) -> str:
    """Say why the head of a module is not an average and one linear layer; empty where nothing speaks against it."""
    pool = next((item for item in module.modules.items() if _OTHER_POOLS.search(item[1])), None)
    if pool is not None:
        return f"its {pool[0][:60]!r} ({pool[1][:60]}) pools otherwise than by the average"
    linear = of_kind(foreign.layers, "linear")
    if len(linear) != 1:
        return ""
    order = list(module.modules)
    place = order.index(linear[0].name) if linear[0].name in order else len(order)
    for name, kind in module.activations.items():
        behind = order.index(name) > place
        if kind in _ENDS and behind:
            outputs = linear[0].arrays["weight"].shape[0]
            if kind == "Sigmoid" and outputs > 1:
                return (
                    f"its {outputs} scores end in {name[:60]!r} (Sigmoid), each class by itself, so that several may "
                    "be right at once, where answers here are one of the classes"
                )
        elif kind != "ReLU" or behind:  # the features are never negative
            return f"its {name[:60]!r} ({kind}) stands {'behind' if behind else 'before'} the linear layer"
    return ""


def _common(names: Sequence[str]) -> str:
    """Give the dotted prefix that all names share."""
    first, *others = [name.split(".")[:-1] for name in names]
    shared = 0
    while shared < len(first) and all(parts[shared : shared + 1] == first[shared : shared + 1] for parts in others):
        shared += 1
    return "".join(f"{part}." for part in first[:shared])


def _convolutions(foreign: Foreign, told: Sequence[Convolution], others: dict[str, Convolution]) -> Foreign:
    strides = [conv.stride for conv in told]
    if any(stride not in ((1, 1), (2, 2)) for stride in strides) or any(
        conv.stride != (1, 1) for conv in others.values()
    ):
        raise InputError("its convolutions have strides that MobileNetV1 and V2 do not have")
    paddings = {conv.padding for conv in told}
    strided = {conv.padding for conv in told if conv.stride != (1, 1)}
    if "" in paddings or len(strided) > 1:
        raise InputError("its convolutions pad or dilate in a way that MobileNetV1 and V2 do not have")
    padding = strided.pop() if strided else foreign.padding
    return replace(foreign, strides=tuple(stride[0] for stride in strides), padding=padding)
