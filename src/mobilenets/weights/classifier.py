"""What stands behind the body of a foreign network: the layers of our head, and the classifier."""

from __future__ import annotations

from collections.abc import Sequence

from mobilenets.models.operations import Conv
from mobilenets.models.plan import Plan
from mobilenets.weights.layers import Foreign, Layer, of_kind


def find_head(foreign: Foreign, plan: Plan) -> tuple[tuple[Layer, ...], Layer | None]:
    """Find the layers of the plan's head in a file, and the classifier behind them, where there is one.

    Both may be linear layers or 1×1 convolutions, which are the same behind the pooling. Without all layers of the
    head there is no classifier either.
    """
    body = sum(not part.depthwise for block in plan.blocks for part in block.operations if isinstance(part, Conv))
    candidates = [*of_kind(foreign.layers, "conv")[body:], *of_kind(foreign.layers, "linear")]
    wanted = [part.weight_shape[:2] for part in plan.head if isinstance(part, Conv)]
    hidden = candidates[: len(wanted)]
    if [_matrix(layer) for layer in hidden] != wanted:
        return (), None
    return tuple(hidden), _classifier(candidates[len(wanted) :], plan.features.channels)


def _classifier(candidates: Sequence[Layer], features: int) -> Layer | None:
    """Find the classifier: a layer that takes ``features`` values.

    The last is taken, so that a retrained head goes before the one it replaced. Layers that follow one another, or
    that take something else than the features, are not a classifier here, which is a single layer: then there is none.
    """
    shapes = [_matrix(layer) for layer in candidates]
    if any(shape is None or shape[1] != features for shape in shapes):
        return None
    if features in [shape[0] for shape in shapes[:-1] if shape]:
        return None
    return candidates[-1] if candidates else None


def _matrix(layer: Layer) -> tuple[int, int] | None:
    """Give outputs and inputs of a layer that is one matrix."""
    outputs, inputs, *kernel = layer.arrays["weight"].shape
    return (outputs, inputs) if kernel in ([], [1, 1]) else None
