"""What goes to standard output: a result as text or as JSON."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from mobilenets.base.text import printable_json, printable_lines


def print_result(options: Namespace, result: Any, words: Callable[[Any], str]) -> None:
    """Print a result: as JSON where ``--json`` was given, else as ``words`` writes it."""
    print(to_json(result) if options.json else printable_lines(words(result)))


def to_json(value: Any) -> str:
    """Write JSON as people read it, or in ASCII where the output's encoding lacks one of its characters."""
    text = printable_json(json.dumps(value, ensure_ascii=False, allow_nan=False))
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text
