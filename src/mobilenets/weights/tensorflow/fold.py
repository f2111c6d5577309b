"""The arithmetic that a graph does with its own constants before a picture comes in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mobilenets.weights.tensorflow.graphdef import GraphError, Node
from mobilenets.weights.tensorflow.tensor import Array

SHAPED = ("Reshape", "Squeeze", "ExpandDims")
_ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    "Add": np.add,
    "AddV2": np.add,
    "BiasAdd": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "RealDiv": np.true_divide,
    "Div": np.true_divide,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Rsqrt": lambda x: 1 / np.sqrt(x),
    "Sqrt": np.sqrt,
    "Neg": np.negative,
    "Square": np.square,
    "Reciprocal": np.reciprocal,
}


def fold(node: Node, inputs: Sequence[Array]) -> Array | None:
    """Compute a node all of whose inputs are constants; None where that is not known. Raises GraphError, WireError."""
    first = inputs[0]
    try:
        if node.op == "Reshape" and len(inputs) == 2 and inputs[1].dtype.kind == "i":
            return first.reshape([int(side) for side in inputs[1].reshape(-1)[:8]])
        if node.op in SHAPED and first.size == max(first.shape, default=1):
            return first.reshape(-1)
        compute = _ARITHMETIC.get(node.op)
        if compute is None or any(array.dtype.kind != "f" for array in inputs):
            return None
        shape = np.broadcast_shapes(*(array.shape for array in inputs))
        node.budget.take(8 * math.prod(shape))
        return np.asarray(compute(*inputs[: 2 if isinstance(compute, np.ufunc) and compute.nin == 2 else 1]))
    except (TypeError, OverflowError) as error:
        raise GraphError(f"{node} takes constants that do not fit it") from error
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        raise GraphError(f"{node} takes constants that do not fit each other") from error
