"""The network's picture: its stages, its labels apart from each other, its totals."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from mobilenets.drawing.diagram import TIMES, colors, draw_network, network, stages
from mobilenets.drawing.style import DARK, DPI
from mobilenets.measure.cost import Cost, cost
from mobilenets.models.architecture import Architecture
from mobilenets.models.catalog import CATALOG, describe
from mobilenets.models.rows import Conv, Inverted, MaxPool, PooledHead
from mobilenets.models.tables import Table

V2 = [("conv", 32, 1), *[("inverted residual", c, n) for c, n in zip(
    (16, 24, 32, 64, 96, 160, 320), (1, 2, 3, 4, 3, 3, 1), strict=True
)], ("conv", 1280, 1), ("pool", 1280, 1), ("classifier", 1000, 1)]  # fmt: skip
V1 = [("conv", 32, 1), *[("separable", c, n) for c, n in zip(
    (64, 128, 256, 512, 1024), (1, 2, 2, 6, 2), strict=True
)], ("pool", 1024, 1), ("classifier", 1000, 1)]  # fmt: skip


def counted(name: str, width: float = 1.0, size: int = 224, classes: int = 1000) -> Cost:
    return cost(describe(name, width, size), classes)


def assert_labels_apart(figure: Figure) -> None:
    figure.draw_without_rendering()
    (axes,) = figure.axes
    texts = [text for text in axes.texts if text.get_text()]
    frame = figure.bbox.padded(1)
    for text in texts:
        box = text.get_window_extent()
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1, text
    for one, other in itertools.combinations(texts, 2):
        assert not one.get_window_extent().overlaps(other.get_window_extent()), (one, other)


@pytest.mark.parametrize(("name", "table"), [("mobilenet_v1", V1), ("mobilenet_v2", V2)])
def test_stages_are_the_paper_s_table(name: str, table: list[tuple[str, int, int]]) -> None:
    parts = stages(counted(name).blocks)
    assert [(part.first.kind, part.first.channels, len(part.blocks)) for part in parts] == table


def test_stages_keep_every_parameter_and_mac() -> None:
    one = counted("mobilenet_v2")
    parts = stages(one.blocks)
    assert sum(part.parameters for part in parts) == one.parameters
    assert sum(part.macs for part in parts) == one.macs


@pytest.mark.parametrize("name", CATALOG)
@pytest.mark.parametrize(("width", "size", "classes"), [(1.0, 224, 1000), (0.25, 32, 2), (1.4, 224, 10)])
def test_no_label_overlaps_another(name: str, width: float, size: int, classes: int) -> None:
    assert_labels_apart(network(counted(name, width, size, classes)))


def test_the_figure_tells_the_totals_and_draws_each_residual_once() -> None:
    figure = network(counted("mobilenet_v2"), DARK)
    shown = {text.get_text() for text in figure.axes[0].texts}
    assert "3.50 M parameters  ·  300.8 M MACs" in shown
    assert {"mobilenet_v2", "inverted residual", "residual connection", "112²", f"{TIMES}4"} <= shown
    arcs = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
    # Ten in the network (Sandler et al. 2018, table 2) and one in the legend.
    assert len(arcs) == 11


def test_a_network_without_residuals_has_none_in_its_legend() -> None:
    figure = network(counted("mobilenet_v1"))
    assert "residual connection" not in {text.get_text() for text in figure.axes[0].texts}
    assert not any(isinstance(patch, FancyArrowPatch) for patch in figure.axes[0].patches)


def test_kinds_that_nobody_knows_have_their_own_colours() -> None:
    @dataclass(frozen=True)
    class Wide(Inverted):
        kind: ClassVar[str] = "wide"
        title: ClassVar[str] = "wide residual"

    body = (Conv(8, stride=2), Inverted(8, expand=2), Wide(8, expand=4), Wide(8, expand=3), MaxPool())
    one = cost(Architecture("own", 1.0, 64, "custom", Table(body, PooledHead())), 3)
    assert len(set(colors(stages(one.blocks), DARK).values())) == 6
    figure = network(one)
    assert "wide residual" in {text.get_text() for text in figure.axes[0].texts}
    # Three sums and one in the legend; the second and the third begin a stage.
    assert sum(isinstance(patch, FancyArrowPatch) for patch in figure.axes[0].patches) == 4


def test_files(tmp_path: Path) -> None:
    draw_network(counted("mobilenet_v1"), tmp_path / "v1.png")
    content = (tmp_path / "v1.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert width > 12 * DPI and 0.4 < height / width < 1
    draw_network(counted("mobilenet_v2"), tmp_path / "v2.svg")
    assert ElementTree.parse(tmp_path / "v2.svg").getroot().tag.endswith("svg")
