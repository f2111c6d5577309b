"""Steps on a CPU with our kernels: the same as plain PyTorch's, in about half the time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mobilenets.models.network import Network
from mobilenets.tasks.base import Task
from mobilenets.training.stages import Stage
from mobilenets.training.steppers.blocks import fused, fused_block
from mobilenets.training.steppers.plain import PlainStepper


class FusedStepper(PlainStepper):
    """Makes the steps of ``PlainStepper``, the network's blocks computed by ``fused_block``; for float32 on a CPU.

    The network, and with it the state that a run is resumed from, is the same; sums are taken in another order, so
    that figures agree within rounding. The same number of threads gives the same bytes.
    """

    def __init__(
        self,
        network: Network,
        stage: Stage,
        task: Task,
        loss: nn.Module,
        device: torch.device,
        frozen: Sequence[nn.Module] = (),
        start: int = 0,
    ) -> None:
        super().__init__(network, stage, task, loss, device, frozen, start)
        self._body = fused(list(network.body))
        self._head = fused_block(network.head) or network.head

    def _outputs(self, images: Tensor, start: int) -> Tensor:
        network = self.network
        if start >= len(self._body):  # what is left is small
            return super()._outputs(images, start)
        x = images
        del images
        for block in self._body[start:]:
            x = block(x)
        outputs: Tensor = network.classifier(network.dropout(self._head(network.pool(x))))
        return outputs
