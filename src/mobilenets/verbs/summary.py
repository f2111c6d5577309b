"""``summary``: what a network is made of and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobilenets.errors import InputError


def summary(
    name: str,
    width: float = 1.0,
    size: int | None = None,
    classes: int = 1000,
    *,
    variant: str = "auto",
    table: str | Path | list[Any] | None = None,
    diagram: str | Path | None = None,
) -> dict[str, Any]:
    """Count a network's parameters and multiply-accumulates, layer by layer.

    Parameters
    ----------
    name, width, size, classes:
        The network; without ``size`` the network's usual one.
    variant:
        ``auto`` takes the variant for small pictures up to 64 pixels; ``standard`` and ``small`` insist.
    table:
        A table of one's own in place of the named one: rows of V2's ``t, c, n, s``, a whole table, or a JSON file
        that holds either.
    diagram:
        A PNG or SVG file to draw the network into.

    Returns the object of ``summary --json``: ``layers`` has a row for each, with ``output`` as channels × height ×
    width, ``parameters`` and ``macs``. Raises ``InputError`` for a network that cannot be built.

    >>> result = mobilenets.summary("mobilenet_v2", width=0.5, size=160)
    >>> result["parameters"], result["macs"], result["layers"][0]["output"]
    (1968680, 50184000, [16, 80, 80])

    """
    from mobilenets.drawing.diagram import draw_network
    from mobilenets.measure.cost import cost
    from mobilenets.models.catalog import describe

    counted = cost(describe(name, width, size, variant=variant, table=table), classes)
    if diagram is not None:
        target = Path(diagram)
        if target.suffix.lower() not in (".png", ".svg"):
            raise InputError(f"{target}: give a file that ends in .png or .svg")
        draw_network(counted, target)
    return counted.to_json()
