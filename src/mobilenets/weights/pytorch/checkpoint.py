"""What of a checkpoint is the weights: the state dictionaries and modules in it, and the one that is taken."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mobilenets.base.pickled import Object
from mobilenets.errors import InputError
from mobilenets.weights.layers import MAX_ARRAYS
from mobilenets.weights.pytorch.torch_pickle import Tensor

# Where checkpoints keep the weights, the usual ones first.
STATES = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "params", "weights")
# Averages of the weights, which generalise better and are what timm and torchvision evaluate.
AVERAGED = re.compile(r"(^|[_.])(ema|swa|averaged?|averaging|shadow)([_.]|$)")
LEAVES = ("weight", "bias", "running_mean", "running_var")

_DEPTH = 6  # of dicts in dicts; a pickle can describe a dict that holds itself
_MAX_LOOKED_AT = 10_000  # values that hold others
_SCRIPT = "__torch__."
# Modules that compute something else than ReLU6 does: torch.nn.modules.activation, timm.layers.
_ACTIVATIONS = (
    *("ReLU", "LeakyReLU", "PReLU", "RReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Swish", "Mish", "Tanh"),
    *("Hardswish", "HardSwish", "Hardsigmoid", "HardSigmoid", "Sigmoid", "Softplus", "Hardtanh", "SwishMe", "HardMish"),
    *("HSwish", "HSigmoid", "h_swish", "h_sigmoid", "GELUTanh", "QuickGELU"),
)


@dataclass(frozen=True)
class Convolution:
    """What a module tells of itself beside its weights."""

    stride: tuple[int, ...]
    padding: str


@dataclass
class State:
    """A state dictionary, or the same of a whole module, and where it was found."""

    name: str
    tensors: dict[str, Tensor | Object]
    kind: str = "state dictionary"
    convolutions: dict[str, Convolution] = field(default_factory=dict)
    epsilons: dict[str, float] = field(default_factory=dict)
    activations: dict[str, str] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)  # the class of each by name, in the order of the module

    @property
    def convolves(self) -> bool:
        """Whether it has convolutions, as a network has and a head or a loss has not."""
        return any(type(value) is Tensor and len(value.shape) == 4 for value in self.tensors.values())


def find(value: object) -> list[State]:
    """Find the state dictionaries and modules in what a file holds, the outermost first."""
    found: list[State] = []
    odd: list[State] = []  # where all weights are of kinds that cannot be read
    waiting: deque[tuple[tuple[str, ...], object]] = deque([((), value)])
    seen: set[int] = set()
    while waiting and len(seen) < _MAX_LOOKED_AT:
        path, item = waiting.popleft()
        if id(item) in seen or len(path) > _DEPTH:
            continue
        seen.add(id(item))
        name = ".".join(path)
        if _is_module(item):
            found += [_module(name, item)]
            continue
        children = list(_children(item))
        tensors = {key: child for key, child in children if type(key) is str and isinstance(child, Tensor | Object)}
        weights = [child for key, child in tensors.items() if key.rpartition(".")[2] in LEAVES]
        if weights:
            (found if any(type(child) is Tensor for child in weights) else odd).append(State(name, tensors))
        holders = ((key, child) for key, child in children if isinstance(child, dict | list | tuple | Object))
        waiting.extend(((*path, str(key)), child) for key, child in holders)
    return [state for state in found if state.tensors] or odd


def _children(item: object) -> Iterator[tuple[str | int, Any]]:
    if isinstance(item, dict):
        yield from item.items()
    elif isinstance(item, list | tuple):
        yield from enumerate(item)
    elif isinstance(item, Object):
        yield from item.items.items()
        if isinstance(item.state, dict | tuple):
            yield from _children(item.state)


def _parts(item: object) -> Iterator[tuple[str, Any]]:
    """Give the tensors and modules that a module holds by name, as its state dictionary would list them."""
    state = item.state if isinstance(item, Object) else None
    if not isinstance(state, dict):
        return
    holders: Sequence[Any] = [state.get(key) for key in ("_parameters", "_buffers", "_modules")]
    for holder in [state] if not _is_eager(item) else holders:
        for key, part in holder.items() if isinstance(holder, dict) else ():
            opaque = isinstance(part, Object) and (_is_module(part) or key in LEAVES)
            if isinstance(key, str) and (opaque or isinstance(part, Tensor)):
                yield key, part


def _is_eager(item: object) -> bool:
    return isinstance(item, Object) and isinstance(item.state, dict) and "_modules" in item.state


def _is_module(item: object) -> bool:
    return _is_eager(item) or (isinstance(item, Object) and item.name.startswith(_SCRIPT))


def _module(name: str, root: Object | Any) -> State:
    """Flatten a module as ``Module.state_dict`` does, without recursion; each module is met once."""
    state = State(name, {}, "TorchScript module" if root.name.startswith(_SCRIPT) else "module")
    waiting: list[tuple[str, Object]] = [("", root)]
    seen: set[int] = set()
    while waiting:
        prefix, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        _describe(state, prefix[:-1], module)
        parts = list(_parts(module))
        state.tensors |= {prefix + key: part for key, part in parts if not _is_module(part)}
        if len(seen) > MAX_ARRAYS or len(state.tensors) > MAX_ARRAYS or len(prefix) > 10_000:
            raise InputError("it holds a module with more parts than a MobileNet has; give another file")
        waiting += [(f"{prefix}{key}.", part) for key, part in reversed(parts) if _is_module(part)]
    return state


def _describe(state: State, name: str, module: Object) -> None:
    """Keep what a module says of itself: its activation, and a convolution's and BatchNorm's settings."""
    kind = re.split(r"[ .]", module.name)[-1]
    state.modules[name] = kind
    if kind in _ACTIVATIONS:
        state.activations[name] = kind
    settings = module.state if isinstance(module.state, dict) else {}
    stride, padding, kernel = (settings.get(key) for key in ("stride", "padding", "kernel_size"))
    dilation, buffers = settings.get("dilation"), settings.get("_buffers")
    if isinstance(stride, tuple) and isinstance(kernel, tuple) and isinstance(dilation, tuple):
        plain = settings.get("padding_mode") == "zeros" and all(step == 1 for step in dilation)
        ways = {"symmetric": padding == tuple(side // 2 for side in kernel), "same": kind == "Conv2dSame"}
        way = next((way for way, fits in reversed(ways.items()) if fits), "")
        state.convolutions[name] = Convolution(stride, way if plain else "")
    if isinstance(buffers, dict) and "running_mean" in buffers and isinstance(settings.get("eps"), float):
        state.epsilons[name] = settings["eps"]


def choose(states: Sequence[State], output: str | None = None) -> tuple[State, list[State]]:
    """Choose the weights among the states of a file: the one named, else an average of weights, else the usual one.

    Returns it and the others. Raises ``InputError`` that lists them where nothing tells which is meant.
    """
    states = [state for state in states if state.convolves] or list(states)
    if output is not None:
        named = [state for state in states if output in (state.name, state.name.rpartition(".")[2])]
        if len(named) == 1:
            return named[0], [state for state in states if state is not named[0]]

    def rank(state: State) -> tuple[bool, int]:
        last = state.name.rpartition(".")[2]
        return not is_average(state.name), STATES.index(last) if last in STATES else len(STATES)

    best, *others = sorted(states, key=rank)
    depth = best.name.count(".")
    rivals = [state for state in others if rank(state) == rank(best) and state.name.count(".") == depth]
    if rivals and best.name:
        listed = ", ".join(state.name for state in (best, *rivals))
        raise InputError(f"it holds several networks ({listed[:200]}); choose one with --output NAME")
    return best, others


def is_average(name: str) -> bool:
    """Say whether weights under this name are a moving average."""
    return AVERAGED.search(name) is not None


def settings_of(value: object) -> Mapping[str | int, Any]:
    """Gather what a checkpoint says of its network: the values beside the weights and in its arguments, the outer ones
    before the inner.
    """
    gathered: dict[str | int, Any] = {}
    keys = ("args", "hyper_parameters", "hparams", "config", "cfg", "meta", "dataset_meta", "model_args", "opt")
    level = [value]
    for _ in range(3):
        inner: list[object] = []
        for item in level:
            children = dict(_children(item)) if isinstance(item, dict | Object) else {}
            gathered = children | gathered
            inner += [children[key] for key in keys if key in children]
        level = inner
    return gathered
