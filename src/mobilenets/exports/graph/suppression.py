"""Decoding and non-maximum suppression as nodes of a detector's graph: what ``mobilenets.runtime.detections`` does."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from mobilenets.errors import InputError
from mobilenets.exports.graph.nodes import NumberedGraph
from mobilenets.exports.job import Job
from mobilenets.models.detection.detector import Detector
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.detection import Detection, anchors
from mobilenets.runtime.found import ROW

BOXES = "boxes"


def check_suppression(preprocessing: Preprocessing) -> None:
    """Raise ``InputError`` where shares of the square are not shares of the picture."""
    if preprocessing.resize != "stretch":
        raise InputError(
            f"nms: the model's pictures are brought to size by {preprocessing.resize}, and boxes inside the file need "
            "stretch; leave --nms out"
        )


def end_in_boxes(model: onnx.ModelProto, job: Job) -> None:
    """Do what ``with_boxes`` does, where the job asks for it."""
    if job.options.nms:
        assert isinstance(job.network, Detector)
        check_suppression(job.preprocessing)
        with_boxes(model, job.network.detection)


def with_boxes(model: onnx.ModelProto, detection: Detection) -> None:
    """End a detector's graph in boxes: float32 N×most×6.

    A row is x0, y0, x1, y1 as shares of the picture, from 0 to 1, score and class, the best row first; rows that only
    fill up have class −1 and score 0. Boxes of one class that overlap a better one by more than ``detection.iou`` are
    left out, and scores that are not above ``detection.least_score``.
    """
    graph = model.graph
    writer = _Writer(graph.output[0].name, detection, graph.output[0].type.tensor_type.shape.dim[2].dim_value - 5)
    rows = writer.write()
    writer.add_to(model, BOXES, rows, ROW)
    del graph.output[0]


class _Writer(NumberedGraph):
    def __init__(self, outputs: str, detection: Detection, classes: int) -> None:
        super().__init__("nms")
        self._outputs, self._detection, self._classes = outputs, detection, classes

    def write(self) -> int:
        """Write all; returns the number of rows."""
        detection, count = self._detection, self._detection.count
        corners = self._corners()
        seen = self.add("Clip", [corners, self.constant(0, np.float32), self.constant(1, np.float32)])
        scores = self.add("Mul", [self._scores(), self._there(seen)])
        limits = [self.constant([detection.most], np.int64)]
        limits += [self.constant([value], np.float32) for value in (detection.iou, detection.least_score)]
        # IoU does not care which axis comes first.
        kept = self.add("NonMaxSuppression", [corners, scores, *limits])
        nothing = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])
        zeros = self.add("ConstantOfShape", [self.add("Shape", [scores])], value=nothing)
        alone = self.add("ScatterND", [zeros, kept, self.add("GatherND", [scores, kept])])
        rows = min(detection.most, self._classes * count)
        best = f"{alone}.best"
        number = self.constant([rows], np.int64)
        self.nodes.append(
            helper.make_node("TopK", [self.shaped(alone, 0, -1), number], [best, f"{best}.places"], axis=1, name=best)
        )
        each = self.constant(count, np.int64)
        label = self.add("Cast", [self.add("Div", [f"{best}.places", each])], to=TensorProto.FLOAT)
        at = self.shaped(self.add("Mod", [f"{best}.places", each]), 0, rows, 1)
        sides = self.add("GatherND", [seen, at], batch_dims=1)
        found = self.add("Greater", [best, self.constant(0, np.float32)])
        label = self.add("Where", [found, label, self.constant(-1, np.float32)])
        columns = [sides, *(self.shaped(one, 0, rows, 1) for one in (best, label))]
        self.add("Concat", columns, BOXES, axis=2)
        return rows

    def _part(self, name: str, start: int, end: int) -> str:
        ends = [self.constant([value], np.int64) for value in (start, end, 2)]
        return self.add("Slice", [name, *ends])

    def _corners(self) -> str:
        """Decode the codes, N×anchors×4."""
        around, scales = anchors(self._detection), np.array(self._detection.box_scales, np.float32)
        codes = self.add("Div", [self._part(self._outputs, 0, 4), self.constant(scales, np.float32)])
        middles, sides = (self.constant(part, np.float32) for part in (around[None, :, :2], around[None, :, 2:]))
        middle = self.add("Add", [self.add("Mul", [self._part(codes, 0, 2), sides]), middles])
        half = self.add("Mul", [self.add("Exp", [self._part(codes, 2, 4)]), sides])
        half = self.add("Div", [half, self.constant(2, np.float32)])
        both = [self.add(kind, [middle, half]) for kind in ("Sub", "Add")]
        return self.add("Concat", both, axis=2)

    def _there(self, corners: str) -> str:
        """Give 1 for each anchor whose box has an area and 0 for the others, N×1×anchors."""
        extent = self.add("Sub", [self._part(corners, 2, 4), self._part(corners, 0, 2)])
        least = self.add("ReduceMin", [extent], axes=[2], keepdims=1)
        there = self.add("Cast", [self.add("Greater", [least, self.constant(0, np.float32)])], to=TensorProto.FLOAT)
        return self.add("Transpose", [there], perm=[0, 2, 1])

    def _scores(self) -> str:
        """Give the score of each class and anchor, N×classes×anchors."""
        logits = self._part(self._outputs, 4, 5 + self._classes)
        if self._detection.scores == "sigmoid":
            scores = self.add("Sigmoid", [self._part(logits, 1, 1 + self._classes)])
        else:
            scores = self._part(self.add("Softmax", [logits], axis=2), 1, 1 + self._classes)
        return self.add("Transpose", [scores], perm=[0, 2, 1])
