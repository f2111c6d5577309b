"""Where what was downloaded is kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where downloads are kept: ``$MOBILENETS_CACHE``, or ``~/.cache/mobilenets``."""
    return Path(os.environ.get("MOBILENETS_CACHE") or Path("~/.cache/mobilenets").expanduser())
