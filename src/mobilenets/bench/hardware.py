"""What a figure was measured on."""

from __future__ import annotations

import importlib.metadata
import platform

import torch

from mobilenets.bench.latency import describe_machine
from mobilenets.errors import InputError

PACKAGES = ("mobilenets", "torch", "numpy", "pillow", "safetensors")


def pick_device(wish: str) -> torch.device:
    """Return the device that ``wish`` names; ``auto`` takes a GPU where PyTorch finds one."""
    if wish == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wish)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device {wish!r}: PyTorch cannot use it here; choose auto or cpu") from error
    return device


def hardware(device: torch.device) -> dict[str, str | int]:
    """Name the processor, its cores that this process may use, PyTorch's threads, memory, system and GPU."""
    found: dict[str, str | int] = {**describe_machine(), "threads": torch.get_num_threads(), "device": device.type}
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
