"""One step of training on noise, as `mobilenets train` makes it and as plain PyTorch does, for other scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

CLASSES, RATE = 10, 0.01

Step = Callable[[], float]


def stepping(
    model: str, images: Any, labels: Sequence[int], classes: int, device: str, **settings: Any
) -> tuple[Any, Step]:
    """Build our stepper for one batch, and what makes a step of it; mobilenets must be imported before PyTorch."""
    import mobilenets  # noqa: F401

    # isort: split
    import torch

    from mobilenets.datasets.folder import Sample
    from mobilenets.datasets.loader import Batch
    from mobilenets.tasks.registry import find_task
    from mobilenets.training.recipe import Recipe
    from mobilenets.training.run import build_stepper
    from mobilenets.training.stages import stages

    batch, size = images.shape[:2]
    usual = {"epochs": 1_000_000, "head_epochs": 0, "views": 0, "freeze": "none", "label_smoothing": 0.0, "lr": RATE}
    recipe = Recipe(**usual | {"model": model, "size": size, "batch": batch, "weights": "none"} | settings)
    task, [stage] = find_task("classification"), stages(recipe, batch)
    samples = [Sample(Path(f"{number}.png"), int(label)) for number, label in enumerate(labels)]
    pictures: Any = SimpleNamespace(samples=samples, outputs=classes)
    stepper = build_stepper(_network(model, size, classes), stage, task, pictures, torch.device(device), 0)
    given, made = Batch(images, task.targets(samples, classes)), count()
    return stepper, lambda: stepper.step([given], next(made), recipe.lr)["loss"] / batch


def ours(model: str, size: int, batch: int, device: str = "cpu") -> Step:
    """Build our step with plain SGD on noise. It gives the mean loss."""
    import numpy as np

    images = np.random.default_rng(0).standard_normal((batch, size, size, 3), np.float32)
    labels = [number % CLASSES for number in range(batch)]
    return stepping(model, images, labels, CLASSES, device, optimizer="sgd", weight_decay=0.0)[1]


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


def _network(model: str, size: int, classes: int = CLASSES) -> Any:
    import torch

    import mobilenets

    torch.manual_seed(0)
    return mobilenets.create_model(model, classes, size=size, variant="standard")
