"""A network's blocks as functions that compute the same with our kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from mobilenets.models.blocks import PLAIN, Block, ConvNorm, Step
from mobilenets.models.operations import Add
from mobilenets.training.steppers.chain import Chain, Unit, fitting, unit_of
from mobilenets.training.steppers.norms import MODULES, norm_activation

Function = Callable[[Tensor], Tensor]


def fused_block(module: nn.Module) -> Function | None:
    """Return what computes the same as ``module`` and is faster in training, or None where nothing does.

    The first of ``MATCHERS`` that knows the module makes it. It reads the module's weights whenever it is called, and
    whether a norm trains, so that it holds for as long as the module does.
    """
    return next((found for match in MATCHERS if (found := match(module)) is not None), None)


class FusedConv:
    """A convolution by PyTorch, then its norm and activation in one: ``ConvNorm``, plus a residual."""

    def __init__(self, module: ConvNorm) -> None:
        self._module = module
        self._norm: nn.BatchNorm2d = module.norm  # type: ignore[assignment]
        self._activation = MODULES[type(module.activation)]

    @property
    def linear(self) -> bool:
        """Whether there is no activation, so that a sum may follow."""
        return self._activation == "none"

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Give the module's output, plus ``residual`` of the same shape if there is one."""
        return norm_activation(self._module.convolve(x), self._norm, self._activation, residual)


@dataclass(frozen=True)
class _Run:
    """A step, or a convolution and the sum behind it; ``inputs``, ``done`` and ``output`` as ``Step`` has them."""

    function: Callable[..., Tensor]
    inputs: tuple[str, ...]
    done: tuple[str, ...]
    output: str


class FusedChain:
    """1×1 and depthwise convolutions one after the other as one function, plus the input where ``residual`` says so."""

    def __init__(self, units: Sequence[Unit], residual: bool = False) -> None:
        self._units, self._residual = tuple(units), residual
        self._single = [FusedConv(unit.module) for unit in units]

    def __call__(self, x: Tensor) -> Tensor:
        """Give the output; one convolution after the other where the kernels do not take ``x`` or a norm."""
        if fitting(self._units, x):
            weights = [w for unit in self._units for w in (unit.conv.weight, unit.norm.weight, unit.norm.bias)]
            out: Tensor = Chain.apply(x, self._units, self._residual, *weights)  # type: ignore[no-untyped-call]
            return out
        y = x
        for conv in self._single[:-1]:
            y = conv(y)
        return self._single[-1](y, x if self._residual else None)


class FusedBlock:
    """The steps of a ``Block`` in their order: chains, convolutions fused with their norms and with the sums after."""

    def __init__(self, block: Block) -> None:
        self._entry, self._last = block.entry, block.steps[-1].output
        self._runs: list[_Run] = []
        steps = list(block.steps)
        while steps:
            step = steps.pop(0)
            module = None if step.function is not None else block.get_submodule(step.path)
            units = [] if module is None else _chain(block, step, steps)
            last = ([step, *steps][len(units) - 1]) if units else step
            del steps[: max(0, len(units) - 1)]
            conv = None if module is None else _fused_conv(block.get_submodule(last.path))
            other = _added(last, steps[0]) if isinstance(conv, FusedConv) and conv.linear and steps else None
            if units:
                residual = other is not None and other == step.inputs[0]
                total = steps.pop(0) if residual else last
                done = tuple({*step.done, *total.done} - {last.output} if residual else step.done)
                self._runs.append(_Run(FusedChain(units, residual), step.inputs, done, total.output))
            elif conv is not None and other is not None:
                total = steps.pop(0)
                done = tuple({*step.done, *total.done} - {step.output})
                self._runs.append(_Run(conv, (*step.inputs, other), done, total.output))
            else:
                function = step.function or conv or module
                assert function is not None
                self._runs.append(_Run(function, step.inputs, step.done, step.output))

    def __call__(self, x: Tensor) -> Tensor:
        """Give the block's output."""
        values = {self._entry: x}
        del x
        for run in self._runs:
            given = [values[name] for name in run.inputs]
            for name in run.done:
                del values[name]
            values[run.output] = run.function(*given)
        return values[self._last]


def _added(step: Step, after: Step) -> str | None:
    """Name what ``after`` adds to what ``step`` gives, where it does that and nobody else needs it."""
    if after.function is not PLAIN[Add] or after.inputs.count(step.output) != 1 or step.output not in after.done:
        return None
    return next(name for name in after.inputs if name != step.output)


def _chain(block: Block, first: Step, after: Sequence[Step]) -> list[Unit]:
    """Return the units of the chain that begins at a step: each takes what the one before gives, and nobody else."""
    units: list[Unit] = []
    before: Step | None = None
    for step in (first, *after):
        if before is not None and (step.inputs != (before.output,) or before.output not in step.done):
            break
        unit = None if step.function is not None else unit_of(block.get_submodule(step.path))
        if unit is None:
            break
        units.append(unit)
        before = step
    return units


def _fused_layer(module: nn.Module) -> Function | None:
    unit = unit_of(module)
    return _fused_conv(module) if unit is None else FusedChain([unit])


def _fused_conv(module: nn.Module) -> FusedConv | None:
    if isinstance(module, ConvNorm) and type(module.norm) is nn.BatchNorm2d and type(module.activation) in MODULES:
        return FusedConv(module)
    return None


def _fused_steps(module: nn.Module) -> FusedBlock | None:
    return FusedBlock(module) if isinstance(module, Block) else None


# In this order; whoever knows whole blocks stands in front.
MATCHERS: list[Callable[[nn.Module], Function | None]] = [_fused_layer, _fused_steps]


def fused(blocks: Sequence[nn.Module]) -> list[Function]:
    """Return for each block what computes it: fused where it can be, else the block itself."""
    return [fused_block(block) or block for block in blocks]
