"""Steps in plain PyTorch, on any device that it knows."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from mobilenets.datasets.loader import Batch
from mobilenets.models.engine import to_tensor
from mobilenets.models.network import Network
from mobilenets.tasks.base import Task
from mobilenets.training.distillation import DistillationLoss
from mobilenets.training.optimizer import build_optimizer
from mobilenets.training.processes import ALONE, Processes
from mobilenets.training.refused import INT8
from mobilenets.training.sparsity import Masks
from mobilenets.training.stages import Stage
from mobilenets.training.steppers.together import Together


class PlainStepper:
    """Makes the steps of one stage, and owns all that they change: network, its moving average, optimiser, precision.

    The loop owns the plan of batches, so a stepper that makes the same step from the same batches resumes exactly.
    ``network`` is moved to ``device`` and trained in place, with the optimiser, precision, clipping and moving average
    of the stage's recipe. ``loss`` is the task's, from outputs N×… and targets N×…. ``frozen`` modules keep their
    weights and their BatchNorm statistics. ``start`` counts the blocks that lie behind what the batches hold: 0 for
    pictures. ``processes`` make each step together, each on its slice of every batch.
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
        processes: Processes = ALONE,
    ) -> None:
        self.network: Network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.eval().requires_grad_(True)  # the first step enters training, as one after measuring does
        for module in frozen:
            module.requires_grad_(False)
        self._recipe, self._begin = stage.recipe, stage.begin
        self._task, self._loss = task, loss.to(device)
        self._device, self._frozen, self._start = device, frozen, start
        self._together = Together(processes, self.network, stage.recipe.sync_bn)
        self._average = copy.deepcopy(self.network).requires_grad_(False) if stage.recipe.ema else None
        if isinstance(loss, DistillationLoss):
            loss.watch(self.network)
        # Weights go in the last stage of a run.
        sparse = stage.recipe.share_of_zeros and stage.end == stage.steps
        self._masks = Masks(self.network, stage) if sparse else None
        self._optimizer = build_optimizer(stage.recipe, self.network)
        self._precision = precision_of(stage.recipe.precision, device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._precision is torch.float16)

    @property
    def result(self) -> Network:
        """What training gives so far: the moving average where there is one, else the network; not to be changed."""
        return self._average or self.network

    def step(self, group: Sequence[Batch], number: int, rate: float) -> dict[str, float]:
        """Make one step of the optimiser, at the learning rate ``rate``, by the mean loss over the pictures of a group.

        ``number`` is the step's place in the run, from 0: all that is drawn at random follows from it and the seed.
        Returns the sums over the pictures of ``loss`` and of the task's other measures. Where ``loss`` is not finite,
        the weights may be spoilt.
        """
        self._enter_training()
        self._seed(self._recipe.seed * 1_000_003 + number)
        for entry in self._optimizer.param_groups:
            entry["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        sums: dict[str, float] = {}
        pictures = sum(batch.pictures for batch in group)
        with self._together.step():
            for batch in group:
                with self._together.slice(batch):
                    for name, value in self._add_gradient(batch, len(batch) / pictures).items():
                        sums[name] = sums.get(name, 0) + value
            sums = self._together.sum_up(sums, sum(map(len, group)) / pictures)
        if self._masks is not None:
            self._masks.stop_gradients()
        if self._recipe.clip is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self._recipe.clip)
        self._move()
        self._scaler.update()
        if self._average is not None:
            _follow(self._average, self.network, self._recipe.ema or 0.0, number - self._begin)
        if self._masks is not None:
            self._masks.apply(number, self._average)
        return sums

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that the next step depends on, by name; the network's tensors begin with ``network.``."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        if self._average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self._average.state_dict().items()}
        if self._masks is not None:
            tensors |= {f"mask.{name}": tensor for name, tensor in self._masks.state_dict().items()}
        for index, entries in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": v for name, v in entries.items() if isinstance(v, Tensor)}
        # In float64, which holds its numbers exactly.
        scaler = self._scaler.state_dict()
        return tensors | {f"scaler.{name}": torch.tensor(v, dtype=torch.float64) for name, v in scaler.items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what ``state_dict`` gave; raises ``KeyError`` or ``RuntimeError`` for tensors that do not fit.

        Every tensor keeps the memory layout that training gave it, so that the same kernels run in the same order.
        """
        self.network.load_state_dict(_under(tensors, "network."))
        if self._average is not None:
            self._average.load_state_dict(_under(tensors, "average."))
        if self._masks is not None:
            self._masks.load_state_dict(_under(tensors, "mask."))
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        fused = self._optimizer.defaults.get("fused")  # which counts its steps on the device
        for index, parameter in enumerate(parameters):
            entries = _under(tensors, f"optimizer.{index}.")
            if entries:
                laid = {name: _laid_out(value, parameter) for name, value in entries.items()}
                self._optimizer.state[parameter] = {k: v.to(parameter.device) if fused else v for k, v in laid.items()}
        if scaler := _under(tensors, "scaler."):
            like = self._scaler.state_dict()
            self._scaler.load_state_dict({name: type(like[name])(value.item()) for name, value in scaler.items()})

    def _seed(self, seed: int) -> None:
        if self._device.type == "cpu":  # torch.manual_seed also keeps a traceback for each device that is not there
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _enter_training(self) -> None:
        if not self.network.training:
            self.network.train()
            for module in self._frozen:
                module.eval()

    def _outputs(self, images: Tensor, start: int) -> Tensor:
        """Give the network's outputs for a batch that ``start`` blocks lie behind, as ``Network.forward`` does."""
        outputs: Tensor = self.network(images, start)
        return outputs

    def _move(self) -> None:
        """Have the optimiser move the weights."""
        self._scaler.step(self._optimizer)

    def _add_gradient(self, batch: Batch, share: float) -> dict[str, float]:
        """Add the gradient of a batch's mean loss times ``share``; returns the batch's sums."""
        targets = torch.from_numpy(batch.targets).to(self._device)
        # Not even one that is off where it is not wanted: before PyTorch 2.5 there was none for Apple's GPUs.
        mixed = torch.autocast(self._device.type, self._precision) if self._precision else nullcontext()
        with mixed:
            output = self._outputs(to_tensor(batch.images, self._device), self._start)
        # A mean over no picture is no number.
        loss = self._loss(output.float(), targets) if len(batch) else output.float().sum()
        penalty = self.network.l2_penalty()
        total = loss if penalty is None else loss + penalty
        self._scaler.scale(total * share).backward()
        return {"loss": loss.item() * len(batch), **self._task.sums(output.detach(), targets)}


def precision_of(wish: str, device: torch.device) -> torch.dtype | None:
    """Return the type of mixed precision, or None for float32 throughout."""
    if wish == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"float32": None, INT8: None, "bfloat16": torch.bfloat16, "float16": torch.float16}[wish]


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the network; early steps count more, so that it forgets the random start."""
    decay = min(decay, (1 + step) / (10 + step))
    given = network.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(given[name], 1 - decay)
        else:
            value.copy_(given[name])


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
