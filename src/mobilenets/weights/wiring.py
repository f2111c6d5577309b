"""Whether a foreign graph computes what a plan of ours computes: operation by operation, with what each takes.

Weights alone would not show a missing shortcut or another activation, and the answers would differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mobilenets.errors import InputError
from mobilenets.models import operations as ours
from mobilenets.models.plan import Plan
from mobilenets.weights import operations as ops

# Of a foreign graph's operations and of ours.
_KINDS: dict[type[object], str] = {
    **dict.fromkeys((ops.Add, ours.Add), "a sum of two maps"),
    **dict.fromkeys((ops.Multiply, ours.Scale), "a product of two maps"),
    **dict.fromkeys((ops.MeanPool, ours.MeanPool), "the average of the map"),
    **dict.fromkeys((ops.Flatten, ours.Flatten), "a flattened map"),
    **dict.fromkeys((ops.Linear, ours.Linear), "a linear layer"),
}


@dataclass(frozen=True)
class Wiring:
    """The operations of a graph, of which those from ``start`` on are its head."""

    operations: Sequence[ops.Operation]
    start: int

    def check(self, plan: Plan) -> str:
        """Compare with a plan; raises InputError where the body is another.

        Returns why the head is another, or an empty text: a body can be used without its head.
        """
        places = {plan.images.name: self._entry()}
        body = range(places[plan.images.name] + 1, self.start)
        expected = [part for block in plan.blocks for part in block.operations]
        if difference := self._compare(expected, body[: len(expected)], places):
            raise InputError(f"{difference}; import a network that is one of these, or its weights alone")
        if len(body) > len(expected):
            operation = self.operations[body[len(expected)]]
            return (
                f"its {operation} ({described(operation)}) stands behind the body of the network that its weights fit"
            )
        head = range(self.start, len(self.operations))
        if not head or not isinstance(self.operations[-1], ops.Linear):
            return ""
        behind = [*plan.pool, *plan.head, *([plan.classifier] if plan.classifier else [])]
        return self._compare(behind, head, places)

    def _entry(self) -> int:
        """Give the place of the picture as the first convolution takes it."""
        behind = (place for place, part in enumerate(self.operations) if not isinstance(part, ops.Picture | ops.Affine))
        return next(behind, 1) - 1

    def _compare(self, expected: Sequence[ours.Operation], given: range, places: dict[str, int]) -> str:
        """Say how operations differ from the ones expected; notes in ``places`` where each of these stands."""
        for part, place in zip(expected, given, strict=False):
            operation = self.operations[place]
            here, there = _words(part), described(operation)
            if here != there:
                return f"its {operation} is {there}, where the network that its weights fit has {here} ({part.name})"
            if {places.get(source) for source in part.inputs} != set(operation.inputs):
                return (
                    f"its {operation} ({there}) takes other maps than {part.name} of the network that its weights fit"
                )
            places[part.name] = place
        if len(expected) < len(given):
            operation = self.operations[given[len(expected)]]
            return f"its {operation} ({described(operation)}) stands in no network here with these weights"
        if len(given) < len(expected):
            return f"it ends before {expected[len(given)].name} ({_words(expected[len(given)])})"
        return ""


def described(operation: ops.Operation) -> str:
    """Say what an operation is, in words."""
    if isinstance(operation, ops.Conv):
        kind = "depthwise" if operation.depthwise else "a convolution"
        form = f"{kind} {_sides(operation.weight.shape[2:])} of stride {_sides(operation.stride, ' × ')}"
        return f"{form} with {_function(operation.activation)}"
    if isinstance(operation, ops.MaxPool):
        return f"max pooling {_sides(operation.kernel)} of stride {_sides(operation.stride, ' × ')}"
    if isinstance(operation, ops.Activation):
        return _function(operation.function)
    if isinstance(operation, ops.Linear) and operation.activation:
        return f"{_KINDS[ops.Linear]} with {_function(operation.activation)}"
    return _KINDS.get(type(operation), f"a {type(operation).__name__}")


def _words(part: ours.Operation) -> str:
    """Say what an operation of ours is, in the same words."""
    if isinstance(part, ours.Conv):
        kind = "depthwise" if part.depthwise else "a convolution"
        return f"{kind} {part.kernel}×{part.kernel} of stride {part.stride} with {_function(part.activation)}"
    if isinstance(part, ours.MaxPool):
        return f"max pooling {part.kernel}×{part.kernel} of stride {part.stride}"
    if isinstance(part, ours.Activation):
        return _function(part.activation)
    return _KINDS[type(part)]


def _function(name: str) -> str:
    words = {"": "no activation", "none": "no activation", "relu": "ReLU", "relu6": "ReLU6"}
    return words.get(name, name.replace("_", "-"))


def _sides(pair: Sequence[int], between: str = "×") -> str:
    rows, columns = pair
    return f"{rows}" if between != "×" and rows == columns else f"{rows}{between}{columns}"
