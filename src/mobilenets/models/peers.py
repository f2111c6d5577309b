"""Networks to compare the MobileNets with: ResNet-18, ResNet-50, and V1 with plain convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from mobilenets.models.rows import Conv, PooledHead, stage
from mobilenets.models.tables import Table

# MobileNetV1 with an ordinary 3×3 convolution in place of each separable one: the network that arXiv 1704.04861,
# table 4, holds against it (29.3 M parameters, 4866 M multiply-accumulates), built of equal layers as VGG is.
PLAIN = Table(
    body=(
        Conv(32, stride=2),
        Conv(64),
        Conv(128, stride=2),
        Conv(128),
        Conv(256, stride=2),
        Conv(256),
        Conv(512, stride=2),
        *stage(Conv(512), 5),
        Conv(1024, stride=2),
        Conv(1024),
    ),
    head=PooledHead(),
    rounding="floor",
)


class Basic(nn.Module):
    """Two 3×3 convolutions around which the input goes (He et al. 2015, arXiv 1512.03385, figure 5, left)."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_conv(inputs, channels, 3, stride),
            nn.ReLU(inplace=True),
            *_conv(channels, channels, 3),
        )
        self.shortcut = _shortcut(inputs, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Add the input to what the layers give."""
        return nn.functional.relu(self.layers(x) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1×1 down, 3×3, 1×1 up to four times the channels (arXiv 1512.03385, figure 5, right).

    The stride is in the 3×3, as in the code that the usual figures belong to (torchvision, ResNet "v1.5").
    """

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_conv(inputs, channels, 1),
            nn.ReLU(inplace=True),
            *_conv(channels, channels, 3, stride),
            nn.ReLU(inplace=True),
            *_conv(channels, 4 * channels, 1),
        )
        self.shortcut = _shortcut(inputs, 4 * channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Add the input to what the layers give."""
        return nn.functional.relu(self.layers(x) + self.shortcut(x))


class ResNet(nn.Module):
    """A residual network: takes N×3×H×W and gives N×classes logits (arXiv 1512.03385, table 1)."""

    def __init__(self, block: type[Basic] | type[Bottleneck], repeats: tuple[int, ...], classes: int = 1000) -> None:
        super().__init__()
        parts: list[nn.Module] = [*_conv(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)]
        inputs = 64
        for number, count in enumerate(repeats):
            channels = 64 * 2**number
            for index in range(count):
                parts.append(block(inputs, channels, 2 if number and not index else 1))
                inputs = channels * block.expansion
        self.body = nn.Sequential(*parts)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits."""
        out: Tensor = self.classifier(self.pool(self.body(x)))
        return out


def resnet18(classes: int = 1000) -> ResNet:
    """Build ResNet-18, with 11,689,512 parameters at 1000 classes."""
    return ResNet(Basic, (2, 2, 2, 2), classes)


def resnet50(classes: int = 1000) -> ResNet:
    """Build ResNet-50, with 25,557,032 parameters at 1000 classes."""
    return ResNet(Bottleneck, (3, 4, 6, 3), classes)


RESNETS = {"resnet18": resnet18, "resnet50": resnet50}


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    same = inputs == outputs and stride == 1
    return nn.Identity() if same else nn.Sequential(*_conv(inputs, outputs, 1, stride))
