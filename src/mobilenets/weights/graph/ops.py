"""The operations of a foreign graph in one small form, into which the readers of Keras and TensorFlow turn theirs.

``body`` follows the picture through them and finds the layers of a MobileNet; ``head`` folds what stands behind it into
one linear layer. A reader refuses nothing itself: what no MobileNet has comes as an operation that says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.models.padding import padded
from mobilenets.weights.layers import Layer

Array = npt.NDArray[Any]

CONVOLUTIONS = ("conv", "depthwise")
WEIGHTED = (*CONVOLUTIONS, "norm", "linear")
JOINS = ("add", "subtract", "average", "concat")
POOLS = ("mean", "pool", "reshape", "flatten")


class GraphError(ValueError):
    """The graph is malformed or no MobileNet; the message is the reason, and what to do where that helps."""


@dataclass
class Op:
    """One operation on the outputs of those before it.

    By ``kind``:

    - ``input``: pictures, square ones of ``size`` pixels where the file tells
    - ``resize``: part of the preprocessing, which gives pictures of ``size`` pixels
    - ``conv``, ``depthwise``: ``layer``, ``kernel`` (side), ``stride``, ``channels`` (outputs; as
      many as inputs of a depthwise one) and ``zeros`` before and after the map, or None for SAME
    - ``norm``: ``layer`` and ``epsilon``, of BatchNorm
    - ``linear``: ``layer``; on a map it takes each pixel
    - ``scale``: the value × ``scale`` + ``shift``, one number for all channels or one each
    - ``pad``: ``zeros``
    - ``activation``: ``function``, ``linear`` and ``relu6`` among them
    - ``mean``: over the whole map; ``pool``: over squares of ``window`` pixels, ``stride`` apart; ``max``
    - ``flatten``, ``reshape``: the same numbers in another shape
    - ``add``, ``subtract``, ``average``, ``concat``: of several
    - ``same``: nothing at inference; ``answer``: what is made of probabilities
    - ``other``: anything else

    Parameters
    ----------
    name:
        Its name in the file.
    label, what:
        How messages name it, and its kind as the framework calls it where the label does not say that.
    inputs:
        The places of the operations that it takes.
    layer:
        Weights in this package's layout; a reader may fill them in after ``body`` has followed the graph.
    unfit:
        Why it cannot stand in the body of a MobileNet or before it.

    """

    kind: str
    name: str
    label: str
    inputs: tuple[int, ...] = ()
    what: str = ""
    layer: Layer | None = None
    kernel: int = 1
    stride: int = 1
    channels: int = 0
    zeros: tuple[int, int] | None = None
    window: int = 0
    epsilon: float | None = None
    scale: Array | None = None
    shift: Array | None = None
    function: str = ""
    size: int | None = None
    unfit: str = ""
    stage: str = field(default="input", compare=False)  # or body, or head: all that comes after the body

    def __str__(self) -> str:
        return self.label

    @property
    def described(self) -> str:
        """Its label and its kind."""
        return f"{self.label} ({self.what})" if self.what else self.label


def affine(steps: list[Op], channels: int) -> tuple[Array, Array]:
    """Join scalings into one: value × scale + shift, each (channels,). Raises ``GraphError``."""
    scale, shift = np.ones(channels), np.zeros(channels)
    for step in steps:
        if step.scale is None or step.shift is None:
            raise GraphError(f"{step} needs something that is not in the file; freeze the graph first")
        for figures in (step.scale, step.shift):
            if figures.size not in (1, channels):
                raise GraphError(f"{step} has a constant of shape {figures.shape} for {channels} channels")
        scale = scale * step.scale.reshape(-1)
        shift = shift * step.scale.reshape(-1) + step.shift.reshape(-1)
    return scale, shift


def normalisation(steps: list[Op], most: float, digits: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give mean and std with which (x / ``most`` - mean) / std is all steps on x, to so many digits.

    Raises ``GraphError``, also for what no network is trained with.
    """
    scale, shift = affine(steps, 3)
    if not (np.isfinite(shift).all() and 1e-6 < scale.min() <= scale.max() < 1e6):
        raise GraphError("it prepares pictures with numbers that no network is trained with")
    # 0.0 takes the sign off -0.0.
    mean, std = (
        tuple(float(f"{value:.{digits}g}") + 0.0 for value in values / scale / most) for values in (-shift, np.ones(3))
    )
    return mean, std


@dataclass(frozen=True)
class Window:
    """How a convolution of the body steps over its map of ``side`` pixels, which is None where the file is open."""

    op: Op
    zeros: tuple[int, int] | None
    side: int | None

    @property
    def same(self) -> tuple[int, int]:
        """The zeros of SAME; where the side is open, those of an even one."""
        return self._padded("after" if self.side is None else "same")

    @property
    def gives(self) -> int | None:
        """The side of what it gives."""
        zeros = self.same if self.zeros is None else self.zeros
        return None if self.side is None else (self.side + sum(zeros) - self.op.kernel) // self.op.stride + 1

    def agrees(self, padding: str) -> bool:
        """Say whether it is padded so."""
        after, actual = self._padded("after"), self.same if self.zeros is None else self.zeros
        if padding == "symmetric":
            return actual == self._padded("symmetric")
        if padding == "same":
            return actual == self.same
        # keras.applications' first convolution is SAME, or padded as the others are.
        if self.op.kind == "depthwise":
            return self.zeros == after
        return self.zeros is None or self.zeros == after == self.same

    def _padded(self, way: str) -> tuple[int, int]:
        return padded(self.side or 0, self.op.kernel, self.op.stride, way)


def habitual_padding(convs: int, depthwises: int) -> str:
    """The padding of keras.applications: V1 has about as many convolutions as depthwise layers, V2 twice as many."""
    return "keras" if convs <= depthwises + 2 else "same"


def padding_of(windows: list[Window]) -> str:
    """Find the padding here, a value of ``Foreign.padding``, that does what the file's does at its size.

    Raises ``GraphError``.
    """
    strided = [window for window in windows if window.op.stride > 1]
    explicit = any(window.zeros is not None for window in strided)
    depthwises = sum(window.op.kind == "depthwise" for window in windows)
    order: tuple[str, ...] = ("same",)
    if explicit and any(window.side is None for window in strided):
        # keras.applications' V2 has (0, 1) at every size when it is built without one, as "keras" does.
        order = ("keras", "same", "symmetric")
    elif explicit:
        order = (habitual_padding(len(windows) - depthwises, depthwises), "same", "symmetric", "keras")
    for padding in order:
        if all(window.agrees(padding) for window in strided):
            return padding
    raise GraphError("its zero padding is neither SAME nor that of keras.applications or PyTorch")
