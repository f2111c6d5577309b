"""Grad-CAM on networks made by hand, where it is known what matters."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import nn

from mobilenets.drawing.explain import SHOWN_SIZE, explain_picture, heat_map, overlay
from mobilenets.exports.beside import graph_of
from mobilenets.models.architecture import Architecture
from mobilenets.models.network import Network
from mobilenets.models.rows import Conv, FlatHead, Head, Inverted, MaxPool, PooledHead, Row, Separable
from mobilenets.models.saved import SavedModel
from mobilenets.models.tables import Table
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.engines import open_engine
from mobilenets.runtime.predictor import EnginePredictor
from mobilenets.verbs.models import create_model

HEADS = (PooledHead(dropout=0.5), FlatHead(dropout=0.5))
AS_IT_IS = Preprocessing(16, resize="stretch", mean=(0, 0, 0), std=(1, 1, 1))


def architecture(body: tuple[Row, ...], head: Head, size: int = 16, padding: str = "symmetric") -> Architecture:
    return Architecture("ours", 1.0, size, "custom", Table(body, head, "exact", padding=padding))


def corners(head: Head) -> Network:
    """Map 4×4. Class 0 counts red less green, class 1 counts blue, class 2 counts nothing."""
    network = Network(architecture((Conv(3, kernel=1, stride=4),), head), 3).eval()
    with torch.no_grad():
        conv = network.body[0].conv  # type: ignore[union-attr]
        conv.weight.copy_(torch.eye(3)[..., None, None])  # type: ignore[union-attr, operator]
        cells = 1 if isinstance(head, PooledHead) else 16
        meant = torch.tensor([[2.0, -1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
        network.classifier.weight.copy_(meant.repeat_interleave(cells, dim=1))  # type: ignore[operator]
        network.classifier.bias.zero_()  # type: ignore[operator, union-attr]
    return network


def picture() -> npt.NDArray[np.float32]:
    """Red in the upper left corner, green in the upper right, blue in the lower right."""
    pixels = np.zeros((16, 16, 3), np.float32)
    pixels[:4, :4, 0] = 1
    pixels[:4, 12:, 1] = 1
    pixels[12:, 12:, 2] = 1
    return pixels


def predictor_of(network: Network, preprocessing: Preprocessing) -> EnginePredictor:
    """What answers for a network: its ONNX file, as a finished run holds it."""
    classes = tuple(f"class {index}" for index in range(network.classes))
    bundle = Bundle(network.architecture.to_json(), classes, preprocessing)
    with TemporaryDirectory() as place:
        file = graph_of(SavedModel(network.eval(), bundle), Path(place))
        return EnginePredictor(bundle, open_engine(Path(place), file, threads=1), file)


def centres_of(network: Network) -> npt.NDArray[np.float64]:
    first, step = network.plan.cells()
    return first + step * np.arange(network.plan.maps.side)


def gradcam(
    network: Network, pixels: npt.NDArray[np.float32], index: int | None = None
) -> tuple[npt.NDArray[np.float32], int]:
    predictor = predictor_of(network, Preprocessing(len(pixels)))
    assert predictor.file is not None
    engine: Any = predictor.engine
    [evidence] = engine.evidence(pixels[None], index)
    best = int(engine(pixels[None]).argmax())
    return heat_map(evidence, predictor.file.evidence, len(pixels)), best if index is None else index


@pytest.mark.parametrize("head", HEADS)
def test_only_one_corner_matters(head: Head) -> None:
    # What a 1×1 convolution at stride 4 sees are the pixels 0, 4, 8 and 12 alone.
    network = corners(head)
    red, _ = gradcam(network, picture(), 0)
    assert red.shape == (16, 16) and red.dtype == np.float32
    assert red[0, 0] == red.max() == 1
    assert red[2, 0] == pytest.approx(0.5) and red[2, 2] == pytest.approx(0.25)
    # Green speaks against class 0, blue for another one: neither shows.
    assert not red[4:].any() and not red[:, 4:].any()
    blue, _ = gradcam(network, picture(), 1)
    assert blue[12, 12] == blue[15, 15] == 1
    assert not blue[:9].any() and not blue[:, :9].any()


def test_a_flat_head_knows_its_places() -> None:
    # Red everywhere, but it counts in one corner alone.
    network = corners(FlatHead())
    with torch.no_grad():
        network.classifier.weight[0, 1:] = 0  # type: ignore[index, operator]
    pixels = np.zeros((16, 16, 3), np.float32)
    pixels[..., 0] = 1
    heat, _ = gradcam(network, pixels, 0)
    assert heat[0, 0] == 1
    assert not heat[4:].any() and not heat[:, 4:].any()


@pytest.mark.parametrize("head", HEADS)
def test_the_most_probable_class_by_default(head: Head) -> None:
    pixels = picture()
    pixels[8:, :, 2] = 1
    network = corners(head)
    heat, index = gradcam(network, pixels)
    assert index == 1
    np.testing.assert_array_equal(heat, gradcam(network, pixels, 1)[0])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("level", [0.0, 0.7])
def test_a_map_that_is_the_same_everywhere_shows_nothing(head: Head, level: float) -> None:
    # Without a warning of a division by zero, which would be an error here.
    pixels = np.full((16, 16, 3), level, np.float32)
    for index in range(3):
        assert not gradcam(corners(head), pixels, index)[0].any()


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v1_cifar"])
def test_the_same_as_by_differentiating_the_whole_network(name: str) -> None:
    torch.manual_seed(1)
    network = create_model(name, 5, 0.25, size=64).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_var, 0.03, 0.1)
    nn.init.normal_(network.classifier.weight)
    pixels = np.random.default_rng(1).uniform(-1, 1, (64, 64, 3)).astype(np.float32)
    kept: list[torch.Tensor] = []
    hook = network.body.register_forward_hook(lambda module, args, out: kept.append(out))
    logits = network(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0]
    hook.remove()
    [gradient] = torch.autograd.grad(logits[3], kept)
    if isinstance(network.architecture.table.head, PooledHead):
        # The paper's equation 1.
        gradient = gradient.mean((2, 3), keepdim=True)
    expected = (gradient * kept[0]).sum(1).relu()[0].detach().numpy()
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    heat, _ = gradcam(network, pixels, 3)
    centres = centres_of(network)
    assert len(centres) == len(expected) > 1
    inside = [number for number, centre in enumerate(centres) if centre == int(centre)]
    at = centres[inside].astype(int)
    np.testing.assert_allclose(heat[np.ix_(at, at)], expected[np.ix_(inside, inside)], atol=1e-4)
    assert inside


# The inverted residual pads a map of 25 pixels at size 99, where "after" and "same" differ.
@pytest.mark.parametrize("size", [96, 97, 99])
@pytest.mark.parametrize("padding", ["symmetric", "same", "keras"])
def test_a_cell_is_drawn_in_the_middle_of_what_it_sees(padding: str, size: int) -> None:
    body = (Conv(2, stride=2), Separable(2, stride=2), Inverted(2, stride=2, expand=2), Conv(2, kernel=5), MaxPool(2))
    network = Network(architecture(body, PooledHead(), size, padding), 1).eval()
    # The same field as the largest value's, but every pixel of it counts.
    network.body[4] = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
    for parameter in network.body.parameters():
        nn.init.constant_(parameter, 0.1)
    images = torch.full((1, 3, size, size), 0.1, requires_grad=True)
    maps = network.body(images)
    centres = centres_of(network)
    assert maps.shape[2:] == (len(centres), len(centres))
    # A cell whose field ends inside the picture on both sides.
    [gradient] = torch.autograd.grad(maps[0, :, 2, 2].sum(), images)
    seen = np.flatnonzero(gradient.abs().sum((0, 1, 3)).numpy())
    assert seen[0] > 0 and seen[-1] < size - 1
    assert centres[2] == (seen[0] + seen[-1]) / 2


def test_one_cell_has_no_places() -> None:
    for size, cells in ((33, 2), (32, 0)):
        network = create_model("mobilenet_v2", 3, 0.25, size=size, variant="standard")
        file = predictor_of(network, Preprocessing(size)).file
        assert file is not None and len(file.evidence) == cells


def test_the_more_it_counts_the_lighter() -> None:
    heat = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (256, 1))
    for level in (0, 128, 255):
        drawn = np.asarray(overlay(Image.new("RGB", (256, 256), (level,) * 3), heat).convert("L"), np.int64)
        assert drawn.shape == (512, 512)
        # Even steps from dark to light, with a rest for rounding.
        assert np.diff(drawn[0]).min() >= -1
        assert drawn[0, -1] - drawn[0, 0] > 120


def test_over_the_picture_as_the_network_saw_it() -> None:
    image = Image.fromarray(np.rint(255 * picture()).astype(np.uint8)).resize((160, 80), Image.Resampling.NEAREST)
    before = image.tobytes()
    network = corners(PooledHead())
    predictor = predictor_of(network, AS_IT_IS)
    drawn = explain_picture(predictor, image, 0)
    assert image.tobytes() == before
    assert drawn.mode == "RGB" and drawn.size == (SHOWN_SIZE, SHOWN_SIZE)
    light = np.asarray(drawn.convert("L"), np.int64)
    assert light[5, 5] == light.max()
    # The blue corner is only the grey of the picture, in the shadow of the map.
    assert light[-5, -5] < light.max() / 3
    other = explain_picture(predictor, image, 1)
    assert np.asarray(other.convert("L"))[-5, -5] > 2 * light[-5, -5]
    assert explain_picture(predictor, image).tobytes() == drawn.tobytes()


def test_a_caption_stands_below() -> None:
    image, predictor = Image.new("RGB", (16, 16), (90, 0, 0)), predictor_of(corners(FlatHead()), AS_IT_IS)
    plain = explain_picture(predictor, image)
    named = explain_picture(predictor, image, caption="plastic bottle 97 %")
    assert named.width == plain.width and named.height > plain.height
    assert named.crop((0, 0, *plain.size)).tobytes() == plain.tobytes()
    strip = np.asarray(named.convert("L"))[plain.height :]
    assert strip.max() == 255 and strip.min() < 64
