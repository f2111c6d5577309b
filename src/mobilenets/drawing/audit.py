"""The picture of an audit: the kernels of one layer, the dead ones marked, and what int8 does to every layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mobilenets.drawing.style import LIGHT, dress, heading, legend, new_figure, printable
from mobilenets.measure.kernels import Floats, WeakKernels

MOST = 1024
# Inches of the parts, with what is written above and below them.
WIDTH = 11.0
AROUND_KERNELS = 0.9
CURVES = 4.6
NAMES = 1.7


@dataclass(frozen=True)
class Kernels:
    """The depthwise layer to show: its kernels O×1×k×k, and which of them are weak."""

    name: str
    weight: Floats
    weak: WeakKernels


@dataclass(frozen=True)
class Curves:
    """Decibels of each convolution, in order: of its int8 weights, and of its output with int8 activations too."""

    layers: Sequence[str]
    weights: Sequence[float]
    outputs: Sequence[float]


def audit_figure(kernels: Kernels | None, curves: Curves | None) -> Figure:
    """Draw the kernels, and below them the curves; ValueError where there is neither."""
    if kernels is None and curves is None:
        raise ValueError("nothing to draw")
    sheet = None if kernels is None else _sheet(kernels)
    above = 0.0 if sheet is None else WIDTH / sheet.shape[1] * sheet.shape[0] + AROUND_KERNELS
    below = 0.0 if curves is None else CURVES
    figure = new_figure(WIDTH, above + below, LIGHT)
    if kernels is not None and sheet is not None:
        _draw_kernels(figure, kernels, sheet, below)
    if curves is not None:
        _draw_curves(figure, curves)
    return figure


def _sheet(kernels: Kernels) -> Floats:
    """Lay the first 1,024 kernels out in rows, NaN between them."""
    shown = kernels.weight[:MOST, 0]
    side = shown.shape[-1]
    across = _across(len(shown))
    sheet = np.full((math.ceil(len(shown) / across) * (side + 1) + 1, across * (side + 1) + 1), np.nan, np.float32)
    for number, kernel in enumerate(shown):
        top, left = (1 + (side + 1) * place for place in divmod(number, across))
        sheet[top : top + side, left : left + side] = kernel
    return sheet


def _across(count: int) -> int:
    return max(8, math.ceil(math.sqrt(count * 1.8)))


def _draw_kernels(figure: Figure, kernels: Kernels, sheet: Floats, below: float) -> None:
    """Draw a layer's kernels in the order of their channels.

    Blue is negative, orange positive, white 0; each is as strong as the root of its share of the layer's strongest
    hundredth. Dead kernels have a frame, near-dead ones a thin one.
    """
    shown = kernels.weight[:MOST, 0]
    side, across, total, weak = shown.shape[-1], _across(len(shown)), len(kernels.weight), kernels.weak
    whole = figure.get_figheight()
    axes = figure.add_axes((0, (below + 0.35) / whole, 1, WIDTH / sheet.shape[1] * sheet.shape[0] / whole))
    limit = max(float(np.quantile(np.abs(shown), 0.99)), 1e-12)
    scale = LinearSegmentedColormap.from_list("kernels", [LIGHT.blue, LIGHT.paper, LIGHT.orange])
    # By the root of the values: what is weak is still told from what is nothing.
    axes.imshow(
        np.sign(sheet) * np.sqrt(np.abs(sheet) / limit),
        cmap=scale.with_extremes(bad=LIGHT.grid),
        vmin=-1,
        vmax=1,
        interpolation="nearest",
        aspect="auto",
    )
    axes.axis("off")
    for flags, line in ((weak.dead, 2.0), (weak.near_dead, 0.8)):
        for number in np.flatnonzero(flags[:MOST]).tolist():
            top, left = ((side + 1) * place for place in divmod(number, across))
            place, inner = (left + 0.2, top + 0.2), side + 0.6
            axes.add_patch(Rectangle(place, inner, inner, fill=False, edgecolor=LIGHT.ink, linewidth=line))
    name, dead, near = printable(kernels.name, 60), int(weak.dead.sum()), int(weak.near_dead.sum())
    heading(axes, f"{name}: {dead} of {total} kernels dead, {near} near dead", LIGHT)
    cut = f"; the first {MOST} are shown" if total > MOST else ""
    legend = "Frame: dead, norm below 1 % of the layer's RMS. Thin frame: near dead, below 10 %. BatchNorm is folded in"
    figure.text(0, (below + 0.06) / whole, f"{legend}{cut}.", fontsize=9, color=LIGHT.muted)


def _draw_curves(figure: Figure, curves: Curves) -> None:
    whole = figure.get_figheight()
    axes = figure.add_axes((0.04, NAMES / whole, 0.96, (CURVES - NAMES - 0.9) / whole))
    places = range(len(curves.layers))
    for values, color, name in (
        (curves.weights, LIGHT.muted, "weights"),
        (curves.outputs, LIGHT.orange, "output, with activations in int8 too"),
    ):
        axes.plot(places, values, color=color, marker="o", markersize=3.5, linewidth=1.5, label=name)
    dress(axes, LIGHT, "Signal-to-noise ratio of each convolution in int8", y="dB")
    axes.set_xlim(-0.6, len(places) - 0.4)
    axes.set_ylim(min(0.0, *curves.outputs), 1.08 * max(*curves.weights, *curves.outputs))
    every = math.ceil(len(places) / 70)
    names = [printable(name.removeprefix("body."), 24) for name in curves.layers[::every]]
    axes.set_xticks(places[::every], names, rotation=90, fontsize=8)
    legend(axes, LIGHT)
