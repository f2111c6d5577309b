"""MobileNetV1, V2 and V3 large in plain PyTorch, as torchvision writes such networks."""

from __future__ import annotations

from tables import DROPOUT, EPSILON, V1, V2, V3, divisible
from torch import Tensor, nn


class ConvNormActivation(nn.Sequential):
    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        activation: type | None = None,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=EPSILON),
        ]
        if activation is not None:
            layers.append(activation(inplace=True))
        super().__init__(*layers)


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation, self.gate = nn.ReLU(), nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc2(self.activation(self.fc1(self.pool(x)))))


class InvertedResidual(nn.Module):
    def __init__(
        self,
        inputs: int,
        inside: int,
        outputs: int,
        stride: int,
        activation: type,
        kernel: int = 3,
        squeeze: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if inside != inputs:
            layers.append(ConvNormActivation(inputs, inside, 1, activation=activation))
        layers.append(ConvNormActivation(inside, inside, kernel, stride, groups=inside, activation=activation))
        if squeeze:
            layers.append(SqueezeExcitation(inside, divisible(inside / 4)))
        layers.append(ConvNormActivation(inside, outputs, 1))
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNet(nn.Module):
    def __init__(self, features: list[nn.Module], classifier: list[nn.Module]) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(*classifier)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x)).flatten(1))


def v1(classes: int) -> MobileNet:
    layers: list[nn.Module] = [ConvNormActivation(3, 32, stride=2, activation=nn.ReLU6)]
    inputs = 32
    for outputs, stride in V1:
        layers.append(ConvNormActivation(inputs, inputs, 3, stride, groups=inputs, activation=nn.ReLU6))
        layers.append(ConvNormActivation(inputs, outputs, 1, activation=nn.ReLU6))
        inputs = outputs
    return MobileNet(layers, [nn.Dropout(DROPOUT["v1"]), nn.Linear(inputs, classes)])


def v2(classes: int) -> MobileNet:
    layers: list[nn.Module] = [ConvNormActivation(3, 32, stride=2, activation=nn.ReLU6)]
    inputs = 32
    for expansion, outputs, repeats, stride in V2:
        for index in range(repeats):
            step = stride if index == 0 else 1
            layers.append(InvertedResidual(inputs, inputs * expansion, outputs, step, nn.ReLU6))
            inputs = outputs
    layers.append(ConvNormActivation(inputs, 1280, 1, activation=nn.ReLU6))
    return MobileNet(layers, [nn.Dropout(DROPOUT["v2"]), nn.Linear(1280, classes)])


def v3(classes: int) -> MobileNet:
    layers: list[nn.Module] = [ConvNormActivation(3, 16, stride=2, activation=nn.Hardswish)]
    inputs = 16
    for kernel, inside, outputs, squeeze, hard_swish, stride in V3:
        activation = nn.Hardswish if hard_swish else nn.ReLU
        layers.append(InvertedResidual(inputs, inside, outputs, stride, activation, kernel, squeeze))
        inputs = outputs
    layers.append(ConvNormActivation(inputs, 960, 1, activation=nn.Hardswish))
    hidden = [nn.Linear(960, 1280), nn.Hardswish(inplace=True)]
    return MobileNet(layers, [*hidden, nn.Dropout(DROPOUT["v3"]), nn.Linear(1280, classes)])


NETWORKS = {"v1": v1, "v2": v2, "v3": v3}
