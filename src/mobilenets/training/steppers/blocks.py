"""A network's blocks as functions that compute the same with our kernels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from mobilenets.models.blocks import PLAIN, Block, ConvNorm, Step
from mobilenets.models.operations import Add, MeanPool, Scale
from mobilenets.training.steppers.chain import Chain
from mobilenets.training.steppers.norms import MODULES, norm_activation
from mobilenets.training.steppers.together import NORMS
from mobilenets.training.steppers.units import Gate, Unit, fitting, gate_of, unit_of

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
    """Convolutions one after the other as one function, plus the input where ``residual`` says so."""

    def __init__(self, units: Sequence[Unit], residual: bool = False) -> None:
        self.units, self.residual = tuple(units), residual
        self._single = [FusedConv(unit.module) for unit in units]
        self._weights = [weight for unit in units for weight in unit.weights]

    def __call__(self, x: Tensor) -> Tensor:
        """Give the output; one convolution after the other where the kernels do not take ``x`` or a norm."""
        if fitting(self.units, x):
            out: Tensor = Chain.apply(x, self.units, self.residual, *self._weights)  # type: ignore[no-untyped-call]
            return out
        y = x
        for unit, conv in zip(self.units, self._single, strict=True):
            if unit.gate is not None:
                y = y * unit.gate.expand(unit.gate.reduce(PLAIN[MeanPool](y)))
            y = conv(y, x if self.residual and unit is self.units[-1] else None)
        return y


class FusedBlock:
    """The steps of a ``Block`` in their order: chains, convolutions fused with their norms and with the sums after.

    ``kept`` names a map inside that ``both`` gives too: no chain goes over it.
    """

    def __init__(self, block: Block, kept: str = "") -> None:
        self._entry, self._last, self._kept = block.entry, block.steps[-1].output, kept
        self._runs: list[_Run] = []
        steps = [replace(step, done=tuple(name for name in step.done if name != kept)) for step in block.steps]
        while steps:
            step = steps[0]
            module = None if step.function is not None else block.get_submodule(step.path)
            units, taken = _chain(block, steps)
            last = steps[max(taken, 1) - 1]
            del steps[: max(taken, 1)]
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

    @property
    def chain(self) -> FusedChain | None:
        """The chain that is all there is, or None."""
        only = self._runs[0].function if len(self._runs) == 1 else None
        return only if isinstance(only, FusedChain) else None

    def __call__(self, x: Tensor) -> Tensor:
        """Give the block's output."""
        return self._values(x)[self._last]

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give the output and the map that is kept."""
        values = self._values(x)
        return values[self._last], values[self._kept]

    def _values(self, x: Tensor) -> dict[str, Tensor]:
        values = {self._entry: x}
        del x
        for run in self._runs:
            given = [values[name] for name in run.inputs]
            for name in run.done:
                del values[name]
            values[run.output] = run.function(*given)
        return values


def _added(step: Step, after: Step) -> str | None:
    """Name what ``after`` adds to what ``step`` gives, where it does that and nobody else needs it."""
    if after.function is not PLAIN[Add] or after.inputs.count(step.output) != 1 or step.output not in after.done:
        return None
    return next(name for name in after.inputs if name != step.output)


def _chain(block: Block, steps: Sequence[Step]) -> tuple[list[Unit], int]:
    """Return the units of the chain that the steps begin with, and how many steps they are.

    Each unit takes what the one before gives, and nobody else.
    """
    units: list[Unit] = []
    taken = 0
    while taken < len(steps):
        gate = _gate(block, steps[taken - 1 : taken + 4]) if units else None
        at = taken if gate is None else taken + 4
        if at >= len(steps) or (units and not _passed(steps[at - 1], steps[at])):
            break
        unit = None if steps[at].function is not None else unit_of(block.get_submodule(steps[at].path))
        if unit is None or (unit.dense and units) or (unit.filters and gate is not None):
            break
        units.append(unit if gate is None else replace(unit, gate=gate))
        taken = at + 1
    return units, taken


def _passed(step: Step, after: Step) -> bool:
    """Say whether ``after`` alone takes what ``step`` gives, and nothing else."""
    return after.inputs == (step.output,) and step.output in after.done


def _gate(block: Block, steps: Sequence[Step]) -> Gate | None:
    """Return the gate between a map, the first of the steps, and its product with it, the last; or None."""
    if len(steps) < 5:
        return None
    map, mean, reduce, expand, product = steps
    shape = mean.function is PLAIN[MeanPool] and product.function is PLAIN[Scale] and mean.inputs == (map.output,)
    whole = product.inputs == (map.output, expand.output) and {map.output, expand.output} == set(product.done)
    if not (shape and whole and _passed(mean, reduce) and _passed(reduce, expand)):
        return None
    if reduce.function is not None or expand.function is not None:
        return None
    return gate_of(block.get_submodule(reduce.path), block.get_submodule(expand.path))


def _fused_layer(module: nn.Module) -> Function | None:
    unit = unit_of(module)
    return _fused_conv(module) if unit is None else FusedChain([unit])


def _fused_conv(module: nn.Module) -> FusedConv | None:
    if isinstance(module, ConvNorm) and type(module.norm) in NORMS and type(module.activation) in MODULES:
        return FusedConv(module)
    return None


def _fused_steps(module: nn.Module) -> FusedBlock | None:
    return FusedBlock(module) if isinstance(module, Block) else None


# In this order; whoever knows whole blocks stands in front.
MATCHERS: list[Callable[[nn.Module], Function | None]] = [_fused_layer, _fused_steps]


def fused(blocks: Sequence[nn.Module], apart: Collection[int] = ()) -> list[Function]:
    """Return what computes the blocks one after the other: fused where it can be, else a block itself.

    Chains that follow one another become one where the map between them is then read once less. Blocks whose ``id`` is
    in ``apart``, such as frozen ones, are not joined with others.
    """
    found: list[Function] = []
    before = False
    for block in blocks:
        made, alone = fused_block(block) or block, id(block) in apart
        joined = _joined(found[-1], made) if found and alone == before else None
        before = alone
        found[-1:] = [joined] if joined is not None else [*found[-1:], made]
    return found


def _joined(first: Function, second: Function) -> FusedChain | None:
    """Return two chains as one, where a filter reads what the first gives."""
    chains = [function.chain if isinstance(function, FusedBlock) else function for function in (first, second)]
    units = [unit for chain in chains if isinstance(chain, FusedChain) and not chain.residual for unit in chain.units]
    together = all(isinstance(chain, FusedChain) and not chain.residual for chain in chains)
    return FusedChain(units) if together and chains[1].units[0].filters else None  # type: ignore[union-attr]
