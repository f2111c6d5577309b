from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mobilenets.errors import InputError
from mobilenets.exports.graph.nodes import IR_VERSION, OPSET
from mobilenets.exports.graph.session import open_session
from mobilenets.exports.graph.suppression import check_suppression, with_boxes
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.detection import Detection
from mobilenets.runtime.detections import Detections, decode, finished

CLASSES = 3
SHAPES = (((0.3, 0.3), (0.5, 0.25)), ((0.8, 0.8), (0.6, 0.9), (0.9, 0.4)))
SMALL = Detection(64, (6, 3), SHAPES, most=20)


def handing_on(detection: Detection, batch: int | str) -> onnx.ModelProto:
    """Give a graph that hands its input on as a detector's outputs."""
    shape = [batch, detection.count, 5 + CLASSES]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("images", "outputs")]
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["outputs"])], "g", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def ordered(found: Detections) -> Detections:
    """Order by class and place: scores that are equal in float64 may differ in the last digit of float32."""
    return found.taken(np.lexsort((*found.corners.round(1).T, found.labels)))


@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
@pytest.mark.parametrize(("least", "most", "iou"), [(0.01, 20, 0.6), (0.3, 100, 0.3), (0.7, 5, 0.45)])
def test_suppression_inside_gives_our_boxes(scores: str, least: float, most: int, iou: float) -> None:
    detection = replace(SMALL, scores=scores, least_score=least, most=most, iou=iou)
    model = handing_on(detection, "batch")
    with_boxes(model, detection)
    session = open_session(model)
    rng = np.random.default_rng(most)
    numbers = rng.normal(0, 2.5, (17, detection.count, 5 + CLASSES)).astype(np.float32)
    numbers[0, :, 4] = 50  # a picture with nothing in it
    numbers[1, :, 5:] = np.round(numbers[1, :, 5:])  # one with equal scores
    numbers[1, :, 4] = 0
    [rows] = session.run(None, {"images": numbers})
    assert rows.shape == (17, min(most, detection.count * CLASSES), 6)
    total = 0
    for outputs, row in zip(numbers, rows, strict=True):
        theirs = finished(row, 300, 200)
        ours = decode(outputs, detection, 300, 200, Preprocessing(64, "stretch"))
        assert (np.diff(theirs.scores) <= 0).all()
        ours, theirs = ordered(ours), ordered(theirs)
        assert ours.labels.tolist() == theirs.labels.tolist()
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=2e-6)
        np.testing.assert_allclose(ours.corners, theirs.corners, atol=1e-3)
        assert (row[len(theirs) :, 4:] == [0, -1]).all()
        total += len(ours)
    assert total > 17
    assert scores == "sigmoid" or len(finished(rows[0], 1, 1)) == 0


def test_only_where_shares_are_those_of_the_picture() -> None:
    check_suppression(Preprocessing(64, "stretch"))
    for resize in ("crop", "pad"):
        with pytest.raises(InputError, match=f"by {resize}, and boxes inside the file need stretch"):
            check_suppression(Preprocessing(64, resize))


def test_a_file_with_suppression_inside(finder: Any, tmp_path: Any) -> None:
    """In OpenVINO; ONNX Runtime has it in ``tests/exports/use/test_find.py``."""
    pytest.importorskip("openvino")
    import mobilenets

    result = mobilenets.export(finder.run, tmp_path / "out", "openvino", data=finder.data, nms=True)
    assert result["passed"], result["faults"]
    ours, theirs = mobilenets.Predictor(finder.run), mobilenets.Predictor(tmp_path / "out")
    for path in sorted((finder.data / "pictures").iterdir()):
        # The last of a hundred may be others, where scores are nearly the same.
        one, other = (predictor.detections([predictor.prepare(path)])[0].above(0.1) for predictor in (ours, theirs))
        one, other = ordered(one), ordered(other)
        assert one.labels.tolist() == other.labels.tolist()
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
        np.testing.assert_allclose(one.corners, other.corners, atol=0.05)
