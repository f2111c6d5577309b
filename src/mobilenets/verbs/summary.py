"""``summary``: what a network is made of and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobilenets.errors import InputError


def summary(
    name: str,
    width: float = 1.0,
    size: int | None = None,
    classes: int | None = None,
    *,
    task: str = "classification",
    variant: str = "auto",
    table: str | Path | list[Any] | None = None,
    diagram: str | Path | None = None,
) -> dict[str, Any]:
    """Count a network's parameters and multiply-accumulates, layer by layer.

    Parameters
    ----------
    name, width, size, classes:
        The network; by default with 1000 classes at the network's usual size, and a detector with 80 at 320 pixels.
    task:
        ``classification``, or ``detection`` for SSDLite on the network; its background is not among ``classes``.
    variant:
        ``auto`` takes the variant for small pictures up to 64 pixels; ``standard`` and ``small`` insist.
    table:
        A table of one's own in place of the named one: rows of V2's ``t, c, n, s``, a whole table, or a JSON file
        that holds either.
    diagram:
        A PNG or SVG file to draw the network into.

    Returns the object of ``summary --json``: ``layers`` has a row for each, with ``output`` as channels × height ×
    width, ``parameters`` and ``macs``; a detector has ``anchors`` too. Raises ``InputError`` for a network that cannot
    be built.

    >>> result = mobilenets.summary("mobilenet_v2", width=0.5, size=160)
    >>> result["parameters"], result["macs"], result["layers"][0]["output"]
    (1968680, 50184000, [16, 80, 80])
    >>> result = mobilenets.summary("mobilenet_v2", task="detection")
    >>> result["parameters"], result["macs"], result["anchors"]
    (4337013, 788830144, 2034)

    """
    from mobilenets.measure.cost import cost
    from mobilenets.models.catalog import IMAGENET_CLASSES, describe
    from mobilenets.models.detection.plan import COCO_CLASSES, describe_detector, plan_detector

    if task not in ("classification", "detection"):
        raise InputError(f"task {task!r}: choose classification or detection")
    if task == "detection":
        if diagram is not None:
            raise InputError("--diagram draws classification networks; leave out --task detection for the body")
        if variant not in ("auto", "standard"):
            raise InputError(f"variant {variant!r}: a detector stands on the standard one; leave --variant out")
        architecture, detection = describe_detector(name, width, size, table=table)
        outputs = COCO_CLASSES if classes is None else classes
        counted = cost(architecture, outputs, plan_detector(architecture, outputs, detection))
        return counted.to_json() | {"task": task, "anchors": detection.count}
    architecture = describe(name, width, size, variant=variant, table=table)
    counted = cost(architecture, IMAGENET_CLASSES if classes is None else classes)
    if diagram is not None:
        target = Path(diagram)
        if target.suffix.lower() not in (".png", ".svg"):
            raise InputError(f"{target}: give a file that ends in .png or .svg")
        from mobilenets.drawing.diagram import draw_network  # matplotlib, which takes a second and a bare install lacks

        draw_network(counted, target)
    return counted.to_json()
