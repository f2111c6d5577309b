"""A network in PyTorch as an engine: what training measures, and what answers where no exported file does."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mobilenets.models.network import Network


def to_tensor(images: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """Turn N×H×W×3 into N×3×H×W without copying: the memory is already channels_last."""
    return torch.from_numpy(images).to(device, non_blocking=True).permute(0, 3, 1, 2)


class NetworkEngine:
    """A network on its device: float32 N×H×W×3 in, logits float32 N×classes out.

    With ``start`` the batches hold what the first ``start`` blocks gave. The network is left in evaluation mode.
    """

    runtime = "torch"
    version = str(torch.__version__)

    def __init__(self, network: Network, device: torch.device, start: int = 0) -> None:
        self.network: Network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.threads = torch.get_num_threads()
        self._device, self._start = device, start

    @torch.inference_mode()
    def __call__(self, images: npt.NDArray[Any], /) -> npt.NDArray[np.float32]:
        """Run a batch."""
        logits: npt.NDArray[np.float32] = (
            self.network.eval()(to_tensor(images, self._device), self._start).float().cpu().numpy()
        )
        return logits
