from __future__ import annotations

from pathlib import Path

from mobilenets.base.free_memory import free_memory


def write(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def machine(proc: Path, available: int, group: str = "0::/mine") -> None:
    write(proc / "meminfo", f"MemTotal: 9999 kB\nMemAvailable:   {available >> 10} kB")
    write(proc / "self" / "cgroup", group)


def test_this_machine() -> None:
    free = free_memory()
    assert free is None or free > 0


def test_what_the_kernel_calls_available(tmp_path: Path) -> None:
    machine(tmp_path, 7 << 20)
    assert free_memory(tmp_path, tmp_path / "nowhere") == 7 << 20


def test_within_the_groups_limit(tmp_path: Path) -> None:
    proc, mount = tmp_path / "proc", tmp_path / "cgroup"
    machine(proc, 7 << 20)
    write(mount / "mine" / "memory.max", "max")
    write(mount / "mine" / "memory.current", 5000)
    assert free_memory(proc, mount) == 7 << 20
    write(mount / "memory.max", 9000)
    write(mount / "memory.current", 6000)
    write(mount / "memory.stat", "anon 3000\ninactive_file 500")
    assert free_memory(proc, mount) == 3500
    write(mount / "memory.current", 99_000)
    assert free_memory(proc, mount) == 0


def test_version_1_of_the_groups(tmp_path: Path) -> None:
    proc, mount = tmp_path / "proc", tmp_path / "cgroup"
    machine(proc, 7 << 20, "3:cpu,cpuacct:/mine\n2:memory:/mine")
    write(mount / "memory" / "mine" / "memory.limit_in_bytes", 8000)
    write(mount / "memory" / "mine" / "memory.usage_in_bytes", 2000)
    write(mount / "memory" / "mine" / "memory.stat", "cache 1")
    assert free_memory(proc, mount) == 6000
