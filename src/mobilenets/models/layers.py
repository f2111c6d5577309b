"""The building blocks of the papers as plain modules, with names that read well in a state dictionary."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

PADDINGS = ("symmetric", "same", "keras")


def padded(side: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """Give the zeros before and after a side of that many pixels.

    - ``symmetric``: ``kernel // 2`` at both ends, as PyTorch's code and MindSpore's have it
    - ``same``: TensorFlow's SAME; where stride 2 meets an even side, only the end is padded
    - ``after``: what SAME gives for even sides, for odd ones too (``ZeroPadding2D(((0, 1), (0, 1)))``)

    A table's ``keras`` is ``after`` for strided depthwise layers and ``same`` for all else: ``keras.applications`` has
    it in MobileNetV1, and in V2 where that is built without an input size.
    """
    if padding == "symmetric" or (padding == "after" and stride == 1):
        return kernel // 2, kernel // 2
    if padding == "after":
        return max(kernel // 2 - 1, 0), kernel // 2
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def shrunk(side: int, kernel: int, stride: int, padding: str) -> int:
    """Give the side of the map that a convolution makes of one of ``side`` pixels."""
    return (side + sum(padded(side, kernel, stride, padding)) - kernel) // stride + 1


def of_conv(padding: str) -> str:
    """Read a table's padding for an ordinary convolution."""
    return "same" if padding == "keras" else padding


def of_depthwise(padding: str) -> str:
    """Read a table's padding for a depthwise one."""
    return "after" if padding == "keras" else padding


class ConvNorm(nn.Module):
    """Convolution, BatchNorm and, unless ``activate`` is off, ReLU6: the papers' unit of everything.

    ``padding`` is one of those of ``padded``. Takes N×inputs×H×W and gives N×outputs×ceil(H/stride)×ceil(W/stride)
    (with ``after``, an odd side is rounded down).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        activate: bool = True,
        epsilon: float,
        padding: str = "symmetric",
    ) -> None:
        super().__init__()
        # At stride 1 all ways of padding are one.
        self.padding = padding if stride > 1 else "symmetric"
        beside = kernel // 2 if self.padding == "symmetric" else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, beside, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=epsilon)
        self.activation = nn.ReLU6() if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Apply convolution, norm and activation."""
        if self.padding != "symmetric":
            kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
            rows, columns = (padded(side, kernel, stride, self.padding) for side in x.shape[2:])
            x = functional.pad(x, (*columns, *rows))
        out: Tensor = self.activation(self.norm(self.conv(x)))
        return out


class Separable(nn.Module):
    """Depthwise separable convolution: a depthwise 3×3, then a pointwise 1×1 (arXiv 1704.04861, section 3.1)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, *, epsilon: float, padding: str) -> None:
        super().__init__()
        self.depthwise = ConvNorm(
            inputs, inputs, kernel, stride, groups=inputs, epsilon=epsilon, padding=of_depthwise(padding)
        )
        self.pointwise = ConvNorm(inputs, outputs, 1, epsilon=epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """Filter each channel, then mix them."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class InvertedResidual(nn.Module):
    """Expand, filter, project without an activation (arXiv 1801.04381, sections 3.2 and 3.3, table 1).

    The input is added where stride is 1 and the channels agree. With ``expanded == inputs`` there is no
    expansion layer, as in the reference code's first block, unless ``always_expand``.
    """

    def __init__(
        self,
        inputs: int,
        expanded: int,
        outputs: int,
        kernel: int,
        stride: int,
        *,
        epsilon: float,
        padding: str,
        always_expand: bool = False,
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        expands = always_expand or expanded != inputs
        self.expand = ConvNorm(inputs, expanded, 1, epsilon=epsilon) if expands else nn.Identity()
        self.depthwise = ConvNorm(
            expanded, expanded, kernel, stride, groups=expanded, epsilon=epsilon, padding=of_depthwise(padding)
        )
        self.project = ConvNorm(expanded, outputs, 1, activate=False, epsilon=epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the bottleneck, adding the input where shapes allow."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.residual else out
