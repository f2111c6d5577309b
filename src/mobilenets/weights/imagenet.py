"""The 1,000 classes of ImageNet (ILSVRC 2012), in the order of every network that was trained on it."""

from __future__ import annotations

from functools import cache
from importlib import resources

BACKGROUND = "background"
"""The class that TensorFlow's slim has before the others, 1,001 in all."""


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Give the short English names, each different from all others, also when case does not count."""
    text = resources.files("mobilenets.weights").joinpath("imagenet.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))
