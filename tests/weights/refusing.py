"""What every reader owes to a file that it cannot use: one short line that begins with the path, within seconds.

Tests take these names from ``runpy.run_path`` and give their reader to them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mobilenets.errors import InputError


def refused(read: Callable[[Path], object], path: Path, match: str | None = None) -> str:
    """Read a file that cannot be used; gives what is said."""
    start = time.process_time()
    with pytest.raises(InputError, match=match) as caught:
        read(path)
    assert time.process_time() - start < 5
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 500
    return message


def read_or_refused(read: Callable[[Path], object], path: Path, content: bytes) -> bool:
    """Read a file with some content; gives whether it could be used."""
    path.write_bytes(content)
    try:
        read(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
        return False
    return True
