"""What a pickled module says of itself beside its weights, held against the network that it is to become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mobilenets.errors import InputError
from mobilenets.weights.layers import Foreign, Layer, of_kind
from mobilenets.weights.pytorch.checkpoint import Convolution, State


def check_module(foreign: Foreign, module: State) -> tuple[Foreign, Sequence[str]]:
    """Take strides, padding and epsilon from the modules of a file, where it has them; and which facts were seen.

    Raises ``InputError`` for what MobileNetV1 and V2 do not have: another activation, stride or padding.
    """
    depthwise = of_kind(foreign.layers, "depthwise")
    if module.kind == "state dictionary" or not depthwise:
        return foreign, ()
    _check_activations(module, depthwise)
    convs = [layer for layer in of_kind(foreign.layers, "conv") if layer.arrays["weight"].shape[1] == 3][:1]
    told = [module.convolutions.get(layer.name) for layer in (*convs, *depthwise)]
    described = [conv for conv in told if conv is not None]
    seen = ["activation"]
    if described and len(described) == len(told):
        others = {layer.name for layer in of_kind(foreign.layers, "conv")[1:]}
        foreign = _convolutions(foreign, described, {n: c for n, c in module.convolutions.items() if n in others})
        seen += ["strides", "padding"]
    norms = [module.epsilons.get(layer.name) for layer in of_kind(foreign.layers, "norm")]
    epsilons = {epsilon for epsilon in norms if epsilon is not None}
    if epsilons and None not in norms:
        if len(epsilons) > 1:
            raise InputError(f"its BatchNorms have the epsilons {sorted(epsilons)[:3]}, where a MobileNet has one")
        foreign = replace(foreign, epsilon=epsilons.pop())
        seen.append("epsilon")
    return foreign, seen


def _check_activations(module: State, depthwise: Sequence[Layer]) -> None:
    """Refuse an activation other than ReLU6 in the body; behind it a head of several layers may have one."""
    bodies = {layer.name.partition(".")[0] for layer in depthwise}
    shared = _common([layer.name for layer in depthwise])
    for name, kind in module.activations.items():
        if name.startswith(shared) and (shared or name.partition(".")[0] in bodies):
            raise InputError(
                f"it activates with {kind} ({name[:60]!r}), where MobileNetV1 and V2 have ReLU6; its answers would "
                "differ"
            )


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
