"""torchvision's names of SSDLite, around one of our own detectors.

With torchvision 0.29 and weights drawn at random, its ``ssdlite320_mobilenet_v3_large`` gives the same logits to the
bit (3,234 anchors, 91 columns; 2026-11-28).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mobilenets.errors import InputError
from mobilenets.models.detection.anchors import torchvision_shapes
from mobilenets.models.detection.detector import Detector
from mobilenets.models.detection.plan import describe_detector
from mobilenets.models.operations import Conv
from mobilenets.models.tables import V3_LARGE, reduced_tail
from mobilenets.weights.class_names import coco_classes
from mobilenets.weights.convert import convert

TAPPED = 13


@pytest.fixture(scope="module")
def network(disturbing: Callable[[Detector], Detector]) -> Detector:
    architecture, detection = describe_detector(
        "mobilenet_v3_large", 0.35, table=reduced_tail(V3_LARGE), shapes=torchvision_shapes(6)
    )
    return disturbing(Detector(architecture, 90, detection))


def body_names(network: Detector) -> dict[str, str]:
    """Name the body's parts as torchvision does: features.0 ends with the expansion before the last stride."""
    names = {}
    for place, block in enumerate(network.plan.blocks):
        # The parts of a block are numbered as they come; the gate's two layers are one of them.
        parts = [part.name for part in block.operations if isinstance(part, Conv)]
        numbers = list(
            dict.fromkeys(name.partition(".excite.")[0] + ".excite" * (".excite." in name) for name in parts)
        )
        for name in parts:
            number = next(n for n, one in enumerate(numbers) if name.startswith(one))
            inner = {"reduce": ".fc1", "expand": ".fc2"}[name.rpartition(".")[2]] if ".excite." in name else ""
            stage, within = (f"0.{place}", ".block") if place < TAPPED else (f"1.{place - TAPPED}", ".block")
            if place == TAPPED:
                stage, within = ("0.13", "") if number == 0 else ("1.0", "")
            last = f"{within}.{number}" if len(parts) > 1 and (place, number) != (TAPPED, 0) else ""
            names[name] = f"backbone.features.{stage}{last}{inner}"
    return names


def state(network: Detector) -> dict[str, torch.Tensor]:
    found, body = {}, body_names(network)
    heads = {"boxes": "regression_head", "scores": "classification_head"}
    for name, value in network.state_dict().items():
        part, kind, leaf = name.rsplit(".", 2)
        first, place, *rest = part.split(".")
        if first == "body":
            there = body[part]
        elif first == "extras":
            there = f"backbone.extra.{place}.{['reduce', 'depthwise', 'project'].index(rest[0])}"
        else:
            there = f"head.{heads[rest[0]]}.module_list.{place}.{int(rest[1] == 'predict')}"
        whole = ".excite." in part or part.endswith("predict")  # no BatchNorm
        found[f"{there}{'' if whole else '.0' if kind == 'conv' else '.1'}.{leaf}"] = value
    return found


def test_computes_the_same_with_the_same_anchors(network: Detector, tmp_path: Path) -> None:
    given = state(network)
    assert "backbone.features.1.0.2.fc1.bias" in given and "backbone.features.0.13.0.weight" in given
    torch.save(given, tmp_path / "ssdlite.pth")
    converted = convert(tmp_path / "ssdlite.pth")
    found, bundle = converted.model.network, converted.model.bundle
    assert isinstance(found, Detector)
    assert bundle.detection is not None and bundle.classes == coco_classes()
    assert (bundle.detection.shapes, bundle.detection.maps) == (network.detection.shapes, network.detection.maps)
    assert (bundle.detection.iou, bundle.detection.most, bundle.detection.scores) == (0.55, 300, "softmax")
    assert (bundle.preprocessing.resize, bundle.preprocessing.interpolation) == ("stretch", "linear")
    pictures = torch.rand(1, 3, 320, 320) * 2 - 1
    with torch.inference_mode():
        expected = network(pictures)
        assert expected.std() > 0.01
        torch.testing.assert_close(found(pictures), expected)


def test_says_which_weights_it_took_and_what_it_left(network: Detector, tmp_path: Path) -> None:
    given = state(network)
    both = {f"{prefix}.{name}": value for prefix in ("net", "ema") for name, value in given.items()}
    torch.save(both | {"ema.seen": torch.zeros(2, dtype=torch.complex64)}, tmp_path / "both.pth")
    converted = convert(tmp_path / "both.pth")
    first, second = converted.foreign.assumed
    assert first.startswith("the weights used are those under 'ema'") and second.startswith("its size, anchors")
    assert converted.notes[0] == "left out, not part of the network: ema.seen"
    assert "ema.seen" in converted.foreign.ignored


def test_names_its_classes() -> None:
    names = coco_classes()
    assert (len(names), len(set(names))) == (90, 90)
    assert (names[0], names[17], names[89], names[11]) == ("person", "dog", "toothbrush", "unused 12")


def test_refuses_a_part_of_something_else(network: Detector, tmp_path: Path) -> None:
    torch.save({**state(network), "roi_heads.0.weight": torch.zeros(3, 3, 1, 1)}, tmp_path / "more.pth")
    with pytest.raises(InputError, match="no part of torchvision's ssdlite320"):
        convert(tmp_path / "more.pth")
