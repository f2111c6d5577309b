"""All that is needed to continue a run bit for bit, in one safetensors file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mobilenets.base.files import writing
from mobilenets.errors import InputError

FILE = Path("checkpoint") / "state.safetensors"


@dataclass
class State:
    """How far a run has come. The sums run over the epoch under way, ``step`` counts its steps done.

    ``before`` is the validation top-1 of the model that training started from, where that was measured.
    ``seconds`` is the time of the epochs, ``total_seconds`` all since the start, reading the pictures included.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    hits: int = 0
    seen: int = 0
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    total_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    scaler: dict[str, Any] = field(default_factory=dict)
    finished: bool = False
    before: float | None = None


def save(
    run: Path, state: State, network: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer
) -> None:
    """Write the checkpoint, whole or not at all."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for index, entries in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": v for name, v in entries.items() if isinstance(v, Tensor)}
    with writing(run / FILE) as aside:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            aside,
            # One key: safetensors writes several in no fixed order.
            metadata={"state": json.dumps(asdict(state))},
        )


def exists(run: Path) -> bool:
    """Say whether there is a checkpoint to continue from."""
    return (run / FILE).is_file()


def peek(run: Path) -> State:
    """Read how far a run has come, without its tensors."""
    try:
        with safe_open(run / FILE, framework="pt") as file:
            # An earlier version wrote more.
            known = {entry.name for entry in fields(State)}
            return State(**{k: v for k, v in json.loads(file.metadata()["state"]).items() if k in known})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(run) from error


def restore_network(run: Path, network: nn.Module) -> None:
    """Put the checkpoint's weights into ``network``, which has those that a run begins with."""
    try:
        with safe_open(run / FILE, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith("network.")]  # noqa: SIM118 (not a dict)
            network.load_state_dict({name.removeprefix("network."): file.get_tensor(name) for name in names})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise _damaged(run) from error


def restore(run: Path, network: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer) -> State:
    """Put the checkpoint's values in place and return its state.

    Every tensor keeps the memory layout that training gave it, so that the same kernels run in the same order.
    """
    state = peek(run)
    try:
        with safe_open(run / FILE, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        network.load_state_dict(_under(tensors, "network."))
        if average is not None:
            average.load_state_dict(_under(tensors, "average."))
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for index, parameter in enumerate(parameters):
            entries = _under(tensors, f"optimizer.{index}.")
            if entries:
                optimizer.state[parameter] = {k: _laid_out(v, parameter) for k, v in entries.items()}
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise _damaged(run) from error
    return state


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _damaged(run: Path) -> InputError:
    return InputError(f"{run / FILE}: damaged, so the run cannot be continued; train again with another --out")
