"""How the scripts here read their command line, and what they print: machine, versions, tables in Markdown."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
from collections.abc import Mapping
from typing import Any


def arguments(words: str | None) -> argparse.ArgumentParser:
    """Begin a command line whose ``--help`` shows a script's docstring as it is written."""
    return argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)


def row(*cells: object) -> str:
    """Write a row of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def heads(*cells: object, numbers: int = 0) -> str:
    """Write the head of a table, whose last so many columns are numbers."""
    return f"{row(*cells)}\n{row(*['---'] * (len(cells) - numbers), *['---:'] * numbers)}"


def load() -> float:
    """Tell the load average of the last minute, which is no number on Windows."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def machine(found: Mapping[str, Any] | None = None) -> str:
    """Say in a line what is measured on, or was, as ``describe_machine`` has ``found`` it."""
    if found is None:
        from mobilenets.bench.latency import describe_machine

        found = describe_machine()
    return f"{found['processor']}, {found['cores']} cores, {found.get('memory_gib', '?')} GiB, {found['system']}"


def versions(*packages: str) -> str:
    """Name in a line those of the packages that are installed, with their versions."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
