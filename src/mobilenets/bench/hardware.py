"""What a figure was measured on."""

from __future__ import annotations

import torch

from mobilenets.base.cores import cores
from mobilenets.base.extras import versions as installed
from mobilenets.bench.latency import describe_machine
from mobilenets.kernels.compile import available, taken_for

PACKAGES = ("mobilenets", "torch", "numpy", "numba", "pillow", "safetensors")


def hardware(device: torch.device) -> dict[str, str | int]:
    """Name the processor, its cores that this process may use, PyTorch's threads, kernels, memory, system and GPU."""
    found: dict[str, str | int] = describe_machine() | {"cores": cores()}  # it does not see the quota of a container
    found |= {"threads": torch.get_num_threads(), "device": device.type}
    found["kernels"] = "on" if device.type == "cpu" and available() else "off"
    found["kernels_for"] = taken_for() if device.type == "cpu" else "none"
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    return installed(PACKAGES)
