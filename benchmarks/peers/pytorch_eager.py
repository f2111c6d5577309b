"""Plain PyTorch, eager, as a user writes it: ``--layout nchw``, or ``channels_last`` as PyTorch's own guide advises."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from networks import NETWORKS
from protocol import CLASSES, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Prepared, serve
from torch import Tensor, nn


def prepare(options: argparse.Namespace) -> Prepared:
    return training(options, lambda network: network)


def training(options: argparse.Namespace, wrapped: Callable[[nn.Module], nn.Module]) -> Prepared:
    """Set up a training loop's step; ``wrapped`` makes of the network what the loop calls."""
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
    model, loss_of = wrapped(network.train()), nn.CrossEntropyLoss()

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
