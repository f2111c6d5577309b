"""Keras 3 with what ``model.compile`` does by default, on the backend that ``KERAS_BACKEND`` names.

MobileNetV1, V2 and V3 large are written as ``keras.applications`` writes such networks.

Where stride is 2, SAME pads an even side at its end alone, as TensorFlow's own MobileNets do; the maps have the same
sizes as everywhere.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import keras
from keras import layers
from protocol import CLASSES, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Prepared, serve
from tables import DROPOUT, EPSILON, V1, V2, V3, divisible


def normalised(x: Any, activation: str | None) -> Any:
    x = layers.BatchNormalization(epsilon=EPSILON)(x)
    return layers.Activation(activation)(x) if activation else x


def conv(x: Any, filters: int, kernel: int, activation: str | None, stride: int = 1) -> Any:
    return normalised(layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False)(x), activation)


def depthwise(x: Any, kernel: int, activation: str, stride: int) -> Any:
    return normalised(layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False)(x), activation)


def squeeze_excite(x: Any, filters: int) -> Any:
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(divisible(filters / 4), 1, activation="relu")(gate)
    gate = layers.Conv2D(filters, 1, activation="hard_sigmoid")(gate)
    return layers.Multiply()([x, gate])


def inverted(
    x: Any, inside: int, outputs: int, stride: int, activation: str, kernel: int = 3, squeeze: bool = False
) -> Any:
    inputs, y = x.shape[-1], x
    if inside != inputs:
        y = conv(y, inside, 1, activation)
    y = depthwise(y, kernel, activation, stride)
    if squeeze:
        y = squeeze_excite(y, inside)
    y = conv(y, outputs, 1, None)
    return layers.Add()([x, y]) if stride == 1 and inputs == outputs else y


def build(network: str, size: int) -> keras.Model:
    images = layers.Input((size, size, 3))
    if network == "v1":
        x = conv(images, 32, 3, "relu6", 2)
        for outputs, stride in V1:
            x = conv(depthwise(x, 3, "relu6", stride), outputs, 1, "relu6")
    elif network == "v2":
        x = conv(images, 32, 3, "relu6", 2)
        for expansion, outputs, repeats, stride in V2:
            for index in range(repeats):
                x = inverted(x, x.shape[-1] * expansion, outputs, 1 if index else stride, "relu6")
        x = conv(x, 1280, 1, "relu6")
    else:
        x = conv(images, 16, 3, "hard_swish", 2)
        for kernel, inside, outputs, squeeze, hard_swish, stride in V3:
            x = inverted(x, inside, outputs, stride, "hard_swish" if hard_swish else "relu", kernel, squeeze)
        x = conv(x, 960, 1, "hard_swish")
    x = layers.GlobalAveragePooling2D()(x)
    if network == "v3":
        x = layers.Dense(1280, activation="hard_swish")(x)
    x = layers.Dropout(DROPOUT[network])(x)
    return keras.Model(images, layers.Dense(CLASSES)(x))


def set_threads(count: int) -> tuple[str, ...]:
    """Tell the backend how many threads there are; returns the packages that it may be of."""
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(count)
        return ("torch",)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(count)
    return "tensorflow", "tensorflow-cpu"


def prepare(options: argparse.Namespace) -> Prepared:
    """Build and compile the network; a step is ``train_on_batch``."""
    packages = set_threads(options.threads)
    keras.utils.set_random_seed(0)
    model = build(options.case.network, options.case.size)
    if options.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)
    else:
        optimizer = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = options.case.batch_of_noise()

    def step() -> float:
        return float(model.train_on_batch(images, labels))

    about = {"backend": keras.backend.backend(), "jit_compile": bool(model.jit_compile)}
    parameters = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return Prepared(step, parameters, ("keras", *packages, "numpy"), about)


if __name__ == "__main__":
    serve(prepare)
