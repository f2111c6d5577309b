"""The processes that make one training together, and the sums that they exchange."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mobilenets.errors import InputError


class Processes:
    """One process alone; ``Joined`` in ``joining`` is one of several."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count
        self.stopping = False
        """Whether all have agreed to stop."""
        self._asked: Callable[[], bool] = bool

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def places(self, count: int) -> slice:
        """Give this process's part of ``count`` places: parts differ by one at most, the first are the larger ones.

        >>> [Processes(rank, 3).places(13) for rank in range(3)]
        [slice(0, 5, None), slice(5, 9, None), slice(9, 13, None)]

        """
        small, larger = divmod(count, self.count)
        begin = self.rank * small + min(self.rank, larger)
        return slice(begin, begin + small + (self.rank < larger))

    def add(self, values: Tensor) -> None:
        """Replace a contiguous tensor by its sum over all processes, which are all here; the same bytes in each."""

    def meet(self) -> None:
        """Wait until all processes are here, however long that takes; raises ``LostProcess`` where one is gone."""

    def publish(self, result: str) -> None:
        """Leave the result of all for the others, who wait for it in ``published``."""

    def published(self) -> str:
        """Give the result that the first process has left, or will."""
        return ""

    def agreeing(self, asked: Callable[[], bool]) -> Callable[[], bool]:
        """Give what says whether to stop: by ``asked`` alone, or once any process was asked, in all after one step."""
        if self.count == 1:
            return asked
        self._asked, self.stopping = asked, False
        return lambda: self.stopping

    def total(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Sum figures up over all processes; with them goes whether any was asked to stop."""
        if self.count == 1:
            return dict(sums)
        values = torch.tensor([float(self._asked()), *sums.values()], dtype=torch.float64)
        self.add(values)
        asked, *found = values.tolist()
        self.stopping = self.stopping or asked > 0
        return dict(zip(sums, found, strict=True))

    @torch.no_grad()
    def add_all(self, tensors: Sequence[Tensor], dtype: torch.dtype | None = None) -> None:
        """Replace each tensor by its sum over all processes, in one exchange."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1).to(dtype or tensor.dtype) for tensor in tensors])
        self.add(flat)
        begin = 0
        for tensor in tensors:
            tensor.copy_(flat[begin : begin + tensor.numel()].view(tensor.shape))
            begin += tensor.numel()

    @torch.no_grad()
    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Give all processes the values that these tensors have in the first."""
        if not self.first:
            for tensor in tensors:
                tensor.zero_()
        self.add_all(tensors, torch.float64)  # which holds float32, and the counts of batches, exactly

    def send(self, content: bytes) -> bytes:
        """Give all processes the ``content`` of the first."""
        length = torch.tensor([len(content) if self.first else 0])
        self.add(length)
        values = torch.zeros(int(length), dtype=torch.uint8)
        if self.first:
            values = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        self.add(values)
        return values.numpy().tobytes()


ALONE = Processes()


def device_of(processes: Processes, device: torch.device) -> torch.device:
    """Give the device of this process where the recipe's is ``device``: of several GPUs the one of its number here."""
    if processes.count == 1:
        return device
    if device.type == "mps":
        return torch.device("cpu")  # which exchanges
    if device.type != "cuda":
        return device
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if str(device) != "cuda" or number >= torch.cuda.device_count():
        raise InputError(
            f"device {device}: each process of a machine takes one of its {torch.cuda.device_count()} GPUs; start as "
            "many processes as there are GPUs, with --device cuda, or give --device cpu"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
