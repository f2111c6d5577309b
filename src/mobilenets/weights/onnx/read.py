"""ONNX files as foreign weights, read as data: those of PyTorch, of TensorFlow and of this package."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mobilenets.errors import InputError
from mobilenets.runtime.bundle import DESCRIPTION, Bundle, read_bundle
from mobilenets.weights.class_names import names_in
from mobilenets.weights.keras.layers import OWN
from mobilenets.weights.layers import TENSORFLOW_INPUT, TORCH_INPUT, Foreign, listed, reported
from mobilenets.weights.onnx.file import Graph, Node, read_graph
from mobilenets.weights.onnx.nodes import TAKERS
from mobilenets.weights.onnx.translation import Translation
from mobilenets.weights.operations import Linear, Picture
from mobilenets.weights.simplify import Simplified, simplify
from mobilenets.weights.traced import trace

_OURS = "mobilenets"
_TENSORFLOW = ("tf2onnx", "keras2onnx", "tflite2onnx")
_QUANTISED = re.compile(r"(?:Quantize|Dequantize|DynamicQuantize)Linear|QLinear\w+|\w+Integer|com\.microsoft\.Q\w+")
_MAX_NAMES = 1 << 20


def read(path: Path, output: str | None = None) -> Foreign:
    """Read an ONNX model; ``output`` names which of several outputs to take. Raises InputError for anything else."""
    with reported(path):
        return _foreign(path, read_graph(path), output)


def _foreign(path: Path, graph: Graph, output: str | None) -> Foreign:
    kinds = Counter(node.op for node in graph.nodes)
    if quantised := next((kind for kind in kinds if _QUANTISED.fullmatch(kind)), None):
        raise InputError(
            f"it is quantised to int8 ({quantised}); give the float model that it was made from, and quantise here: "
            "export --int8"
        )
    bundle, kind = _beside(path, graph), _kind(kinds)
    try:
        simplified = _output(Translation(graph, TAKERS), graph, output)
        picture = next(part for part in simplified.operations if isinstance(part, Picture))
        tensorflow = graph.producer in _TENSORFLOW or (picture.channels_last and graph.producer != _OURS)
        form = "ONNX" + (f" of {listed([graph.producer])}" if graph.producer else "")
        traced = trace(simplified, form, tensorflow)
    except InputError as error:
        if graph.producer == _OURS:
            raise InputError(f"{error}; give the run folder that it was exported from") from error
        raise InputError(f"{error}{kind and f' (by its operations, {kind})'}") from error
    told = traced.foreign
    tensorflow = tensorflow or told.padding != "symmetric"
    preprocessing = {**(TENSORFLOW_INPUT if tensorflow else TORCH_INPUT), **told.preprocessing}
    assumed = []
    if bundle is not None:
        preprocessing = {name: value for name, value in bundle.preprocessing.to_json().items() if name != "size"}
    elif not told.preprocessing:
        assumed.append(
            "it does not say how pictures become numbers, so as "
            + ("TensorFlow's networks, from -1 to 1" if tensorflow else "PyTorch's, with ImageNet's mean and deviation")
            + "; --preprocessing tensorflow, torch or a JSON file says otherwise"
        )
    if any(map(_in_training, graph.nodes)):
        assumed.append(
            "it was exported in training mode; its BatchNorms are read with the running statistics in it, as after "
            "model.eval()"
        )
    if traced.scores and not simplified.folded.ends and graph.producer not in (_OURS, "pytorch", *_TENSORFLOW):
        assumed.append(f"its {traced.scores} outputs are taken for the scores of {traced.scores} classes")
    return replace(
        told,
        preprocessing=preprocessing,
        classes=_classes(graph, bundle),
        own=OWN if tensorflow and bundle is None else {},
        assumed=tuple(assumed),
        activation=traced.activation,
        kind=kind,
    )


def _output(translation: Translation, graph: Graph, output: str | None) -> Simplified:
    """Choose what the graph gives: the output that is named, the only one, or the only one that is scores."""
    # In a file of ours, what the answer is explained with comes second: it is no network.
    names = graph.outputs[:1] if graph.producer == _OURS and output is None else graph.outputs
    found = {name: value for name in names if (value := translation.output(name)) is not None}
    if output is not None:
        named = translation.output(output)
        if named is None:
            raise InputError(f"it has no output {output[:100]!r}; choose one of: {listed(graph.outputs, 8)}")
        return simplify(translation.operations, [named.place])
    if not found:
        raise InputError("no output of it is made of pictures; give a network that takes pictures of 3 channels")
    read = {name: simplify(translation.operations, [value.place]) for name, value in found.items()}
    scored = [name for name, one in read.items() if isinstance(one.operations[-1], Linear)]
    choices = scored or list(read)
    if len(choices) > 1 and len({found[name].place for name in choices}) > 1:
        raise InputError(f"it has several outputs: {listed(choices, 8)}; choose one with --output NAME")
    return read[choices[0]]


def _in_training(node: Node) -> bool:
    """Say whether a BatchNorm takes the statistics of its batch: those of older opsets by their outputs."""
    return node.op == "BatchNormalization" and (bool(node.given("training_mode", 0)) or any(node.outputs[1:]))


def _beside(path: Path, graph: Graph) -> Bundle | None:
    """Read the ``model.json`` beside an export of this package, where it is this file's."""
    if graph.producer != _OURS or not (path.parent / DESCRIPTION).is_file():
        return None
    bundle = read_bundle(path.parent)
    file = bundle.export.file if bundle.export is not None else "model.onnx"
    return bundle if file == path.name else None


def _classes(graph: Graph, bundle: Bundle | None) -> tuple[str, ...] | None:
    if bundle is not None:
        return bundle.classes
    for key in ("names", "classes", "class_names", "labels", "id2label"):
        text = graph.about.get(key, "")
        if not text or len(text) > _MAX_NAMES:
            continue
        for parse in (json.loads, ast.literal_eval):  # Ultralytics writes Python's {0: 'cat'}
            try:
                value = parse(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
                continue
            if isinstance(value, dict):
                value = {str(name): one for name, one in value.items()}
            if found := names_in(value):
                return tuple(found)
    return None


def _kind(kinds: Mapping[str, int]) -> str:
    """Guess what another network is, for a message."""
    if kinds.get("NonMaxSuppression") or (kinds.get("Resize") and kinds.get("Concat")):
        return "a network that detects objects or segments pictures"
    if kinds.get("LayerNormalization") or (kinds["MatMul"] > 10 and kinds["Softmax"] > 1):
        return "a transformer"
    if kinds["Conv"] > 20 and kinds.get("HardSwish", 0) + kinds.get("HardSigmoid", 0) > 5:
        return "a MobileNetV3"
    if kinds["Sigmoid"] > 10 and kinds["Mul"] > 10:
        return "an EfficientNet or a YOLO"
    if not kinds["Conv"]:
        return "no convolutional network"
    return ""
