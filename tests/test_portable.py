"""No call that Windows does not have stands outside a guard."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}
# Of ``os`` and ``signal``, "Availability: not Windows" in Python's documentation.
NAMES = {
    "os": {
        *("chown", "chroot", "fchmod", "fchown", "fork", "forkpty", "getegid", "geteuid", "getgid", "getgroups"),
        *("getloadavg", "getpgid", "getpriority", "getuid", "initgroups", "killpg", "lchown", "mkfifo", "mknod"),
        *("nice", "openpty", "pathconf", "posix_fadvise", "pread", "pwrite", "register_at_fork", "setgid", "setpgid"),
        *("sched_getaffinity", "sched_setaffinity", "setpriority", "setsid", "setuid", "statvfs", "sync", "sysconf"),
        *("ttyname", "uname", "wait", "wait3", "wait4", "waitid", "sendfile", "O_NOFOLLOW", "O_CLOEXEC", "O_DIRECTORY"),
        *("O_NONBLOCK", "WNOHANG"),
    },
    "signal": {
        *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGUSR1"),
        *("SIGUSR2", "SIGXCPU", "SIGXFSZ", "alarm", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait"),
    },
    "time": {"tzset", "pthread_getcpuclockid"},
    "errno": {"EDQUOT"},
}


# ``check`` of workers.py refuses several workers there, and nothing else needs signals.py.
ELSEWHERE = {"mobilenets/server/signals.py", "mobilenets/server/workers.py"}


def unguarded(text: str) -> list[str]:
    """Name what Windows lacks and no ``hasattr``, ``os.name``, ``sys.platform`` or ``except ImportError`` guards."""
    found: list[str] = []

    def visit(node: ast.AST, guarded: bool) -> None:
        if isinstance(node, (ast.If, ast.IfExp)):
            words = ast.unparse(node.test)
            inside = guarded or any(word in words for word in ("hasattr", "os.name", "sys.platform"))
            for child in ast.iter_child_nodes(node):
                visit(child, inside)
            return
        if isinstance(node, ast.Try):
            caught = [ast.unparse(handler.type) for handler in node.handlers if handler.type is not None]
            inside = guarded or any("ImportError" in words or "AttributeError" in words for words in caught)
            for child in node.body:
                visit(child, inside)
            for child in (*node.handlers, *node.orelse, *node.finalbody):
                visit(child, guarded)
            return
        if isinstance(node, ast.With):
            words = " ".join(ast.unparse(item) for item in node.items)
            guarded = guarded or ("suppress" in words and ("ImportError" in words or "AttributeError" in words))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in NAMES.get(node.value.id, ()) and not guarded:
                found.append(f"{node.lineno}: {node.value.id}.{node.attr}")
        elif isinstance(node, ast.Import) and not guarded:
            found.extend(f"{node.lineno}: import {one.name}" for one in node.names if one.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and not guarded:
            names = NAMES.get(node.module or "", set())
            found.extend(f"{node.lineno}: {node.module}.{one.name}" for one in node.names if one.name in names)
            found.extend(f"{node.lineno}: import {node.module}" for _ in [0] if node.module in MODULES)
        for child in ast.iter_child_nodes(node):
            visit(child, guarded)

    visit(ast.parse(text), False)
    return found


def test_source() -> None:
    found = {path.relative_to(SOURCE).as_posix(): unguarded(path.read_text("utf-8")) for path in SOURCE.rglob("*.py")}
    assert {name for name, lines in found.items() if lines} == ELSEWHERE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import os\nos.fork()", ["2: os.fork"]),
        ("import resource", ["1: import resource"]),
        ("from fcntl import flock", ["1: import fcntl"]),
        ("from os import sched_getaffinity", ["1: os.sched_getaffinity"]),
        ("import signal\ndef f():\n    signal.signal(signal.SIGHUP, f)", ["3: signal.SIGHUP"]),
        ("x = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1", []),
        ("if os.name == 'posix':\n    os.sync()", []),
        ("try:\n    import resource\nexcept ImportError:\n    pass", []),
        ("with suppress(ImportError):\n    import resource", []),
        ("try:\n    pass\nexcept ImportError:\n    os.fork()", ["4: os.fork"]),
        ("os.replace('a', 'b')", []),
    ],
)
def test_it_sees(text: str, expected: list[str]) -> None:
    assert unguarded(text) == expected
