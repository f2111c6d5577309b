"""MindSpore in graph mode, its compiled one, as its model zoo trains such networks. NCHW: there is no other on a CPU.

Its AdamWeightDecay is AdamW without the correction of the first steps, which costs next to nothing.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import mindspore as ms
from mindspore import nn, ops
from protocol import CLASSES, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Prepared, serve
from tables import DROPOUT, EPSILON, V1, V2, V3, divisible


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, activation: Any = None
) -> nn.SequentialCell:
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, pad_mode="pad", padding=kernel // 2, group=groups, has_bias=False),
        nn.BatchNorm2d(outputs, eps=EPSILON),
    ]
    return nn.SequentialCell([*layers, *([activation()] if activation else [])])


class SqueezeExcitation(nn.Cell):
    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = divisible(channels / 4)
        self.fc1, self.fc2 = (
            nn.Conv2d(channels, squeezed, 1, has_bias=True),
            nn.Conv2d(squeezed, channels, 1, has_bias=True),
        )
        self.activation, self.gate = nn.ReLU(), nn.HSigmoid()

    def construct(self, x: Any) -> Any:
        return x * self.gate(self.fc2(self.activation(self.fc1(ops.mean(x, (2, 3), True)))))


class InvertedResidual(nn.Cell):
    def __init__(
        self,
        inputs: int,
        inside: int,
        outputs: int,
        stride: int,
        activation: Any,
        kernel: int = 3,
        squeeze: bool = False,
    ) -> None:
        super().__init__()
        layers: list[Any] = [conv(inputs, inside, 1, activation=activation)] if inside != inputs else []
        layers.append(conv(inside, inside, kernel, stride, inside, activation))
        if squeeze:
            layers.append(SqueezeExcitation(inside))
        self.layers = nn.SequentialCell([*layers, conv(inside, outputs, 1)])
        self.residual = stride == 1 and inputs == outputs

    def construct(self, x: Any) -> Any:
        y = self.layers(x)
        return x + y if self.residual else y


class MobileNet(nn.Cell):
    def __init__(self, features: list[Any], classifier: list[Any]) -> None:
        super().__init__()
        self.features, self.classifier = nn.SequentialCell(features), nn.SequentialCell(classifier)

    def construct(self, x: Any) -> Any:
        return self.classifier(ops.mean(self.features(x), (2, 3)))


def build(network: str) -> MobileNet:
    dropout = nn.Dropout(p=DROPOUT[network])
    if network == "v1":
        layers, inputs = [conv(3, 32, stride=2, activation=nn.ReLU6)], 32
        for outputs, stride in V1:
            layers.append(conv(inputs, inputs, 3, stride, inputs, nn.ReLU6))
            layers.append(conv(inputs, outputs, 1, activation=nn.ReLU6))
            inputs = outputs
        return MobileNet(layers, [dropout, nn.Dense(inputs, CLASSES)])
    if network == "v2":
        layers, inputs = [conv(3, 32, stride=2, activation=nn.ReLU6)], 32
        for expansion, outputs, repeats, stride in V2:
            for index in range(repeats):
                layers.append(InvertedResidual(inputs, inputs * expansion, outputs, 1 if index else stride, nn.ReLU6))
                inputs = outputs
        return MobileNet([*layers, conv(inputs, 1280, 1, activation=nn.ReLU6)], [dropout, nn.Dense(1280, CLASSES)])
    layers, inputs = [conv(3, 16, stride=2, activation=nn.HSwish)], 16
    for kernel, inside, outputs, squeeze, hard_swish, stride in V3:
        activation = nn.HSwish if hard_swish else nn.ReLU
        layers.append(InvertedResidual(inputs, inside, outputs, stride, activation, kernel, squeeze))
        inputs = outputs
    layers.append(conv(inputs, 960, 1, activation=nn.HSwish))
    return MobileNet(layers, [nn.Dense(960, 1280), nn.HSwish(), dropout, nn.Dense(1280, CLASSES)])


def prepare(options: argparse.Namespace) -> Prepared:
    ms.set_seed(0)
    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.runtime.set_cpu_affinity(False)
    network = build(options.case.network)
    weights = network.trainable_params()
    if options.optimizer == "sgd":
        optimizer = nn.Momentum(weights, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY)
    else:
        optimizer = nn.AdamWeightDecay(weights, LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    train = nn.TrainOneStepCell(nn.WithLossCell(network, nn.CrossEntropyLoss()), optimizer).set_train()
    images, labels = options.case.batch_of_noise()
    x = ms.Tensor(images.transpose(0, 3, 1, 2).copy())
    y = ms.Tensor(labels.astype("int32"))
    parameters = sum(math.prod(weight.shape) for weight in weights)
    return Prepared(lambda: float(train(x, y).asnumpy()), parameters, ("mindspore", "numpy"))


if __name__ == "__main__":
    serve(prepare)
