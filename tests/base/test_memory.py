from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mobilenets.base import memory

needs_glibc = pytest.mark.skipif(memory.glibc() is None, reason="the C library is not glibc")

# Blocks of 48 MB are written and freed over and over; the faults of all rounds but the first two are counted.
ROUNDS = """
import ctypes, resource
from mobilenets.base.memory import keeping_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20
def rounds():
    for number in range(12):
        if number == 2:
            before = faults()
        blocks = [libc.malloc(48 << 20) for _ in range(3)]
        for block in blocks:
            ctypes.memset(block, 1, 48 << 20)
        for block in blocks:
            libc.free(block)
    return faults() - before
"""


def counted(script: str, **environment: str) -> list[str]:
    command = [sys.executable, "-c", ROUNDS + script]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=True).stdout.split()


@needs_glibc
def test_no_faults_while_memory_is_kept() -> None:
    script = "with keeping_memory() as kept: found = rounds(); held = resident()\nprint(kept, found, held, resident())"
    kept, faults, held, after = counted(script)
    assert kept == "True"
    assert int(faults) < 1000
    assert int(held) > 144 > int(after)  # given back at the end


@needs_glibc
@pytest.mark.parametrize(
    "environment",
    [
        {memory.SWITCH: "0"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"},
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
    ],
)
def test_left_alone(environment: dict[str, str]) -> None:
    kept, faults = counted("with keeping_memory() as kept: print(kept, rounds())", **environment)
    assert (kept, int(faults) > 10_000) == ("False", True)


@needs_glibc
def test_as_before_after_the_last_block() -> None:
    script = (
        "with keeping_memory():\n    with keeping_memory(): pass\n    inner = rounds()\n"
        "print(inner, rounds())\nwith keeping_memory(False) as kept: print(kept)"
    )
    inner, after, unwanted = counted(script)
    assert int(inner) < 1000
    assert int(after) > 10_000
    assert unwanted == "False"


@needs_glibc
def test_large_blocks_in_other_threads() -> None:
    # Arenas of other threads end at 64 MB, above which they must find another way.
    script = (
        "import threading\nlarge = []\n"
        "with keeping_memory():\n"
        "    thread = threading.Thread(target=lambda: large.append(libc.malloc(300 << 20)))\n"
        "    thread.start(); thread.join()\n    print(large[0] is not None)"
    )
    assert counted(script) == ["True"]


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    with memory.keeping_memory() as kept:
        assert not kept


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    with memory.keeping_memory() as kept:
        assert not kept
