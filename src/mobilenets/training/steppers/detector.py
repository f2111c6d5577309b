"""Steps of a detector on a CPU: its body, what stands behind it and its heads by our kernels."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor, nn

from mobilenets.models.blocks import Block
from mobilenets.models.detection.detector import Detector, Parts
from mobilenets.training.steppers.blocks import Function, FusedBlock, fused, fused_block
from mobilenets.training.steppers.fused import FusedStepper


class FusedBoxStepper(FusedStepper):
    """Makes the steps of ``PlainStepper`` for a ``Detector``; see ``FusedStepper``."""

    @cached_property
    def _parts(self) -> Parts:
        network = self.network
        assert isinstance(network, Detector)
        frozen = {id(part) for module in self._frozen for part in module.modules()}
        body, place, tap = list(network.body), network.tapped, network.plan.tap.name
        tapped, plain = body[place], network.parts

        def one(module: nn.Module) -> Function:
            return fused_block(module) or module

        return Parts(
            before=fused(body[:place], frozen),
            both=FusedBlock(tapped, tap).both if isinstance(tapped, Block) else plain.both,
            after=fused(body[place + 1 :], frozen),
            extras=[one(extra) for extra in network.extras],
            heads=[(one(head["boxes"]), one(head["scores"])) for head in network.heads],  # type: ignore[index]
        )

    def _outputs(self, images: Tensor, start: int) -> Tensor:
        outputs: Tensor = self.network(images, start, self._parts)
        return outputs
