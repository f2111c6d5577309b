from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobilenets.base.cores import cores, cpu_quota


def control_groups(place: Path, lines: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Write what the kernel shows of a process's control groups; returns the folders in place of proc and mount."""
    (place / "proc").mkdir()
    (place / "proc/cgroup").write_text(lines)
    for name, content in files.items():
        path = place / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return place / "proc", place / "cgroup"


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        # In a container its own group is the root.
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        # The smallest counts: a parent's limit holds for its children.
        ("0::/a/b\n", {"cpu.max": "max 100000", "a/cpu.max": "50000 100000", "a/b/cpu.max": "200000 100000"}, 0.5),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000"}, 4.0),
        # The process's group lies outside of what is mounted, as Docker without a name space of its own shows it.
        ("0::/docker/1234\n", {"cpu.max": "100000 100000"}, 1.0),
        # Version 1.
        (
            "5:memory:/x\n4:cpu,cpuacct:/x\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        ("4:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("0::/\n", {}, None),
    ],
)
def test_quota(tmp_path: Path, lines: str, files: dict[str, str], expected: float | None) -> None:
    assert cpu_quota(*control_groups(tmp_path, lines, files)) == expected


def test_no_control_groups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "proc", tmp_path) is None


@pytest.mark.parametrize(("quota", "expected"), [(0.3, 1), (1.5, 2), (None, 8), (64.0, 8)])
def test_cores(monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int) -> None:
    monkeypatch.setattr("mobilenets.base.cores.cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert cores() == expected


def first_lines(script: str, **environment: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=True).stdout.split()


SAY = "import os; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('OMP_NUM_THREADS'))"
QUOTA = "import mobilenets.base.cores as c; c.cpu_quota = lambda: 1.0; c.os.environ.clear(); c.share_cores(); "


def test_threads_wait_asleep() -> None:
    assert first_lines(f"import mobilenets; {SAY}") == ["PASSIVE", "None"]


def test_a_quota_bounds_the_threads() -> None:
    assert first_lines(QUOTA + SAY) == ["PASSIVE", "1"]
    assert first_lines(QUOTA + "import torch; print(torch.get_num_threads())") == ["1"]


def test_what_is_set_stands() -> None:
    assert first_lines(f"import mobilenets; {SAY}", OMP_WAIT_POLICY="ACTIVE", OMP_NUM_THREADS="3") == ["ACTIVE", "3"]
    assert first_lines(f"import mobilenets; {SAY}", GOMP_SPINCOUNT="100") == ["None", "None"]


def test_too_late_after_torch() -> None:
    script = "import torch, mobilenets; from mobilenets.base.cores import threads_spin; print(threads_spin())"
    assert first_lines(script) == ["True"]
    assert first_lines(script, OMP_WAIT_POLICY="PASSIVE") == ["False"]
    assert first_lines(script.replace("torch, mobilenets", "mobilenets, torch")) == ["False"]
