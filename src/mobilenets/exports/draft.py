"""Where an export may be written."""

from __future__ import annotations

from pathlib import Path

from mobilenets.base.leftovers import occupants
from mobilenets.errors import InputError
from mobilenets.runtime.bundle import read_bundle


def check_place(folder: Path, format: str) -> None:
    """Refuse a place where something of the user's would be replaced; an earlier export may be."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: use another --out")
    if not folder.is_dir() or not occupants(folder):
        return
    try:
        known = read_bundle(folder).export
    except InputError:
        known = None
    if known is None:
        raise InputError(f"{folder} holds something other than an export: use another --out")
    if known.format != format:
        raise InputError(f"{folder} already holds an export in format {known.format}: use another --out")
