"""What Keras writes as several layers and MobileNetV3 has as one: hard-swish, and squeeze-and-excitation.

``keras.applications.mobilenet_v3`` builds hard-sigmoid of ``x + 3``, a ReLU6 and a factor of 1/6. Keras 2 builds
hard-swish of that and a Multiply; Keras 3 has it as an activation.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

from mobilenets.weights.keras.graph import Op, spelt
from mobilenets.weights.keras.passing import PASSING
from mobilenets.weights.keras.scaling import OPERATORS, constants

HARD_SWISH, EXCITED = "hard_swish", "squeeze_excite"

# The kinds of a gate's layers from the pooling to what is multiplied, without those that pass values on.
_GATE = (("GlobalAveragePooling2D", "Mean"), ("Conv2D",), ("ReLU",), ("Conv2D",), ("hard_sigmoid",))
_SHIFT, _FACTOR = 3.0, 1 / 6


def activation_of(op: Op) -> str:
    """Give the activation that a layer is, or has, by this package's name for it: ``relu6``, ``relu``, ``hard_swish``.

    An empty text stands for none, and Keras's own name for one that no MobileNet has.
    """
    config = op.layer["config"]
    if op.kind == "ReLU":
        plain = not config.get("negative_slope") and not config.get("threshold")
        limit = config.get("max_value")
        return "relu6" if limit == 6 and plain else "relu" if limit is None and plain else "ReLU"
    if op.kind in ("Relu6", "nn.relu6"):
        return "relu6"
    if op.kind in (HARD_SWISH, "hard_sigmoid"):
        return op.kind
    name = spelt(config.get("activation"))
    # Keras 2's hard_sigmoid is another function: its slope is 0.2.
    names = {"linear": "", "hard_silu": HARD_SWISH} | ({} if "module" in op.layer else {"hard_sigmoid": "hard_sigmoid of Keras 2"})
    return names.get(name, name)


def join_compounds(ops: list[Op]) -> None:
    """Put one call in the place of the last of several that come to a hard-swish or a squeeze-and-excitation.

    The others get the stage ``inside``. The two convolutions of a squeeze-and-excitation are among those.
    """
    for place, op in enumerate(ops):
        if len(op.inputs) == 1 and _is_sixth(ops, op):
            shifted = _through(ops, _through(ops, op.inputs[0], "relu6"), "shift")
            if shifted is not None:
                _join(ops, place, "hard_sigmoid", shifted)
        elif len(op.inputs) == 2 and OPERATORS.get(op.kind) == "*":
            _join_product(ops, place)


def _join_product(ops: list[Op], place: int) -> None:
    for gate, given in (ops[place].inputs, ops[place].inputs[::-1]):
        if activation_of(ops[gate]) != "hard_sigmoid":
            continue
        if ops[gate].inputs == (given,):
            _join(ops, place, HARD_SWISH, given)
            return
        chain = _chain(ops, gate)
        if chain and ops[chain[0]].inputs == (given,):
            _join(ops, place, EXCITED, given)
            return


def _chain(ops: Sequence[Op], gate: int) -> list[int]:
    """Give the places of a gate's calls, from the pooling on; none where they are others."""
    chain: list[int] = []
    place = gate
    for kinds in reversed(_GATE):
        op = ops[place]
        kind = "hard_sigmoid" if activation_of(op) == "hard_sigmoid" and op.kind != "Conv2D" else op.kind
        if kind == "Activation":
            kind = "ReLU" if activation_of(op) == "relu" else kind
        if kind not in kinds or len(op.inputs) != 1 or (kind == "ReLU" and activation_of(op) != "relu"):
            return []
        chain.insert(0, place)
        place = op.inputs[0]
    return chain if _is_whole(ops[chain[0]]) else []


def _is_whole(pool: Op) -> bool:
    config = pool.layer["config"]
    return bool(config.get("keepdims")) and (pool.kind != "Mean" or config.get("axis") in ([1, 2], [-3, -2]))


def _is_sixth(ops: Sequence[Op], op: Op) -> bool:
    """Whether a call multiplies one tensor by 1/6."""
    sign = OPERATORS.get(op.kind)
    if sign not in ("*", "/") or "trainable" in op.layer["config"]:
        return False
    told = constants(op.layer["inbound_nodes"])
    if len(told) != 1 or len(told[0][1]) != 1 or (sign == "/" and told[0][0]):
        return False
    value = told[0][1][0]
    return math.isclose(value if sign == "*" else 1 / value if value else 0, _FACTOR, rel_tol=1e-4)


def _through(ops: Sequence[Op], place: int | None, what: str) -> int | None:
    """Give what a ReLU6, or a shift by 3, takes; None where the call is another."""
    if place is None or len(ops[place].inputs) != 1:
        return None
    op = ops[place]
    if what == "relu6":
        return op.inputs[0] if activation_of(op) == "relu6" else None
    if OPERATORS.get(op.kind) != "+" or "trainable" in op.layer["config"]:
        return None
    told = constants(op.layer["inbound_nodes"])
    return op.inputs[0] if [values for _, values in told] == [(_SHIFT,)] else None


def _join(ops: list[Op], place: int, kind: str, given: int) -> None:
    """Let the call at ``place`` be a ``kind`` on what ``given`` gave, and mark all between the two."""
    waiting = list(ops[place].inputs)
    while waiting:
        inner = waiting.pop()
        if inner == given or ops[inner].stage == "inside":
            continue
        ops[inner].stage = "inside"
        waiting += ops[inner].inputs
    layer = {"class_name": kind, "config": {"name": ops[place].path[-1]}, "inbound_nodes": []}
    ops[place] = replace(ops[place], layer=layer, inputs=(given,))


_POOLED = {"GlobalAveragePooling2D", "Mean", "Flatten", "Reshape", *PASSING}


def mark_hidden(ops: Sequence[Op], activations: Collection[str]) -> dict[tuple[str, ...], str]:
    """Mark what MobileNetV3 has between pooling and classifier: a 1×1 convolution, or Dense, and an activation.

    Its calls get the stage ``hidden``, and its activation is given by its path. ``activations`` are the body's: a
    network with ReLU6 has nothing there.
    """
    place = next((n for n, op in enumerate(ops) if op.stage == "head" and op.kind in ("Conv2D", "Dense")), None)
    if place is None or not {"relu", "hard_swish"} & set(activations):
        return {}
    chain = [place]
    while ops[source := ops[chain[0]].inputs[0]].stage == "head":
        if len(ops[source].inputs) != 1 or ops[source].kind not in _POOLED:
            return {}
        chain.insert(0, source)
    active = activation_of(ops[place])
    if not active:
        after = _users(ops, place)
        active = activation_of(ops[after[0]]) if len(after) == 1 and ops[after[0]].kind not in ("Conv2D", "Dense") else ""
        chain += after
    whole = any(ops[inner].kind in ("GlobalAveragePooling2D", "Mean") for inner in chain)
    alone = all(_users(ops, inner) == [outer] for inner, outer in pairwise(chain))
    if active not in ("relu", "hard_swish") or not whole or not alone:
        return {}
    for inner in chain:
        ops[inner].stage = "hidden"
    return {ops[place].path: active}


def _users(ops: Sequence[Op], place: int) -> list[int]:
    return [n for n, op in enumerate(ops) if place in op.inputs and op.stage != "inside"]
