"""Blocks as PyTorch modules, made of their plan's operations, with the plan's names in the state dictionary."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobilenets.models import operations as ops
from mobilenets.models.padding import padded

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu6": nn.ReLU6,
    "relu": nn.ReLU,
    "hard_swish": nn.Hardswish,
    "hard_sigmoid": nn.Hardsigmoid,
    "none": nn.Identity,
}
FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "relu6": functional.relu6,
    "relu": functional.relu,
    "hard_swish": functional.hardswish,
    "hard_sigmoid": functional.hardsigmoid,
    "none": torch.clone,
}
PLAIN: dict[type[ops.Operation], Callable[..., Tensor]] = {
    ops.Add: operator.add,
    ops.Scale: operator.mul,
    # The one form that every converter knows.
    ops.MeanPool: partial(torch.mean, dim=(2, 3), keepdim=True),
    ops.Flatten: partial(torch.flatten, start_dim=1),
}


class ConvNorm(nn.Module):
    """A convolution with its BatchNorm and activation; ``norm`` and ``activation`` may be identities.

    Takes N×inputs×H×W and gives N×outputs×ceil(H/stride)×ceil(W/stride) (with padding ``after``, an odd side is
    rounded down).
    """

    def __init__(self, plan: ops.Conv) -> None:
        super().__init__()
        self.padding = plan.padding
        beside = plan.kernel // 2 if plan.padding == "symmetric" else 0
        outputs, inputs = plan.output_shape[0], plan.input_shape[0]
        self.conv = nn.Conv2d(inputs, outputs, plan.kernel, plan.stride, beside, groups=plan.groups, bias=plan.bias)
        self.norm = nn.BatchNorm2d(outputs, eps=plan.epsilon) if plan.norm else nn.Identity()
        self.activation = ACTIVATIONS[plan.activation]()

    def forward(self, x: Tensor) -> Tensor:
        """Apply convolution, norm and activation."""
        out: Tensor = self.activation(self.norm(self.convolve(x)))
        return out

    def convolve(self, x: Tensor) -> Tensor:
        """Apply the convolution alone, with its padding."""
        if self.padding != "symmetric":
            # By the map at hand: a network with a pooled head takes pictures of any size.
            kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
            rows, columns = (padded(side, kernel, stride, self.padding) for side in x.shape[2:])
            x = functional.pad(x, (*columns, *rows))
        out: Tensor = self.conv(x)
        return out


@dataclass(frozen=True)
class Step:
    """An operation as a block runs it: by ``function``, or by the block's own module at ``path``.

    ``done`` are the inputs that nothing needs afterwards, so that their memory can be used again.
    """

    output: str
    inputs: tuple[str, ...]
    done: tuple[str, ...]
    path: str
    function: Callable[..., Tensor] | None


class Block(nn.Module):
    """Operations of a plan, run in their order.

    Convolutions and linear layers are modules under the names that their plan has for them, within ``name``, the
    block's own. Takes what the first operation takes and gives what the last one gives.
    """

    def __init__(self, name: str, operations: Sequence[ops.Operation]) -> None:
        super().__init__()
        self.entry = operations[0].inputs[0]
        self.steps: list[Step] = []
        for index, operation in enumerate(operations):
            later = {taken for other in operations[index + 1 :] for taken in other.inputs}
            done = tuple(set(operation.inputs) - later)
            path = operation.name.removeprefix(name).removeprefix(".")
            function = function_of(operation)
            if function is None:
                _add(self, path, _module(operation))
            self.steps.append(Step(operation.name, operation.inputs, done, path, function))

    def forward(self, x: Tensor) -> Tensor:
        """Run the operations, and keep only what is needed further on."""
        return self.both(x, self.steps[-1].output)[0]

    def both(self, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Run the operations, and give beside the last one's output what is called ``name`` on the way."""
        values = {self.entry: x}
        for step in self.steps:
            given = [values[taken] for taken in step.inputs]
            for taken in step.done:
                if taken != name:
                    del values[taken]
            run = step.function or self.get_submodule(step.path)
            values[step.output] = run(*given)
        return values[self.steps[-1].output], values[name]


def build(name: str, operations: Sequence[ops.Operation]) -> nn.Module:
    """Return the module of a block: the layer itself where it is the only operation, and nothing for nothing."""
    if not operations:
        return nn.Identity()
    if len(operations) == 1 and operations[0].name == name and function_of(operations[0]) is None:
        return _module(operations[0])
    return Block(name, operations)


def _module(operation: ops.Operation) -> nn.Module:
    if isinstance(operation, ops.Conv):
        return ConvNorm(operation)
    if isinstance(operation, ops.Linear):
        return nn.Linear(operation.input_shape[0], operation.output_shape[0])
    raise TypeError(f"{operation.name}: PyTorch has no module for a {type(operation).__name__}")


def joined(*maps: Tensor, columns: Sequence[int]) -> Tensor:
    """Put maps N×(anchors · columns)×H×W together as ``operations.Join`` says: N × rows × all columns."""
    groups = []
    for start in range(0, len(maps), len(columns)):
        group = zip(maps[start : start + len(columns)], columns, strict=True)
        rows = [each.permute(0, 2, 3, 1).reshape(len(each), -1, width) for each, width in group]
        groups.append(torch.cat(rows, 2))
    return torch.cat(groups, 1)


def function_of(operation: ops.Operation) -> Callable[..., Tensor] | None:
    """Return what an operation without weights does, or None for one with weights."""
    if isinstance(operation, ops.MaxPool):
        kernel, stride, [pad, _] = operation.kernel, operation.stride, operation.pads
        return partial(
            functional.max_pool2d, kernel_size=kernel, stride=stride, padding=pad, ceil_mode=operation.ceil_mode
        )
    if isinstance(operation, ops.Join):
        return partial(joined, columns=operation.columns)
    if isinstance(operation, ops.Activation):
        return FUNCTIONS[operation.activation]
    return PLAIN.get(type(operation))


def _add(parent: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module at a path of names with dots, whose first parts may not be there yet."""
    *outer, name = path.split(".")
    for part in outer:
        if part not in dict(parent.named_children()):
            parent.add_module(part, nn.Module())
        parent = parent.get_submodule(part)
    parent.add_module(name, module)
