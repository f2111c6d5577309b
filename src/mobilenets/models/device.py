"""Where PyTorch computes."""

from __future__ import annotations

import torch

from mobilenets.errors import InputError


def pick_device(wish: str) -> torch.device:
    """Return the device that ``wish`` names: ``auto``, which takes a GPU where there is one, or as PyTorch names them.

    Raises ``InputError`` for one that PyTorch cannot use here.
    """
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
