"""Another program that is busy meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BUSY = "import os\nhasattr(os, 'nice') and os.nice(19)\nprint('busy', flush=True)\nwhile True: pass"


@contextmanager
def busy(wanted: bool = True) -> Iterator[None]:
    """Keep an endless loop going at the lowest priority while the block runs, where that is wanted."""
    other = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) if wanted else None
    try:
        if other is not None and other.stdout is not None:
            other.stdout.readline()
        yield
    finally:
        if other is not None:
            other.kill()
            other.communicate()
