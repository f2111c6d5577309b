"""Plain PyTorch as a user writes it: ``--layout nchw``, or ``channels_last`` as PyTorch's own guide advises.

With ``--compile`` by ``torch.compile``, which writes C++ and needs a compiler for it.
"""

from __future__ import annotations

import argparse
import os
import shutil

import torch
from networks import NETWORKS
from protocol import CLASSES, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Prepared, Skipped, serve
from torch import Tensor, nn


def prepare(options: argparse.Namespace) -> Prepared:
    """Set up a training loop's step."""
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "c++")
    if options.compile and not any(shutil.which(name) for name in compilers if name):
        raise Skipped("torch.compile needs a C++ compiler: install g++ or clang++")
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    network = NETWORKS[options.case.network](CLASSES)
    images, labels = options.case.batch_of_noise()
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    if options.layout == "channels_last":
        network = network.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    else:
        x = x.contiguous()
    y = torch.from_numpy(labels)
    optimizer = optimizer_of(options.optimizer, network)
    model, loss_of = network.train(), nn.CrossEntropyLoss()
    model = torch.compile(model) if options.compile else model

    def step() -> float:
        optimizer.zero_grad()
        loss: Tensor = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Prepared(step, parameters, ("torch", "numpy"), {"layout": options.layout})


def optimizer_of(name: str, network: nn.Module) -> torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(network.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)
    return torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)


if __name__ == "__main__":
    serve(prepare)
