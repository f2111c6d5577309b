"""Write lock files: what each install takes, with the hashes of its files.

    pip install uv
    python benchmarks/lock.py

``requirements-runtime.lock``, ``requirements-serve.lock`` and ``requirements-train.lock`` have the versions of
``constraints.txt``, for Python 3.11 on and every system. PyTorch is left out of the last, with the CUDA libraries that
it brings: which build of it is right depends on the machine, and each build has hashes of its own. What else PyTorch
needs is in it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCKS = {
    "requirements-runtime.lock": (),
    "requirements-serve.lock": ("--extra", "serve"),
    "requirements-train.lock": ("--extra", "train"),
}
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
_TORCH = re.compile(r"torch|triton|cuda-.*|nvidia-.*")


def compiled(*options: str) -> str:
    """Return a lock file made with uv."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "lock"
        subprocess.run(
            [
                *("uv", "pip", "compile", "pyproject.toml", "-c", "constraints.txt", "--universal", "--quiet"),
                *("--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header", "--no-config"),
                *(*options, "--output-file", str(out)),
            ],
            cwd=ROOT,
            check=True,
        )
        return out.read_text("utf-8")


def main() -> int:
    """Write them all."""
    for name, extra in LOCKS.items():
        left_out = sorted(filter(_TORCH.fullmatch, set(_PIN.findall(compiled(*extra)))))
        text = compiled(*extra, *(word for package in left_out for word in ("--no-emit-package", package)))
        text = "".join(line for line in text.splitlines(True) if not line.startswith("#"))
        (ROOT / name).write_text(f"# Made by: make lock\n{text}", "utf-8")
        print(f"{name}: {len(_PIN.findall(text))} packages; left out: {', '.join(left_out) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
