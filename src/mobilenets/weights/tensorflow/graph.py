"""Frozen TensorFlow graphs (``.pb``), read without TensorFlow: layers in the order in which a picture meets them."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np

from mobilenets.errors import InputError
from mobilenets.weights.layers import Foreign, check_room
from mobilenets.weights.tensorflow.draft import check_body, layers_of
from mobilenets.weights.tensorflow.graphdef import GraphError, read_graph
from mobilenets.weights.tensorflow.outputs import follow
from mobilenets.weights.tensorflow.window import padding_of, preprocessing_of
from mobilenets.weights.wire import WireError


def read(path: Path, output: str | None = None) -> Foreign:
    """Read a frozen graph; raises InputError for anything else.

    ``output`` names the node to take as its output; by default the classifier that it ends in.

    A head that ``retrain.py`` put behind the logits of another comes as a linear layer that holds both, beside the
    first, which is the last convolution.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path}: not a file; give a frozen graph (.pb)")
        check_room(path, 0, found.st_size)
        with np.errstate(all="ignore"):  # what is not finite is refused when layers are made
            return _foreign(path, path.read_bytes(), output)
    except (WireError, GraphError) as error:
        raise InputError(f"{path}: no frozen graph of a MobileNet: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except InputError as error:
        if str(error).startswith(f"{path}:"):
            raise
        # The makers of layers.py name the layer alone.
        raise InputError(f"{path}: {error}") from error


def _foreign(path: Path, data: bytes, output: str | None) -> Foreign:
    trace, assumed = follow(read_graph(data), output)
    drafts, first = trace.drafts, trace.first
    if first is None:
        raise GraphError("no convolution follows from its input; give a graph that takes pictures")
    check_room(path, 6 * len(drafts), sum(4 * draft.kernel.size for draft in drafts))
    check_body(drafts, trace.shortcuts)
    # The smallest, so that no variance falls below 0 where the epsilons of a file differ.
    norms = [draft.norm for draft in drafts if draft.norm is not None]
    epsilon = min((norm.epsilon for norm in norms if norm.epsilon is not None), default=1e-3)
    layers, notes = layers_of(drafts, epsilon)
    steps = [(step.node, step.times, step.value) for step in first.steps]
    return Foreign(
        format="TensorFlow frozen graph",
        layers=layers,
        padding=padding_of(trace.windows, first.size),
        epsilon=epsilon,
        strides=(drafts[0].stride, *(draft.stride for draft in drafts if draft.depthwise)),
        size=first.size,
        preprocessing=preprocessing_of(steps, first.bytes, first.resize),
        notes=(*trace.notes, *notes),
        assumed=assumed,
    )
