"""Frozen TensorFlow graphs (``.pb``), read without TensorFlow: layers in the order in which a picture meets them."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from mobilenets.errors import InputError
from mobilenets.weights.head import NotLinear, Scores, Value, channels, classifier
from mobilenets.weights.layers import TENSORFLOW_INPUT, Foreign, check_room, listed, reported
from mobilenets.weights.operations import Conv, Unknown
from mobilenets.weights.simplify import simplify
from mobilenets.weights.tensorflow import detection
from mobilenets.weights.tensorflow.graphdef import GraphError, Node, in_order, needed, read_nodes
from mobilenets.weights.tensorflow.operations import Translation
from mobilenets.weights.tensorflow.sstable import TableError
from mobilenets.weights.traced import trace
from mobilenets.weights.wire import WireError

_SHOWN = 8


def read(path: Path, output: str | None = None) -> Foreign:
    """Read a frozen graph; raises InputError for anything else.

    ``output`` names the node to take as its output; by default the classifier that it ends in.

    A head that ``retrain.py`` put behind the logits of another comes as one linear layer that holds both.
    """
    with reading(path, "not a frozen graph of a MobileNet"):
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path}: not a file; give a frozen graph (.pb)")
        check_room(path, 0, found.st_size)
        nodes = read_nodes(path.read_bytes())
        if detection.is_detector(nodes):
            return detection.foreign(path, nodes)
        return foreign(path, in_order(nodes), "TensorFlow frozen graph", output)


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Make one InputError that begins with the path of whatever reading raises."""
    errors = (WireError, GraphError, TableError)
    # What is not finite is refused when layers are made.
    with np.errstate(all="ignore"), reported(path, f"{what}: {{}}", *errors):
        yield


def foreign(path: Path, nodes: Mapping[str, Node], form: str, output: str | None = None) -> Foreign:
    """Make the layers of a graph whose nodes are each behind its inputs; raises InputError, GraphError, WireError."""
    named = (output or "").removesuffix(":0")
    told = named in nodes
    taken = needed(nodes, [named]) if told else nodes
    graph = Translation(path, {name: node for name, node in nodes.items() if name in taken})
    if not any(isinstance(operation, Conv) for operation in graph.operations):
        unknown = (operation.what for operation in graph.operations if isinstance(operation, Unknown))
        raise GraphError(next(unknown, "no convolution follows from its input; give a graph that takes pictures"))
    chosen = _Outputs(graph, output, told)
    simplified = simplify(graph.operations, graph.ends, chosen.choose)
    traced, folded = trace(simplified, form, tensorflow=True).foreign, simplified.folded
    notes = [*graph.notes, *traced.notes]
    if folded.parts:
        notes.append(f"its head ({', '.join(folded.parts)}) is folded into one linear layer that computes the same")
    fields = {"resize": "stretch", "interpolation": graph.resize} if graph.resize else {}
    return replace(
        traced,
        preprocessing={**TENSORFLOW_INPUT, **fields, **traced.preprocessing},
        notes=tuple(notes),
        assumed=chosen.others,
    )


class _Outputs:
    """Chooses the classifier that a graph ends in; ``others`` is a line on its other outputs, where there are any."""

    def __init__(self, graph: Translation, output: str | None, told: bool) -> None:
        self.graph, self.output, self.told = graph, output, told
        self.others: tuple[str, ...] = ()

    def choose(self, given: Mapping[int, Value]) -> Scores | None:
        """Choose by what each place comes to; raises GraphError, which lists the outputs, where nothing tells."""
        named: dict[int, str] = {}
        for place, value in given.items():
            if isinstance(value, Scores) and value.last >= 0:  # the last node that is made of the scores
                named[value.last] = f"{self.graph.made_by[place].name} ({value.width})"
        every = listed(list(named.values()), _SHOWN)
        if self.output is not None and not self.told:
            raise GraphError(f"it has no output {self.output[:100]!r}; choose one of: {every}")
        beside = [end for end in self.graph.ends if end not in given and channels(self.graph.operations, end)]
        if beside:
            raise GraphError(f"it ends in {self.graph.made_by[beside[0]]}, too; choose one output with --output NAME")
        ends = [given[end] for end in self.graph.ends if end in given]
        for value in ends:
            if isinstance(value, NotLinear):
                raise value
        last = {value.last: value for value in ends if isinstance(value, Scores) and value.last >= 0}
        # What another takes is no output.
        inner = {id(part) for value in last.values() for part in value.parts[:-1]}
        last = {place: value for place, value in last.items() if id(value.parts[-1]) not in inner}
        if len(last) > 1:
            raise GraphError(f"it has several outputs: {every}; choose one with --output NAME")
        scores = classifier(list(last.values()) or ends, [])
        if scores is not None and len(named) > 1 and not self.told:
            rest = listed([name for place, name in named.items() if place != scores.last], _SHOWN)
            line = f"the output is {named[scores.last]}, the last one in the graph; choose another with --output NAME: "
            self.others = (line + rest,)
        return scores
