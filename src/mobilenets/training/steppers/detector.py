"""Steps of a detector on a CPU: its body by our kernels, what stands behind it by PyTorch."""

from __future__ import annotations

from torch import Tensor

from mobilenets.training.steppers.fused import FusedStepper


class FusedBoxStepper(FusedStepper):
    """Makes the steps of ``PlainStepper`` for a ``Detector``; see ``FusedStepper``."""

    def _outputs(self, images: Tensor, start: int) -> Tensor:
        outputs: Tensor = self.network(images, start, self._body)
        return outputs
