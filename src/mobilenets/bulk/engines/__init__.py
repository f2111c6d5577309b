"""Who answers for parts: processes of this machine, or actors on a Ray cluster."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias

from mobilenets.bulk.job import Answered, Failed
from mobilenets.bulk.parts import Part

# What an engine gives: a part with its answers as it is done, and now and then the pictures that are under way.
Course: TypeAlias = Generator[tuple[Part, Answered | Failed] | int]
# Seconds between two looks at how far the work is.
LOOK = 1.0
