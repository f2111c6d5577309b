"""Frozen TensorFlow graphs (``.pb``), read without TensorFlow: layers in the order in which a picture meets them."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mobilenets.errors import InputError
from mobilenets.weights.layers import Foreign, check_room
from mobilenets.weights.tensorflow.draft import check_body, layers_of
from mobilenets.weights.tensorflow.graphdef import GraphError, Node, read_graph
from mobilenets.weights.tensorflow.outputs import follow
from mobilenets.weights.tensorflow.sstable import TableError
from mobilenets.weights.tensorflow.window import padding_of, preprocessing_of
from mobilenets.weights.wire import WireError


def read(path: Path, output: str | None = None) -> Foreign:
    """Read a frozen graph; raises InputError for anything else.

    ``output`` names the node to take as its output; by default the classifier that it ends in.

    A head that ``retrain.py`` put behind the logits of another comes as a linear layer that holds both, beside the
    first, which is the last convolution.
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
    trace, assumed = follow(nodes, output)
    first = trace.first
    drafts = [draft for draft in trace.drafts if not (trace.headless and draft.pooled)]
    notes = (
        [f"no classifier: {trace.headless}. Imported as a backbone, to be trained further"] if trace.headless else []
    )
    if first is None:
        raise GraphError("no convolution follows from its input; give a graph that takes pictures")
    check_room(path, 6 * len(drafts), sum(4 * draft.kernel.size for draft in drafts))
    check_body(drafts, trace.shortcuts)
    # The smallest, so that no variance falls below 0 where the epsilons of a file differ.
    norms = [draft.norm for draft in drafts if draft.norm is not None]
    epsilon = min((norm.epsilon for norm in norms if norm.epsilon is not None), default=1e-3)
    layers, of_heads = layers_of(drafts, epsilon)
    steps = [(step.node, step.times, step.value) for step in first.steps]
    return Foreign(
        format=form,
        layers=layers,
        padding=padding_of(trace.windows, first.size),
        epsilon=epsilon,
        strides=(drafts[0].stride, *(draft.stride for draft in drafts if draft.depthwise)),
        size=first.size,
        preprocessing=preprocessing_of(steps, first.bytes, first.resize),
        notes=(*trace.notes, *of_heads, *notes),
        assumed=assumed,
    )
