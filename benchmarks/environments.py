"""The peers of ``training.py``: their files, and the environment that each runs in, made on request."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent / ".venv-bench"
OURS = "ours"
REFERENCE = "pytorch_channels_last"


@dataclass(frozen=True)
class Peer:
    """A file of ``peers/`` with its arguments; ``environment`` names its virtual environment and requirements."""

    title: str
    file: str
    environment: str
    arguments: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


TENSORFLOW = (("KERAS_BACKEND", "tensorflow"), ("TF_CPP_MIN_LOG_LEVEL", "2"))
PEERS = {
    OURS: Peer("mobilenets", "ours.py", OURS),
    REFERENCE: Peer("PyTorch, channels_last", "pytorch_peer.py", "pytorch", ("--layout", "channels_last")),
    "pytorch_nchw": Peer("PyTorch, NCHW", "pytorch_peer.py", "pytorch", ("--layout", "nchw")),
    "pytorch_compile": Peer("PyTorch, torch.compile", "pytorch_peer.py", "pytorch", ("--compile",)),
    "keras_tensorflow": Peer("Keras on TensorFlow", "keras_peer.py", "keras-tensorflow", variables=TENSORFLOW),
    "keras_torch": Peer("Keras on PyTorch", "keras_peer.py", "keras-torch", variables=(("KERAS_BACKEND", "torch"),)),
    "mindspore": Peer("MindSpore", "mindspore_peer.py", "mindspore"),
}
MACHINE = Peer("the machine", "machine.py", OURS)

# What a user of a peer has not set, but whoever runs this may have.
UNSET = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_CONF")


def interpreter(peer: Peer, given: Mapping[str, str]) -> Path | None:
    """Find the Python of a peer: the one that is given, the one that ``set_up`` made, or for PyTorch this one."""
    if peer.environment in given:
        return Path(given[peer.environment])
    if peer.environment == OURS:
        return Path(sys.executable)
    made = ROOT / peer.environment
    python = _python_of(made)
    if (made / ".ready").exists() and python.exists():
        return python
    # The same PyTorch, when it is installed here: nothing of ours is imported.
    return Path(sys.executable) if peer.environment == "pytorch" else None


def variables(peer: Peer, threads: int) -> dict[str, str]:
    """Give a peer's environment variables: this process's, without what tunes threads or memory."""
    kept = {name: value for name, value in os.environ.items() if name not in UNSET and not name.startswith("MALLOC_")}
    if peer.environment != OURS:
        kept.pop("PYTHONPATH", None)
    return kept | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"} | dict(peer.variables)


def set_up(environment: str) -> str | None:
    """Make the environment of a peer, unless it is there; returns why that failed, or None."""
    if environment == OURS:
        return None
    folder, wanted = ROOT / environment, HERE / "peers" / f"requirements-{environment}.txt"
    stamp = folder / ".ready"
    if stamp.exists() and stamp.read_text("utf-8") == wanted.read_text("utf-8"):
        return None
    print(f"setting up {folder.relative_to(HERE.parent)}: {', '.join(requirements(wanted))}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(_python_of(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted)],
    ):
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
            shutil.rmtree(folder, ignore_errors=True)
            return f"cannot be set up: {''.join(errors[:1]).removeprefix('ERROR: ')}"
    stamp.write_text(wanted.read_text("utf-8"), "utf-8")
    return None


def requirements(path: Path) -> list[str]:
    """List the packages that a requirements file asks for."""
    lines = (line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if platform.system() == "Windows" else "bin/python")
