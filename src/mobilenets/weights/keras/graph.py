"""The graph in a model_config of Keras 2 or 3, nested models and all, as calls of plain layers in forward order."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from mobilenets.errors import InputError

MODELS = ("Functional", "Model", "Sequential")
_MAX_DEPTH = 20
_USED_ONCE = {"Conv2D", "DepthwiseConv2D", "BatchNormalization", "Dense", "Normalization"}

_Listed = tuple[Mapping[str, Any], str, str]


@dataclass(frozen=True)
class Call:
    """One call of a plain layer, under the names of the models around it and its own. ``store``: its Keras 3 group.

    ``inputs``: the places of those whose outputs it takes.
    """

    layer: Mapping[str, Any]
    path: tuple[str, ...]
    store: str
    inputs: tuple[int, ...]

    @property
    def kind(self) -> str:
        """Its class, or the function that it calls."""
        name = str(self.layer["class_name"])
        return str(self.layer["config"]["function"]) if name == "TFOpLambda" else name


def is_model(layer: Mapping[str, Any]) -> bool:
    """Whether it is a model that lists its layers; a registered subclass may be one."""
    config = layer["config"]
    listed = isinstance(config, dict) and isinstance(config.get("layers"), list)
    return listed or layer["class_name"] in MODELS


def snake_case(name: str) -> str:
    """Spell a class name as Keras 3 names the groups of its layers (``keras.src.utils.naming.to_snake_case``)."""
    name = re.sub(r"\W+", "", name.rpartition(">")[2])
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def spelt(activation: Any) -> str:
    """The name of an activation, also of a function or a layer as Keras 3 writes them."""
    if isinstance(activation, dict):
        inner = activation.get("config")
        activation = inner if isinstance(inner, str) else activation["class_name"]
    return str(activation or "linear")


def follow(model: Mapping[str, Any]) -> tuple[list[Call], list[int]]:
    """List the plain layers of a model and of those in it in forward order, and the places of what it gives.

    Raises ``InputError`` for shared layers.
    """
    calls: list[Call] = []
    outputs = _inline(calls, model, (), "", [])
    return calls, outputs


def _inline(
    calls: list[Call], model: Mapping[str, Any], path: tuple[str, ...], store: str, given: list[int]
) -> list[int]:
    """Add the layers of one model, which takes ``given``; return what it gives."""
    if len(path) > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    inner = model["config"]
    used: dict[str, int] = {}

    def call(layer: Mapping[str, Any], name: str, group: str, inputs: list[int]) -> list[int]:
        if is_model(layer):
            return _inline(calls, layer, (*path, name), f"{group}/", inputs)
        if layer["class_name"] == "InputLayer" and inputs:
            return inputs
        calls.append(Call(layer, (*path, name), group, tuple(inputs)))
        return [len(calls) - 1]

    listed: list[_Listed] = []
    # Sequential models of Keras 2.1 and before are a bare list.
    for layer in inner if isinstance(inner, list) else inner["layers"]:
        group = snake_case(layer["class_name"])
        used[group] = used.get(group, -1) + 1
        group = f"{store}layers/{group}" + (f"_{used[group]}" if used[group] else "")
        # The graph refers to the name beside the config, which Keras writes the same.
        name = layer.get("name") or layer["config"]["name"]
        listed.append((layer, str(name), group))
    if model["class_name"] == "Sequential" or isinstance(inner, list) or "input_layers" not in inner:
        if model["class_name"] in ("Functional", "Model"):
            raise ValueError("its inputs are not stated")
        for layer, name, group in listed:
            given = call(layer, name, group, given)
        return given
    return _network(listed, inner, given, call)


def _network(
    listed: Sequence[_Listed],
    inner: Mapping[str, Any],
    given: list[int],
    call: Callable[..., list[int]],
) -> list[int]:
    """Call the layers of a Functional model in forward order, of those that are ready the one that is listed first."""
    calls = {name: layer.get("inbound_nodes") or [[]] for layer, name, _ in listed}
    for layer, name, _ in listed:
        if len(calls[name]) > 1 and (is_model(layer) or layer["class_name"] in _USED_ONCE):
            raise InputError(f"its layer {name[:100]!r} is used {len(calls[name])} times, but only once in a MobileNet")

    places = {name: place for place, (_, name, _) in enumerate(listed)}

    def node(history: Sequence[Any]) -> tuple[int, int]:
        # In a layer that is called once the number has no meaning: nested models of old begin with 1.
        name = str(history[0])
        return places[name], int(history[1]) if len(calls[name]) > 1 else 0

    made: dict[tuple[int, int], list[int]] = {}
    if given:
        made = {node(entry): [tensor] for entry, tensor in zip(_several(inner["input_layers"]), given, strict=True)}
    order = TopologicalSorter[tuple[int, int]]()
    for place, (layer, name, _) in enumerate(listed):
        for number, called in enumerate(calls[name]):
            takes = {node(history) for history in _histories(called)}
            if (place, number) in made:
                continue
            if not takes and layer["class_name"] != "InputLayer":
                raise InputError(f"its layer {name[:100]!r} is connected to nothing")
            order.add((place, number), *(takes - made.keys()))
    order.prepare()  # raises ValueError for a cycle
    ready: list[tuple[int, int]] = []
    while order.is_active():
        for one in order.get_ready():
            heapq.heappush(ready, one)
        place, number = heapq.heappop(ready)
        layer, name, group = listed[place]
        inputs = [made[node(history)][int(history[2])] for history in _histories(calls[name][number])]
        made[place, number] = call(layer, name, group, inputs)
        order.done((place, number))
    return [made[node(entry)][int(entry[2])] for entry in _several(inner["output_layers"])]


def _several(entries: Any) -> list[Any]:
    """Inputs or outputs of a model: ["x", 0, 0] for one, a list or a dictionary of these for more."""
    if isinstance(entries, dict):
        return [entry for value in entries.values() for entry in _several(value)]
    return [entries] if entries and isinstance(entries[0], str) else list(entries)


def _histories(called: Any) -> Iterator[Sequence[Any]]:
    """Layer, node and tensor of all that a call takes, in the formats of Keras 2 and 3."""
    if isinstance(called, dict):
        if called.get("class_name") == "__keras_tensor__":
            yield called["config"]["keras_history"]
        elif "class_name" not in called:
            for value in called.values():
                yield from _histories(value)
    elif isinstance(called, list):
        if len(called) >= 3 and isinstance(called[0], str):
            # Keras 2: ["x", 0, 0, {"y": ["z", 0, 0]}]; a constant that stands first is marked in place of a name.
            if called[0] != "_CONSTANT_VALUE":
                yield called[:3]
            called = called[3:]
        for value in called:
            yield from _histories(value)
