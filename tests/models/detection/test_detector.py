"""SSDLite: costs and anchors as published, weights on disk and in ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mobilenets.errors import InputError
from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.graph.session import open_session
from mobilenets.exports.job import Options
from mobilenets.models.detection.anchors import tensorflow_shapes, torchvision_shapes
from mobilenets.models.detection.detector import Detector, create_detector
from mobilenets.models.detection.plan import describe_detector, plan_detector, resized
from mobilenets.models.network import Network
from mobilenets.models.saved import load_model, save_weights
from mobilenets.models.tables import V3_LARGE, reduced_tail
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import DETECTION, Bundle, write_bundle
from mobilenets.runtime.detection import Detection, anchors


@pytest.mark.parametrize(
    ("size", "classes", "parameters", "macs", "count"),
    # The paper has 4.3 M and 0.8 B (arXiv 1801.04381, table 6); here counted to the last one.
    [(320, 80, 4_337_013, 788.8, 2_034), (300, 80, 4_337_013, 734.6, 1_917), (320, 20, 3_355_833, 695.4, 2_034)],
)
def test_costs_of_v2(size: int, classes: int, parameters: int, macs: float, count: int) -> None:
    architecture, detection = describe_detector("mobilenet_v2", size=size)
    plan = plan_detector(architecture, classes, detection)
    assert plan.parameters == parameters
    assert round(plan.macs / 1e6, 1) == macs
    assert detection.count == len(anchors(detection)) == plan.join.output_shape[0] == count
    assert (plan.tap.name, plan.tap.channels) == ("body.inverted14.expand", 576)


def test_torchvisions_v3() -> None:
    # torchvision's ssdlite320_mobilenet_v3_large: 3,440,060 parameters with 91 columns.
    architecture, detection = describe_detector("mobilenet_v3_large", table=reduced_tail(V3_LARGE))
    plan = plan_detector(architecture, 90, Detection(320, detection.maps, torchvision_shapes(6), detection.extras))
    assert plan.parameters == 3_440_060
    assert [(value.channels, value.side) for value in plan.sources] == [
        (672, 20), (480, 10), (512, 5), (256, 3), (256, 2), (128, 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "width", "tap"),
    [
        ("mobilenet_v1", 0.25, 128),
        ("mobilenet_v2", 0.35, 192),
        ("mobilenet_v3_small", 1.0, 288),
        ("mobilenet_v3_large", 0.75, 528),
        ("mobilenet_v4_conv_small", 1.0, 576),
    ],
)
def test_gives_what_onnx_gives(name: str, width: float, tap: int) -> None:
    torch.manual_seed(0)
    detector = create_detector(name, width, 96, 3).eval()
    assert detector.plan.tap.channels == tap
    assert sum(p.numel() for p in detector.parameters()) == detector.plan.parameters
    pictures = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        for value in detector.parameters():  # fresh weights give numbers too small to differ
            if value.ndim > 1:
                value.normal_(0, (2 / value[0].numel()) ** 0.5)
        expected = detector(pictures)
    assert expected.shape == (2, detector.detection.count, 4 + 1 + 3)
    session = open_session(onnx_model(detector, Preprocessing(96), Options("onnx")))
    [found] = session.run(None, {"images": pictures.numpy()})
    assert np.ptp(found) > 0.01
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4, rtol=1e-4)


def test_rows_are_anchors_in_their_order() -> None:
    detector = create_detector("mobilenet_v2", 0.25, 64, 2).eval()
    shapes = [len(each) for each in detector.detection.shapes]
    with torch.no_grad():
        for head, count in zip(detector.heads, shapes, strict=True):
            for name, width in (("boxes", 4), ("scores", 3)):
                bias = head[name].predict.conv.bias
                bias.copy_(torch.arange(count * width))
                head[name].predict.conv.weight.zero_()
        found = detector(torch.zeros(1, 3, 64, 64))[0]
    assert found[0].tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert found[2].tolist() == [8, 9, 10, 11, 6, 7, 8]
    assert torch.equal(found[3], found[0])  # the next place


def test_takes_a_classifiers_body_by_name() -> None:
    detector = create_detector("mobilenet_v2", 0.25, 64, 2)
    body = Network(detector.architecture, 0).body.state_dict()
    assert body.keys() == detector.body.state_dict().keys()


def test_blocks_may_be_computed_elsewhere() -> None:
    detector = create_detector("mobilenet_v2", 0.25, 64, 2).eval()
    calls = []

    def counting(block: torch.nn.Module) -> object:
        return lambda x: (calls.append(1), block(x))[1]

    pictures = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        parts = detector.parts
        others = {name: [counting(part) for part in getattr(parts, name)] for name in ("before", "after", "extras")}
        assert torch.equal(detector(pictures, parts=parts._replace(**others)), detector(pictures))
    assert len(calls) == len(detector.body) - 1 + len(detector.extras)


def test_comes_back_from_the_disk(tmp_path: Path) -> None:
    detector = create_detector("mobilenet_v2", 0.25, 64, 2).eval()
    bundle = Bundle(
        detector.architecture.to_json(), ("a", "b"), Preprocessing(64), task=DETECTION, detection=detector.detection
    )
    save_weights(tmp_path / "model.safetensors", detector.state_dict(), bundle)
    write_bundle(tmp_path, bundle)
    saved = load_model(tmp_path)
    assert isinstance(saved.network, Detector)
    assert saved.bundle == bundle
    assert not saved.network.training
    found = saved.network.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in detector.state_dict().items())


def test_anchors_of_both_codes() -> None:
    first, second, *_, last = tensorflow_shapes(6)
    wide, high = 0.2 * 2**0.5, 0.2 / 2**0.5
    assert sum(first, ()) == pytest.approx((0.1, 0.1, wide, high, high, wide))
    assert [len(shapes) for shapes in tensorflow_shapes(6)] == [3, 6, 6, 6, 6, 6]
    assert second[-1] == pytest.approx(((0.35 * 0.5) ** 0.5,) * 2)
    assert last[-1] == pytest.approx((0.95**0.5,) * 2)
    assert [len(shapes) for shapes in torchvision_shapes(6)] == [6] * 6
    assert torchvision_shapes(6)[-1][2] == pytest.approx((1, 0.95 / 2**0.5))  # cut to the picture
    detection = Detection(4, (2, 1), (((0.5, 0.25),), ((1.0, 1.0),)))
    assert anchors(detection).tolist() == [
        [0.25, 0.25, 0.5, 0.25], [0.75, 0.25, 0.5, 0.25], [0.25, 0.75, 0.5, 0.25], [0.75, 0.75, 0.5, 0.25],
        [0.5, 0.5, 1, 1],
    ]  # fmt: skip


def test_another_size() -> None:
    architecture, detection = resized(*describe_detector("mobilenet_v2", size=320), 300)
    assert (architecture, detection) == describe_detector("mobilenet_v2", size=300)


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0}, {"maps": []}, {"maps": [2]}, {"shapes": [[[1, 0]], [[1, 1]]]}, {"box_scales": [1, 1]},
        {"scores": "linear"}, {"iou": 2}, {"most": 0}, {"least_score": None}, {"extras": [[1]]}, {"more": 1},
        {"iou": 10**400}, {"box_scales": [10**400, 1, 1, 1]},
    ],
)  # fmt: skip
def test_refuses_a_malformed_description(change: dict[str, object]) -> None:
    good = Detection(64, (2, 1), (((0.5, 0.5),), ((1.0, 1.0),))).to_json()
    assert Detection.from_json(good).to_json() == good
    with pytest.raises(InputError, match="detection"):
        Detection.from_json(good | change)


def test_refuses_another_networks_description() -> None:
    architecture, detection = describe_detector("mobilenet_v2", size=320)
    with pytest.raises(InputError, match="not those of the architecture"):
        plan_detector(resized(architecture, detection, 300)[0], 3, detection)
