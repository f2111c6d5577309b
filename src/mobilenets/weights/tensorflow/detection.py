"""TensorFlow's frozen detection graphs (Object Detection API): SSDLite, and what makes boxes of its numbers.

The loops around the network (pictures resized one by one, boxes thrown out one by one) are not run; the figures in them
are read. Names are those of ``object_detection/predictors/convolutional_box_predictor.py``,
``meta_architectures/ssd_meta_arch.py`` and ``box_coders/faster_rcnn_box_coder.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mobilenets.errors import InputError
from mobilenets.models.detection.anchors import Shapes, tensorflow_shapes
from mobilenets.weights.detector import PLAIN, Found, corners_first, extras_of
from mobilenets.weights.head import Folded
from mobilenets.weights.layers import TENSORFLOW_INPUT, Foreign, Layer
from mobilenets.weights.operations import Conv, Operation, Pair, Picture, layers_of, needed_places
from mobilenets.weights.operations import needed as needed_operations
from mobilenets.weights.sides import sides_of
from mobilenets.weights.simplify import Simplified, units
from mobilenets.weights.tensorflow.graphdef import GraphError, Node, in_order, needed
from mobilenets.weights.tensorflow.operations import Translation
from mobilenets.weights.tensorflow.tensor import Array
from mobilenets.weights.traced import trace

_HEAD = re.compile(r"BoxPredictor_(\d{1,2})/(BoxEncodingPredictor|ClassPredictor)/BiasAdd")
_PARTS = ("BoxEncodingPredictor", "ClassPredictor")
# What hands on its first input, in loops too.
_SAME = ("Identity", "Enter", "Switch", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "Cast")
_SCORES = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
_CODES = ("truediv", "truediv_1", "truediv_2", "truediv_3")  # of y, x, h and w


def is_detector(nodes: Mapping[str, Node]) -> bool:
    """Whether a graph has the heads of TensorFlow's detectors."""
    return any(_HEAD.fullmatch(name) for name in nodes)


def foreign(path: object, nodes: Mapping[str, Node]) -> Foreign:
    """Make the layers of a detector; raises InputError, GraphError, WireError."""
    count = 1 + max(int(match[1]) for name in nodes if (match := _HEAD.fullmatch(name)))
    heads = [f"BoxPredictor_{place}/{part}/BiasAdd" for place in range(count) for part in _PARTS]
    if missing := [name for name in heads if name not in nodes]:
        raise GraphError(f"it lacks the head {missing[0]!r}; give a whole SSDLite")
    figures = _Figures(nodes)

    def resized(name: str) -> Node | None:
        """Take the pictures as they come out of the loop that resizes them."""
        node = nodes.get(name)
        if node is None or not node.op.startswith("TensorArrayGather"):
            return None
        return Node(name, "Placeholder", (), {}, node.budget)

    graph = Translation(path, in_order(needed(nodes, heads, resized)))
    places = {node.name: place for place, node in enumerate(graph.made_by)}
    if absent := [name for name in heads if name not in places]:
        raise GraphError(f"its head {absent[0]!r} does not follow from its pictures")
    sized = [replace(part, side=figures.side) if isinstance(part, Picture) else part for part in graph.operations]
    made, ends = units(sized, [places[name] for name in heads])
    pairs = [_head(made, place) for place in ends]
    sources = [pair[1].inputs[0] for pair in pairs]
    if sources[::2] != sources[1::2]:
        raise GraphError(f"boxes and scores of one head stand on different maps, not {PLAIN}")
    first, last, *behind = sources[::2]
    body, _ = needed_operations(made, [last])
    simplified = Simplified(tuple(body), tuple(sides_of(body)), Folded(body, len(body) - 1))
    traced = trace(simplified, "TensorFlow frozen detection graph", tensorflow=True).foreign
    seen = set(needed_places(made, [last]))
    extras: list[Conv] = []
    for place in behind:
        extras += _convs(made, set(needed_places(made, [place])) - seen)
        seen |= set(needed_places(made, [place]))
    extra_layers = [layer for unit in extras for layer in layers_of(unit, traced.epsilon)]
    head_layers: list[Layer] = []
    for number, (predicted, filtered) in enumerate(pairs):
        head_layers += layers_of(filtered, traced.epsilon)
        (found,) = layers_of(predicted, traced.epsilon)
        head_layers.append(found if number % 2 else corners_first(found))
    tap = len(list(_convs(made, set(needed_places(made, [first])))))
    described = Found(figures.shapes(count), extras_of(extra_layers), tap, figures.fields())
    way_in = {**TENSORFLOW_INPUT, "resize": "stretch", "interpolation": figures.interpolation, **traced.preprocessing}
    return replace(
        traced,
        preprocessing=way_in,
        notes=(*graph.notes, *traced.notes),
        assumed=tuple(figures.assumed),
        behind=(*extra_layers, *head_layers),
        detection=described.detection,
    )


def _head(made: Sequence[Operation], place: int) -> tuple[Conv, Conv]:
    """Give a head's last layer and the depthwise one before; raises ``InputError`` for heads that are not SSDLite's."""
    predicted = made[place]
    before = made[predicted.inputs[0]]
    if not (isinstance(predicted, Conv) and isinstance(before, Conv) and before.depthwise):
        raise InputError(f"its heads are plain convolutions and not a depthwise one and a 1×1, {PLAIN}")
    if predicted.weight.shape[2:] != (1, 1) or before.weight.shape[2:] != (3, 3) or before.activation != "relu6":
        raise InputError(f"its heads are no depthwise 3×3 with ReLU6 and 1×1, {PLAIN}")
    return predicted, before


def _convs(made: Sequence[Operation], places: set[int]) -> Iterator[Conv]:
    return (unit for place in sorted(places) if isinstance(unit := made[place], Conv))


class _Figures:
    """Reads what stands around the network; notes what is ``assumed`` where it is not to be found."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = nodes
        self.assumed: list[str] = []
        self.interpolation = "bilinear"
        self.side = self._side()

    def _side(self) -> Pair:
        """Read the side of the network's pictures off the resizing inside, or off its input."""
        for node in self.nodes.values():
            if node.op == "ResizeBilinear" and (size := self._constant(node, 1)) is not None and size.size == 2:
                rows, columns = (int(side) for side in size.reshape(-1))
                if not node.flag("half_pixel_centers") and not node.flag("align_corners"):
                    self.interpolation = "corner"
                elif node.flag("half_pixel_centers"):
                    self.interpolation = "linear"
                else:
                    self.assumed.append("pictures are resized by Pillow's bilinear filter, which is near TensorFlow's")
                return rows, columns
        for node in self.nodes.values():
            shape = node.shape("shape") if node.op.startswith("Placeholder") else None
            if shape is not None and len(shape) == 4 and min(shape[1:3]) > 0:
                self.assumed.append("pictures are resized by Pillow's bilinear filter: the graph has no resizing")
                return shape[1], shape[2]
        raise GraphError("it does not tell the size of its pictures; give a graph with a fixed_shape_resizer")

    def shapes(self, maps: int) -> Shapes:
        """Read scales and ratios of the anchors, map by map."""
        found = []
        for node in self.nodes.values():
            if node.op not in ("RealDiv", "Div") or not node.name.startswith("MultipleGridAnchorGenerator"):
                continue
            scales, root = self._constant(node, 0), self._input(node, 1)
            ratios = self._constant(root, 0) if root is not None and root.op == "Sqrt" else None
            if scales is not None and ratios is not None and scales.shape == ratios.shape and scales.ndim == 1:
                roots = np.sqrt(ratios.astype(np.float64))
                found.append((self._place(node), scales * roots, scales / roots))
        found.sort(key=lambda one: one[0])
        if len(found) != maps:
            self.assumed.append("anchors as in TensorFlow's usual configuration: scales 0.2 to 0.95, 3 and 6 a place")
            return tensorflow_shapes(maps)
        return tuple(
            tuple((float(f"{w:.7g}"), float(f"{h:.7g}")) for w, h in zip(wide, high, strict=True))
            for _, wide, high in found
        )

    def fields(self) -> dict[str, Any]:
        """Read how codes and scores become boxes: fields of ``Detection``."""
        found: dict[str, Any] = {"least_score": 0.01}
        told = False
        scores = self.nodes.get("Postprocessor/convert_scores")
        scores = scores and scores.behind(self.nodes, _SAME)
        if scores is None or scores.op not in _SCORES:
            raise GraphError("it does not tell whether its scores are softmax or sigmoid; give the whole frozen graph")
        found["scores"] = _SCORES[scores.op]
        scale = self._number("Postprocessor/scale_logits/y")
        if scale not in (None, 1.0):
            raise GraphError(f"it divides its logits by {scale:g}; here they are taken as they are")
        codes = [self._number(f"Postprocessor/Decode/{name}/y") for name in _CODES]
        if all(code is not None and code > 0 for code in codes):
            y, x, h, w = codes
            found["box_scales"] = (x, y, w, h)
        else:
            self.assumed.append("box scales 10, 10, 5, 5")
        for node in self.nodes.values():
            if node.op.startswith("NonMaxSuppression"):
                most, overlap, score = (self._constant(node, place) for place in (2, 3, 4))
                if most is None and (least := self._input(node, 2)) is not None:
                    most = next((v for place in (0, 1) if (v := self._constant(least, place)) is not None), None)
                found |= {"iou": _rounded(overlap)} if overlap is not None else {}
                found |= {"most": int(most.reshape(-1)[0])} if most is not None else {}
                if score is not None:
                    found["least_score"], told = max(_rounded(score), 0.001), True
                break
        if "iou" not in found:
            self.assumed.append("boxes of one class that overlap by more than 0.6 are one")
        if "most" not in found:
            self.assumed.append("at most 100 boxes a picture")
        if not told:
            self.assumed.append("boxes are given from a score of 0.01 on")
        return found

    @staticmethod
    def _place(node: Node) -> int:
        number = re.search(r"_(\d+)$", node.name)
        return int(number[1]) if number else 0

    def _input(self, node: Node, place: int) -> Node | None:
        if place >= len(node.inputs) or node.inputs[place][0] not in self.nodes:
            return None
        return self.nodes[node.inputs[place][0]].behind(self.nodes, _SAME)

    def _constant(self, node: Node, place: int) -> Array | None:
        given = self._input(node, place)
        return given.tensor("value") if given is not None and given.op == "Const" else None

    def _number(self, name: str) -> float | None:
        node = self.nodes.get(name)
        value = node.tensor("value") if node is not None and node.op == "Const" else None
        return None if value is None or value.size != 1 else _rounded(value)


def _rounded(value: Array) -> float:
    """Give the number that a float32 was written for."""
    return float(f"{float(value.reshape(-1)[0]):.7g}")
