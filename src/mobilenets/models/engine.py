"""A network in PyTorch as an engine: what training measures, and what answers where no exported file does."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mobilenets.models.distance import Space
from mobilenets.models.network import Network


def to_tensor(images: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """Turn N×H×W×3 into N×3×H×W without copying: the memory is already channels_last."""
    return torch.from_numpy(images).to(device, non_blocking=True).permute(0, 3, 1, 2)


class NetworkEngine:
    """A network on its device: float32 N×H×W×3 in, logits float32 N×classes out.

    With ``start`` the batches hold what the first ``start`` blocks gave. With ``space`` it gives distances too. The
    network is left in evaluation mode.
    """

    runtime = "torch"
    version = str(torch.__version__)

    def __init__(self, network: Network, device: torch.device, start: int = 0, space: Space | None = None) -> None:
        self.network: Network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.eval()
        self.threads = torch.get_num_threads()
        self._device, self._start, self._space = device, start, space

    @torch.inference_mode()
    def __call__(self, images: npt.NDArray[Any], /) -> npt.NDArray[np.float32]:
        """Run a batch."""
        logits: npt.NDArray[np.float32] = (
            self._ready()(to_tensor(images, self._device), self._start).float().cpu().numpy()
        )
        return logits

    def _ready(self) -> Network:
        # To set hundreds of modules takes longer than a batch behind frozen blocks.
        return self.network.eval() if self.network.training else self.network

    @property
    def gives_distance(self) -> bool:
        """Whether ``with_distance`` can be asked."""
        return self._space is not None

    def with_distance(self, images: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Run a batch; gives the distances, float32 N, too. Only of a network with a ``space``."""
        assert self._space is not None
        features, logits = self.features(images)
        return logits, self._space.distances(features, logits)

    @torch.inference_mode()
    def features(self, images: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Give what the last layer takes, float32 N×features, and the logits."""
        network = self._ready()
        taken: list[torch.Tensor] = []
        watch = network.classifier.register_forward_pre_hook(lambda _, given: taken.append(given[0]))
        try:
            logits = network(to_tensor(images, self._device), self._start)
        finally:
            watch.remove()
        return taken[0].float().cpu().numpy(), logits.float().cpu().numpy()
