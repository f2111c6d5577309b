"""Steps on a CPU with our kernels: the same as plain PyTorch's, in less time and memory."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from mobilenets.models.blocks import Block
from mobilenets.models.detection.detector import Detector, Parts
from mobilenets.training.steppers.blocks import Function, FusedBlock, fused, fused_block
from mobilenets.training.steppers.plain import PlainStepper


class FusedStepper(PlainStepper):
    """Makes the steps of ``PlainStepper``, the network's blocks computed by ``fused``; for float32 on a CPU.

    The network, and with it the state that a run is resumed from, is the same; sums are taken in another order, so
    that figures agree within rounding. The same number of threads gives the same bytes.
    """

    @cached_property
    def _body(self) -> list[Function]:
        frozen = {id(part) for module in self._frozen for part in module.modules()}
        return fused(list(self.network.body)[self._start :], frozen)

    @cached_property
    def _head(self) -> Function:
        return fused_block(self.network.head) or self.network.head

    def _outputs(self, images: Tensor, start: int) -> Tensor:
        network = self.network
        if not self._body:  # what is left is small
            return super()._outputs(images, start)
        x = images
        del images
        for block in self._body:
            x = block(x)
        outputs: Tensor = network.classifier(network.dropout(self._head(network.pool(x))))
        return outputs

    def _move(self) -> None:
        # It is as long as the memory takes, and PyTorch's threads, which sleep, would have to be woken.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            super()._move()
        finally:
            torch.set_num_threads(threads)


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
