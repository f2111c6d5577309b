"""All that is needed to continue a run, bit for bit on the same CPU and threads, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mobilenets.base.files import writing
from mobilenets.errors import InputError
from mobilenets.training.steppers.plain import PlainStepper

FILE = Path("checkpoint") / "state.safetensors"


@dataclass
class State:
    """How far a run has come.

    Of the epoch under way ``step`` steps and ``seen`` pictures are done; ``sums`` are the loss's and the task's.
    ``before`` is the task's metric of the model that training started from, where that was measured.
    ``ends`` says where the clock has moved the end of a stage: pairs for ``stages.move_end``, in order.
    ``seconds`` is the time of the epochs, ``total_seconds`` all since the start, reading the pictures included.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seen: int = 0
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    total_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    finished: bool = False
    before: float | None = None
    ends: list[list[int]] = field(default_factory=list)


def save(run: Path, state: State, tensors: Mapping[str, Tensor]) -> None:
    """Write the checkpoint, whole or not at all."""
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
            found = json.loads(file.metadata()["state"])
            # An earlier version wrote more, and these two sums alone.
            if "sums" not in found:
                found["sums"] = {"loss": found["loss_sum"], "top1": found["hits"]} if found["seen"] else {}
            known = {entry.name for entry in fields(State)}
            return State(**{name: value for name, value in found.items() if name in known})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(run) from error


def restore(run: Path, part: PlainStepper | nn.Module, prefix: str = "") -> State:
    """Give the tensors of the checkpoint whose names begin with ``prefix`` to ``part``; returns the state."""
    state = peek(run)
    try:
        with safe_open(run / FILE, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 (not a dict)
            part.load_state_dict({name.removeprefix(prefix): file.get_tensor(name) for name in names})
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise _damaged(run) from error
    return state


def restore_network(run: Path, network: nn.Module) -> None:
    """Put the checkpoint's weights into ``network``, which has those that a run begins with."""
    restore(run, network, "network.")


def _damaged(run: Path) -> InputError:
    return InputError(f"{run / FILE}: damaged, so the run cannot be continued; train again with another --out")
