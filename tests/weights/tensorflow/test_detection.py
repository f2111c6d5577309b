"""Frozen graphs of TensorFlow's Object Detection API: a small one, written here around one of our own detectors.

The real one (11 MB) is compared by benchmarks/detection_graph.py.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mobilenets
from mobilenets.errors import InputError
from mobilenets.models.detection.detector import Detector
from mobilenets.models.detection.plan import describe_detector
from mobilenets.models.operations import Add, Conv
from mobilenets.models.saved import load_model
from mobilenets.models.tables import V2
from mobilenets.weights.convert import convert

SHARED = runpy.run_path(str(Path(__file__).with_name("shared.py")))
Graph, field = SHARED["Graph"], SHARED["field"]
SIZE, CLASSES = 96, 2
RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333, 1.0)


def detector() -> Detector:
    """One that is padded as TensorFlow pads."""
    architecture, detection = describe_detector("mobilenet_v2", 0.35, SIZE, table=replace(V2, padding="same"))
    shapes = tuple(
        tuple((scale * ratio**0.5, scale / ratio**0.5) for ratio in RATIOS[: 6 if place else 3])
        for place, scale in enumerate(np.linspace(0.15, 0.9, 6).tolist())
    )
    return Detector(architecture, CLASSES, replace(detection, shapes=shapes))


def way_in(graph: Any, resizes: str, **flags: bytes) -> str:
    """Pictures resized one by one in a loop, which is a cycle of nodes."""
    graph.picture(1, SIZE, SIZE, 3, kind=4, name="image_tensor")
    loop = "Preprocessor/map/while"
    graph.add(f"{loop}/Enter", "Enter", "image_tensor")
    graph.add(f"{loop}/Merge", "Merge", f"{loop}/Enter", f"{loop}/NextIteration")
    graph.const(f"{loop}/size", np.int32([SIZE, SIZE]))
    graph.add(f"{loop}/ResizeBilinear", resizes, f"{loop}/Merge", f"{loop}/size", **flags)
    graph.add(f"{loop}/NextIteration", "NextIteration", f"{loop}/ResizeBilinear")
    graph.add(f"{loop}/Exit", "Exit", f"{loop}/ResizeBilinear")
    gather = graph.add("Preprocessor/map/TensorArrayStack/TensorArrayGatherV3", "TensorArrayGatherV3", f"{loop}/Exit")
    scaled = graph.add("Preprocessor/mul", "Mul", graph.const("Preprocessor/mul/x", np.float32(2 / 255)), gather)
    return str(graph.add("Preprocessor/sub", "Sub", scaled, graph.const("Preprocessor/sub/y", np.float32(1))))


def unit(graph: Any, name: str, part: Conv, source: str, state: dict[str, np.ndarray], order: np.ndarray) -> str:
    """A convolution with its norm or bias and its activation; ``order`` of the outputs."""
    weight = state[f"{part.name}.conv.weight"][order]
    kernel = graph.const(
        f"{name}/weights", weight.transpose(2, 3, 0, 1) if part.depthwise else weight.transpose(2, 3, 1, 0)
    )
    net = graph.conv(
        f"{name}/conv", source, kernel, part.stride, op="DepthwiseConv2dNative" if part.depthwise else "Conv2D"
    )
    if part.norm:
        names = ("weight", "bias", "running_mean", "running_var")
        parts = [graph.const(f"{name}/{one}", state[f"{part.name}.norm.{one}"]) for one in names]
        net = graph.add(f"{name}/norm", "FusedBatchNormV3", net, *parts, epsilon=field(4, part.epsilon))
    else:
        net = graph.add(
            f"{name}/BiasAdd", "BiasAdd", net, graph.const(f"{name}/biases", state[f"{part.name}.conv.bias"][order])
        )
    return str(graph.add(f"{name}/act", "Relu6", net) if part.activation == "relu6" else net)


def frozen(
    network: Detector,
    scores: str = "Sigmoid",
    plain_heads: bool = False,
    overlap: str = "loop/iou",
    resizes: str = "ResizeBilinear",
    **flags: bytes,
) -> bytes:
    """Write the network as the Object Detection API names and orders it."""
    graph = Graph()
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    given = {network.plan.images.name: way_in(graph, resizes, **flags)}
    for part in network.plan.operations:
        if isinstance(part, Add):
            given[part.name] = graph.add(part.name, "Add", *(given[name] for name in part.inputs))
        elif isinstance(part, Conv):
            order, name = np.arange(part.output_shape[0]), part.name
            if name.endswith("predict"):
                _, place, what, _ = name.split(".")
                name = f"BoxPredictor_{place}/{'BoxEncodingPredictor' if what == 'boxes' else 'ClassPredictor'}"
                if what == "boxes":  # TensorFlow has y before x
                    order = order.reshape(-1, 4)[:, [1, 0, 3, 2]].reshape(-1)
            given[part.name] = unit(graph, name, part, given[part.inputs[0]], state, order)
            if plain_heads and part.name.startswith("heads") and not name.startswith("Box"):
                given[part.name] = given[part.inputs[0]]
    for place, shapes in enumerate(network.detection.shapes):
        wide, high = np.array(shapes).T
        prefix, end = "MultipleGridAnchorGenerator", f"_{place}" if place else ""
        root = graph.add(f"{prefix}/Sqrt{end}", "Sqrt", graph.const(f"{prefix}/Sqrt{end}/x", wide / high))
        graph.add(
            f"{prefix}/truediv{end}", "RealDiv", graph.const(f"{prefix}/truediv{end}/x", np.sqrt(wide * high)), root
        )
    for name, value in zip(("truediv", "truediv_1", "truediv_2", "truediv_3"), (10, 10, 5, 5), strict=True):
        graph.const(f"Postprocessor/Decode/{name}/y", np.float32(value))
    graph.const("Postprocessor/scale_logits/y", np.float32(1))
    graph.add("Postprocessor/convert_scores", scores, given["heads.0.scores.predict"])
    boxes, most = given["heads.0.boxes.predict"], graph.const("most", np.int32(50))
    figures = [graph.const(name, np.float32(value)) for name, value in (("iou", 0.55), ("least", 0.3))]
    _, least = (graph.add(f"loop/{name}", "Enter", name) for name in figures)
    graph.add("Minimum", "Minimum", most, boxes)
    graph.add("NMS", "NonMaxSuppressionV3", boxes, boxes, "Minimum", overlap, least)
    return bytes(graph.bytes())


@pytest.fixture(scope="module")
def network(disturbing: Callable[[Detector], Detector]) -> Detector:
    return disturbing(detector())


@pytest.fixture
def written(network: Detector, tmp_path: Path) -> Callable[..., Path]:
    def write(**options: Any) -> Path:
        path = tmp_path / "frozen_inference_graph.pb"
        path.write_bytes(frozen(network, **options))
        return path

    return write


def test_computes_the_same(network: Detector, written: Callable[..., Path]) -> None:
    model = convert(written()).model
    found = model.network
    assert isinstance(found, Detector)
    assert (found.architecture.name, found.architecture.width, found.classes) == ("mobilenet_v2", 0.35, CLASSES)
    pictures = torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    with torch.inference_mode():
        expected = network(pictures)
        assert expected.std() > 0.01
        torch.testing.assert_close(found(pictures), expected, atol=1e-5, rtol=1e-4)


def test_reads_what_makes_boxes(network: Detector, written: Callable[..., Path], tmp_path: Path) -> None:
    result = mobilenets.import_weights(written(), tmp_path / "model", classes=["cat", "dog"])
    assert result["assumed"] == []
    bundle = load_model(tmp_path / "model").bundle
    assert (bundle.task, bundle.classes) == ("detection", ("cat", "dog"))
    found = bundle.detection
    assert found is not None
    assert (found.scores, found.iou, found.least_score, found.most) == ("sigmoid", 0.55, 0.3, 50)
    assert (found.box_scales, found.maps, found.extras) == (
        (10, 10, 5, 5), network.detection.maps, network.detection.extras
    )  # fmt: skip
    np.testing.assert_allclose(np.concatenate(found.shapes), np.concatenate(network.detection.shapes), rtol=1e-5)
    way = bundle.preprocessing
    assert (way.size, way.resize, way.interpolation, way.mean, way.scale) == (
        SIZE,
        "stretch",
        "corner",
        (0.5,) * 3,
        1 / 255,
    )


@pytest.mark.parametrize(
    ("given", "rule", "assumed"),
    [
        ({"half_pixel_centers": field(5, 1)}, "linear", []),
        ({"align_corners": field(5, 1)}, "bilinear", ["Pillow's bilinear filter, which is near TensorFlow's"]),
        ({"resizes": "Identity"}, "bilinear", ["Pillow's bilinear filter: the graph has no resizing"]),
    ],
)
def test_the_resizing_is_the_graphs(
    written: Callable[..., Path], given: dict[str, Any], rule: str, assumed: list[str]
) -> None:
    found = convert(written(**given)).foreign
    assert found.preprocessing["interpolation"] == rule
    assert [line.removeprefix("pictures are resized by ") for line in found.assumed] == assumed


def test_a_node_that_nothing_needs_may_lack_its_input(written: Callable[..., Path]) -> None:
    path, odd = written(), Graph()
    odd.add("odd", "ResizeBilinear", odd.add("way", "Identity", "gone"), "way")
    path.write_bytes(bytes(odd.bytes()) + path.read_bytes())
    assert convert(path).foreign.preprocessing["interpolation"] == "corner"


def test_says_so_where_the_overlap_is_assumed(written: Callable[..., Path]) -> None:
    [line] = convert(written(overlap="Minimum")).foreign.assumed
    assert line == "boxes of one class that overlap by more than 0.6 are one"


def test_heads_that_are_not_ssdlites_are_refused(written: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="heads are plain convolutions"):
        convert(written(plain_heads=True))


def test_scores_of_another_kind_are_refused(written: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="softmax or sigmoid"):
        convert(written(scores="Tanh"))
