"""Training steps on a GPU: ours against plain PyTorch, eager and compiled, and timm where it is installed.

    python benchmarks/gpu.py [--device cuda] [--size 224] [--batch 256] [--seconds 10] [--models mobilenet_v2 …]

Every network of V1, V2 and V3 large gets the same batch of noise, which each step copies to the device. All compute in
bfloat16 and channels_last, and take turns in one process. Prints the device, versions and a table in Markdown: pictures
a second, the median of the rounds. `--device cpu --size 32 --batch 4 --seconds 0.1 --no-compile` tries the script out.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import statistics
import time
from functools import partial

import mobilenets  # noqa: F401 - before PyTorch: it decides how threads wait

# isort: split
import torch
from our_step import CLASSES, Step, ours, plain, torch_step
from report import arguments, heads, machine, row, versions

MODELS = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large")
TIMM = {
    "mobilenet_v1": "mobilenetv1_100",
    "mobilenet_v2": "mobilenetv2_100",
    "mobilenet_v3_large": "mobilenetv3_large_100",
}
ROUNDS = 5


def steps(model: str, options: argparse.Namespace) -> dict[str, Step]:
    """Build every way's step for a network."""
    size, batch, device = options.size, options.batch, options.device
    found = {
        "mobilenets": ours(model, size, batch, device),
        "PyTorch eager": plain(model, size, batch, device, mixed=True),
    }
    if options.compile:
        found["PyTorch compiled"] = plain(model, size, batch, device, mixed=True, compiled=True)
    if importlib.util.find_spec("timm"):
        import timm

        network = timm.create_model(TIMM[model], num_classes=CLASSES)
        found["timm"] = torch_step(network, size, batch, device, mixed=True)
    return found


def turn(step: Step, seconds: float, options: argparse.Namespace) -> float:
    """Give pictures a second over so many seconds, after one step that is not counted."""
    step()
    wait = partial(torch.cuda.synchronize, options.device) if options.device.startswith("cuda") else lambda: None
    wait()
    made, began = 0, time.perf_counter()
    while made == 0 or time.perf_counter() - began < seconds:
        step()
        made += 1
    wait()
    return made * options.batch / (time.perf_counter() - began)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each way of each network")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if options.device.startswith("cuda") else machine()
    print(f"{datetime.date.today()}, {name}; {versions('mobilenets', 'torch', 'timm')}; ", end="")
    print(f"{options.size} pixels, batch {options.batch}\n")
    print(heads("network", "way", "pictures/s", "of PyTorch eager"))
    for model in options.models:
        ways = steps(model, options)
        speeds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, step in ways.items():
                speeds[way].append(turn(step, options.seconds / ROUNDS, options))
        middle = {way: statistics.median(found) for way, found in speeds.items()}
        for way, speed in middle.items():
            print(row(model, way, f"{speed:.0f}", f"{speed / middle['PyTorch eager']:.2f}"))


if __name__ == "__main__":
    main()
