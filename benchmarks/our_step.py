"""One step of training on noise, as `mobilenets train` makes it and as plain PyTorch does, for other scripts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

CLASSES, RATE = 10, 0.01

Step = Callable[[], float]


def ours(model: str, size: int, batch: int, device: str = "cpu") -> Step:
    """Build our step with plain SGD; mobilenets must be imported before PyTorch. It gives the mean loss."""
    import mobilenets  # noqa: F401

    # isort: split
    import numpy as np
    import torch

    from mobilenets.datasets.folder import Sample
    from mobilenets.datasets.loader import Batch
    from mobilenets.tasks.registry import find_task
    from mobilenets.training.recipe import Recipe
    from mobilenets.training.run import build_stepper
    from mobilenets.training.stages import Stage

    task = find_task("classification")
    samples = [Sample(Path(f"{number}.png"), number % CLASSES) for number in range(batch)]
    recipe = Recipe(batch=batch, lr=RATE, optimizer="sgd", weight_decay=0.0, freeze="none", label_smoothing=0.0)
    stage = Stage(recipe, 0, 1, 10**6, 10**6)
    network = _network(model, size)
    pictures: Any = SimpleNamespace(samples=samples, outputs=CLASSES)
    stepper = build_stepper(network, stage, task, pictures, torch.device(device), 0)
    images = np.random.default_rng(0).standard_normal((batch, size, size, 3), np.float32)
    given = Batch(images, task.targets(samples, CLASSES))
    return lambda: stepper.step([given], 0, RATE)["loss"] / batch


def plain(
    model: str, size: int, batch: int, device: str = "cpu", *, mixed: bool = False, compiled: bool = False
) -> Step:
    """Build the step as one writes it in PyTorch, channels_last; ``mixed`` computes in bfloat16."""
    network: Any = _network(model, size)
    return torch_step(network, size, batch, device, mixed=mixed, compiled=compiled)


def torch_step(
    network: Any, size: int, batch: int, device: str, *, mixed: bool = False, compiled: bool = False
) -> Step:
    """Build the plain step of any PyTorch network."""
    import torch

    network = network.to(device, memory_format=torch.channels_last).train()
    forward = torch.compile(network) if compiled else network
    optimizer = torch.optim.SGD(network.parameters(), RATE, momentum=0.9)
    loss_of = torch.nn.CrossEntropyLoss()
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch) % CLASSES

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=mixed):
            output = forward(images.to(device))
        loss = loss_of(output.float(), labels.to(device))
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _network(model: str, size: int) -> Any:
    import torch

    import mobilenets

    torch.manual_seed(0)
    return mobilenets.create_model(model, CLASSES, size=size, variant="standard")
