"""Where a verb writes what it found."""

from __future__ import annotations

import os
from pathlib import Path

from mobilenets.errors import InputError


def check_folder(folder: Path) -> Path:
    """Return a folder that can be written to, or made, later; nothing is made now. Raises ``InputError`` for others."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        reason = "Permission denied" if there.is_dir() else "File exists"
        raise InputError(f"{folder}: no folder can be written there ({reason}); give another --out")
    return folder
