"""Frozen TensorFlow graphs (``.pb``), read without TensorFlow: layers in the order in which a picture meets them."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mobilenets.errors import InputError
from mobilenets.weights.graph.body import Body
from mobilenets.weights.graph.head import NotLinear, Scores, classifier, follow, layer_of
from mobilenets.weights.graph.ops import GraphError, affine, normalisation
from mobilenets.weights.layers import TENSORFLOW_INPUT, Foreign, check_room
from mobilenets.weights.tensorflow.graphdef import Node, read_graph
from mobilenets.weights.tensorflow.operations import Operations
from mobilenets.weights.tensorflow.sstable import TableError
from mobilenets.weights.wire import WireError

_SHOWN = 8


def read(path: Path, output: str | None = None) -> Foreign:
    """Read a frozen graph; raises InputError for anything else.

    ``output`` names the node to take as its output; by default the classifier that it ends in.

    A head that ``retrain.py`` put behind the logits of another comes as one linear layer that holds both.
    """
    with reported(path, "not a frozen graph of a MobileNet"):
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path}: not a file; give a frozen graph (.pb)")
        check_room(path, 0, found.st_size)
        return foreign(path, read_graph(path.read_bytes()), "TensorFlow frozen graph", output)


@contextmanager
def reported(path: Path, what: str) -> Iterator[None]:
    """Make one InputError that begins with the path of whatever reading raises."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused when layers are made
            yield
    except (WireError, GraphError, TableError) as error:
        raise InputError(f"{path}: {what}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except InputError as error:
        if str(error).startswith(f"{path}:"):
            raise
        # The makers of layers.py name the layer alone.
        raise InputError(f"{path}: {error}") from error


def foreign(path: Path, nodes: Mapping[str, Node], form: str, output: str | None = None) -> Foreign:
    """Make the layers of a graph whose nodes are each behind its inputs; raises InputError, GraphError, WireError."""
    named = (output or "").removesuffix(":0")
    graph = Operations(path, _behind(nodes, named) if named in nodes else nodes)
    body = Body(graph.ops, graph.ends)
    if not body.units:
        raise GraphError("no convolution follows from its input; give a graph that takes pictures")
    layers, epsilon = body.layers()
    scores, notes, assumed = _head(graph, body, output, named in nodes)
    if scores is not None:
        layer, of_head = layer_of(scores, graph.ops)
        layers.append(layer)
        notes += of_head
    return Foreign(
        format=form,
        layers=tuple(layers),
        padding=body.padding,
        epsilon=1e-3 if epsilon is None else epsilon,
        strides=body.strides,
        size=body.size,
        preprocessing=_preprocessing(body),
        notes=(*graph.notes, *notes),
        assumed=assumed,
    )


def _head(
    graph: Operations, body: Body, output: str | None, told: bool
) -> tuple[Scores | None, list[str], tuple[str, ...]]:
    """Choose the classifier: the one that the graph ends in. Also give notes, and a line on the other outputs.

    Raises GraphError, which lists the outputs, where nothing tells which is meant, or there is none named ``output``.
    """
    values = follow(body, body.features)
    ends = [end for end in graph.ends if body.ops[end].stage == "head"]
    given = {place: value for place, value in values.items() if isinstance(value, Scores) and value.last >= 0}
    # The last that is made of each classifier's scores names it.
    made_by = {place: graph.made_by[place] for place in given}
    named = {
        value.last: f"{made_by[place].name} ({value.width})"
        for place, value in given.items()
        if made_by[place].op != "PlaceholderWithDefault"  # the input of another head
    }
    listed = ", ".join(" ".join(name[:100].split()) for name in list(named.values())[:_SHOWN])
    if output is not None and not told:
        raise GraphError(f"it has no output {output[:100]!r}; choose one of: {listed}")
    try:
        for end in ends:
            if isinstance(reason := values[end], NotLinear):
                raise reason
        last = {given[end].last: given[end] for end in ends if end in given}
        # What another takes is no output.
        inner = {id(part) for value in last.values() for part in value.parts if part is not body.ops[value.last]}
        last = {place: value for place, value in last.items() if id(body.ops[place]) not in inner}
        if len(last) > 1:
            raise GraphError(f"it has several outputs: {listed}; choose one with --output NAME")
        scores = classifier(list(last.values()) or [values[end] for end in ends], [])
    except NotLinear as reason:
        return None, [f"no classifier: {reason}. The body is kept, to be trained further"], ()
    if scores is None or len(named) < 2 or told:
        return scores, [], ()
    others = ", ".join(" ".join(name[:100].split()) for place, name in named.items() if place != scores.last)
    line = f"the output is {named[scores.last]}, the last one in the graph; choose another with --output NAME: {others}"
    return scores, [], (line,)


def _behind(nodes: Mapping[str, Node], output: str) -> dict[str, Node]:
    """Give a node and all that it takes, in their order."""
    needed: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += [source for source, _ in nodes[name].inputs]
    return {name: node for name, node in nodes.items() if name in needed}


def _preprocessing(body: Body) -> Mapping[str, Any]:
    """Put what a graph does to its pictures into ``Preprocessing``'s fields.

    Without any step, floating-point pictures are taken as slim's networks take them. Raises GraphError.
    """
    fields = dict(TENSORFLOW_INPUT)
    steps = [step for step in body.pictures if step.kind == "scale"]
    pixels = any(step.function == "bytes" for step in body.pictures)
    for step in body.pictures:
        if step.kind == "resize":
            fields |= {"resize": "stretch", "interpolation": step.function}
    if steps or pixels:
        scale, shift = affine(steps, 3)
        # The graph takes pixels of 0 to 255 or of 0 to 1: the ones that give a network numbers of moderate size.
        most = 255 if pixels or scale.max() < 0.1 or np.abs(shift).max() > 10 else 1
        # Rounded to what float32 tells apart, so that 0.49999999 is 0.5.
        fields["mean"], fields["std"] = normalisation(steps, most, 6)
    return fields
