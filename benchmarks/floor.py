"""How little a training step can cost: counted bytes and operations, from the plan of a network.

Operations: three times the forward pass's multiply-accumulates (the pass itself, the gradient of the maps, that of the
weights), two operations each.

Bytes: every map is stored once, in float32, and read and written as few times as training needs when normalisation and
activation are done on the way, by whoever reads the map, and BatchNorm's sums are taken while a map is written:

- a convolution writes its raw output and reads its input; on the way back it reads the gradient of its output, its
  output (for BatchNorm) and its input (for the weights), and writes the gradient of its input: 3 times each map
- the first convolution has no gradient to write: 2 times its input
- a sum reads two maps and writes one, and on the way back its gradient is read once more: 4 times
- a mean reads its map once; the gate behind it, and all gradients of both, come with the convolutions
- weights: read twice, their gradient written, and all that the optimiser reads and writes

What stays in a cache need not be fetched, so small pictures may take less; and nothing is computed twice to save
memory, which could take less, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mobilenets.models.catalog import describe
from mobilenets.models.operations import Add, Conv, MeanPool
from mobilenets.models.plan import Plan

FLOAT = 4
# AdamW reads weight, gradient and two moments and writes three of them; SGD with momentum has one moment.
OPTIMIZER = {"adamw": 7, "sgd": 5}
NAMES = {"v1": "mobilenet_v1", "v2": "mobilenet_v2", "v3": "mobilenet_v3_large"}


@dataclass(frozen=True)
class Floor:
    """What one step needs at least."""

    bytes: int
    operations: int
    parameters: int

    def seconds(self, bytes_per_second: float, operations_per_second: float) -> tuple[float, float]:
        """Give the seconds of the traffic and of the multiplications; the floor is their sum."""
        return self.bytes / bytes_per_second, self.operations / operations_per_second


def floor(network: str, size: int, batch: int, classes: int, optimizer: str) -> Floor:
    """Count what a step on ``batch`` pictures needs; ``network`` is v1, v2 or v3."""
    plan = describe(NAMES[network], size=size, variant="standard").plan(classes)
    weights = FLOAT * plan.parameters * (3 + OPTIMIZER[optimizer])
    return Floor(batch * map_bytes(plan) + weights, 2 * 3 * plan.macs * batch, plan.parameters)


def map_bytes(plan: Plan) -> int:
    """Count the bytes of maps that are read or written in training, for one picture."""
    values = 0
    for part in plan.operations:
        taken, given = math.prod(part.input_shape), math.prod(part.output_shape)
        if isinstance(part, Conv):
            values += 3 * given + (2 if part.inputs == (plan.images.name,) else 3) * taken
        elif isinstance(part, Add):
            values += 4 * given
        elif isinstance(part, MeanPool):
            values += taken
    return FLOAT * values
