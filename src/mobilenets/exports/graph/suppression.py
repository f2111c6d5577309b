"""Decoding and non-maximum suppression as nodes of a detector's graph: what ``mobilenets.runtime.detections`` does."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from mobilenets.errors import InputError
from mobilenets.exports.graph.nodes import NO_END, NumberedGraph, Term
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
    given = model.graph.output[0]
    classes = given.type.tensor_type.shape.dim[2].dim_value - 5
    graph = NumberedGraph("nms")
    outputs = Term(graph, given.name, np.float32)
    corners = _corners(outputs.part(0, 4, 2), detection)
    seen = corners.op("Clip", graph.term(0, np.float32), graph.term(1, np.float32))
    scores = _scores(outputs.part(4, 5 + classes, 2), detection) * _there(seen)
    limits = graph.term([detection.most], np.int64), [detection.iou], [detection.least_score]
    # IoU does not care which axis comes first.
    kept = corners.op("NonMaxSuppression", scores, *limits, kind=np.int64)
    nothing = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])
    zeros = scores.op("Shape", kind=np.int64).op("ConstantOfShape", value=nothing, kind=np.float32)
    alone = zeros.op("ScatterND", kept, scores.op("GatherND", kept)).shaped(0, -1)
    rows = min(detection.most, classes * detection.count)
    best, places = Term(graph, "nms.best", np.float32), Term(graph, "nms.best.places", np.int64)
    found = [alone.name, graph.constant([rows], np.int64)]
    graph.nodes.append(helper.make_node("TopK", found, [best.name, places.name], axis=1, name=best.name))
    sides = seen.op("GatherND", (places % detection.count).shaped(0, rows, 1), batch_dims=1)
    label = best.op("Greater", 0).op("Where", (places // detection.count).floats(), graph.term(-1, np.float32))
    columns = sides, *(one.shaped(0, rows, 1) for one in (best, label))
    graph.add("Concat", [column.name for column in columns], BOXES, axis=2)
    graph.add_to(model, BOXES, rows, ROW)
    del model.graph.output[0]


def _corners(codes: Term, detection: Detection) -> Term:
    """Decode the codes, N×anchors×4."""
    around, codes = anchors(detection), codes / np.array(detection.box_scales, np.float32)
    middles, sides = around[None, :, :2], around[None, :, 2:]
    middle = codes.part(0, 2, 2) * sides + middles
    half = codes.part(2, 4, 2).op("Exp") * sides / 2
    return (middle - half).op("Concat", middle + half, axis=2)


def _there(corners: Term) -> Term:
    """Give 1 for each anchor whose box has an area and 0 for the others, N×1×anchors."""
    extent = corners.part(2, 4, 2) - corners.part(0, 2, 2)
    there = extent.op("ReduceMin", axes=[2], keepdims=1).op("Greater", 0)
    return there.floats().op("Transpose", perm=[0, 2, 1])


def _scores(logits: Term, detection: Detection) -> Term:
    """Give the score of each class and anchor, N×classes×anchors; ``logits`` have the background first."""
    scores = logits.op("Sigmoid") if detection.scores == "sigmoid" else logits.op("Softmax", axis=2)
    return scores.part(1, NO_END, 2).op("Transpose", perm=[0, 2, 1])
