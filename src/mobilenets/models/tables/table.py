"""What a table is, and its variant for small pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mobilenets.models.rows import Head, Row, without_first_strides

# ``truncated``: a normal of deviation 0.09 cut at two deviations, as in slim's MobileNets; ``fan_out``: a normal of
# variance 2 over the values that each input reaches in one channel's window, as in timm's.
INITIAL = ("truncated", "fan_out")


@dataclass(frozen=True)
class Table:
    """A network as its paper prints it, with the habits of its reference code.

    ``rounding`` names how channels are rounded at other widths (``mobilenets.models.style.ROUNDING``), ``padding``
    where zeros go at stride 2 (``mobilenets.models.padding.PADDINGS``), ``activation`` what follows a convolution that
    its row does not give another one (``mobilenets.models.operations.ACTIVATIONS``). Weights trained with one padding,
    ``norm_epsilon`` or activation compute something else with another. ``initial`` names how fresh weights are drawn
    (``INITIAL``).
    """

    body: tuple[Row, ...]
    head: Head
    rounding: str = "divisible"
    norm_epsilon: float = 1e-3
    padding: str = "symmetric"
    activation: str = "relu6"
    initial: str = "truncated"


def small_pictures(table: Table) -> Table:
    """Give the variant for pictures of 32 to 64 pixels: the first two strides are taken out.

    The output stride falls from 32 to 8, so that a picture of 32 pixels ends in a map of 4 × 4 and not 1 × 1.
    No parameter is added or removed, so weights move between the variants.
    """
    return replace(table, body=without_first_strides(table.body, 2))
