"""Steps of a detector on a CPU: its body by our kernels, what stands behind it by PyTorch."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from mobilenets.models.detection.detector import Detector
from mobilenets.training.steppers.blocks import Function, fused
from mobilenets.training.steppers.fused import FusedStepper


class FusedBoxStepper(FusedStepper):
    """Makes the steps of ``PlainStepper`` for a ``Detector``; see ``FusedStepper``."""

    @cached_property
    def _body(self) -> list[Function]:
        assert isinstance(self.network, Detector)
        frozen = {id(part) for module in self._frozen for part in module.modules()}
        body, tapped = list(self.network.body), self.network.tapped
        # Joined with others, the block that gives two maps would not be found, and its neighbour would be left out.
        return [*fused(body[:tapped], frozen), body[tapped], *fused(body[tapped + 1 :], frozen)]

    def _outputs(self, images: Tensor, start: int) -> Tensor:
        outputs: Tensor = self.network(images, start, self._body)
        return outputs
