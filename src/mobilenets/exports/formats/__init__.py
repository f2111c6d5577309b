"""The writers, one a format: each has ``write(job) -> Exported``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mobilenets.exports.catalog import find_format

if TYPE_CHECKING:
    from mobilenets.exports.job import Job
    from mobilenets.runtime.exported import Exported


def write(job: Job) -> Exported:
    """Write one export into ``job.folder``; returns what describes it."""
    found = find_format(job.options.format, job.options.precision, job.options.camera)
    module: Any = importlib.import_module(f"{__name__}.{found.module}")
    writer: Callable[[Job], Exported] = module.write
    return writer(job)
