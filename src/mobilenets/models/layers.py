"""The building blocks of the papers as plain modules, with names that read well in a state dictionary."""

from __future__ import annotations

from torch import Tensor, nn


class ConvNorm(nn.Module):
    """Convolution, BatchNorm and, unless ``activate`` is off, ReLU6: the papers' unit of everything.

    Padding is symmetric, so that an input of side ``s`` gives ``ceil(s / stride)``. Takes N×inputs×H×W and
    gives N×outputs×ceil(H/stride)×ceil(W/stride).
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
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=epsilon)
        self.activation = nn.ReLU6() if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Apply convolution, norm and activation."""
        out: Tensor = self.activation(self.norm(self.conv(x)))
        return out


class Separable(nn.Module):
    """Depthwise separable convolution: a depthwise 3×3, then a pointwise 1×1 (arXiv 1704.04861, section 3.1)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, *, epsilon: float) -> None:
        super().__init__()
        self.depthwise = ConvNorm(inputs, inputs, kernel, stride, groups=inputs, epsilon=epsilon)
        self.pointwise = ConvNorm(inputs, outputs, 1, epsilon=epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """Filter each channel, then mix them."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class InvertedResidual(nn.Module):
    """Expand, filter, project without an activation (arXiv 1801.04381, sections 3.2 and 3.3, table 1).

    The input is added where stride is 1 and the channels agree. With ``expanded == inputs`` there is no
    expansion layer, as in the reference code's first block.
    """

    def __init__(self, inputs: int, expanded: int, outputs: int, kernel: int, stride: int, *, epsilon: float) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        self.expand = ConvNorm(inputs, expanded, 1, epsilon=epsilon) if expanded != inputs else nn.Identity()
        self.depthwise = ConvNorm(expanded, expanded, kernel, stride, groups=expanded, epsilon=epsilon)
        self.project = ConvNorm(expanded, outputs, 1, activate=False, epsilon=epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the bottleneck, adding the input where shapes allow."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.residual else out
