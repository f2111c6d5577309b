"""Colour for notes on a terminal that shows it, and nowhere else."""

from __future__ import annotations

import functools
import os
from typing import Any

# What a note is → the numbers of ECMA-48 for it.
STYLES = {"WARNING": "33", "ERROR": "31", "head": "2", "best": "32"}


def paint(line: str, style: str, stream: Any) -> str:
    """Colour a line that goes to ``stream``, by its style or level, if colours are shown there and wished."""
    code = STYLES.get(style)
    return f"\x1b[{code}m{line}\x1b[0m" if code and wished(stream) else line


def wished(stream: Any) -> bool:
    """Say whether to colour: ``NO_COLOR`` forbids it, ``FORCE_COLOR`` asks for it, else a terminal that can."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return os.environ["FORCE_COLOR"] != "0"
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb" and _understood()


@functools.cache
def _understood() -> bool:
    """Say whether the console reads escape sequences: Windows's does once it is told to, where it can."""
    if os.name != "nt":
        return True
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    kernel.GetStdHandle.restype = ctypes.c_void_p
    handle, mode = ctypes.c_void_p(kernel.GetStdHandle(-12)), ctypes.c_ulong()  # standard error
    # 4 is ENABLE_VIRTUAL_TERMINAL_PROCESSING.
    return bool(kernel.GetConsoleMode(handle, ctypes.byref(mode)) and kernel.SetConsoleMode(handle, mode.value | 4))
