"""What a process that was forked may still do.

The threads of PyTorch (OpenMP) and ONNX Runtime do not survive a fork: a child that waits for them waits for ever. So
in a child PyTorch computes on one thread, and an engine opened before the fork is opened again, on one thread too.
"""

from __future__ import annotations

import ctypes
import os
import sys
import weakref

_forked = False
_threaded: weakref.WeakSet[object] = weakref.WeakSet()


def forked() -> bool:
    """Say whether this process was forked from one that had this module loaded."""
    return _forked


def never_freed_in_child(engine: object) -> None:
    """Keep what has threads of its own from being freed in a child, where its end would wait for them or crash."""
    _threaded.add(engine)


def never_free(engine: object) -> None:
    """Let an object live until the process ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))


def _in_child() -> None:
    global _forked
    _forked = True
    for engine in _threaded:
        never_free(engine)
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows, which knows no fork
    os.register_at_fork(after_in_child=_in_child)
