"""What to type to install an optional part of the package, which depends on how the package itself was installed."""

from __future__ import annotations

import platform
import re
import sys
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from mobilenets.base.shell import quote

# Modules that are not part of the bare install, and the extra that brings them.
EXTRAS = (
    dict.fromkeys(("torch", "safetensors", "matplotlib", "jinja2", "sklearn", "h5py", "huggingface_hub"), "train")
    | dict.fromkeys(("fastapi", "starlette", "uvicorn", "h11", "python_multipart", "prometheus_client"), "serve")
    | {"onnx": "train", "openvino": "openvino", "pyarrow": "bulk", "ray": "ray", "optuna": "tune"}
)
# Their packages do not agree with every version that constraints.txt pins: with them it pins PyTorch alone.
UNPINNED = ("litert", "executorch")


def how_to_install(extra: str) -> str:
    """Give the command that installs an extra into this Python: from the clone, or else package by package."""
    pip = f"{quote(sys.executable or 'python')} -m pip install"
    clone = _clone()
    if clone is None:
        return " ".join([pip, *(quote(one) for one in requirements(extra))])
    target = f"-e {quote(f'{clone}[{extra}]')}"
    constraints = clone / "constraints.txt"
    if not constraints.is_file():
        return f"{pip} {target}"
    if extra not in UNPINNED:
        return f"{pip} {target} -c {quote(str(constraints))}"
    pins = re.findall(r"^torch==\S+", constraints.read_text("utf-8"), re.MULTILINE)
    return " ".join([pip, *(quote(pin) for pin in pins), target])


def versions(names: Iterable[str]) -> dict[str, str]:
    """Give the version of Python, and of each of these packages that is installed."""
    found = {"python": platform.python_version()}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def requirements(extra: str) -> list[str]:
    """List the packages of an extra as the installed package names them, such as ``torch>=2.4``."""
    try:
        entries = metadata.requires("mobilenets") or []
    except metadata.PackageNotFoundError:  # the folder was copied, not installed: its modules go by these names
        return ["scikit-learn" if name == "sklearn" else name for name, of in EXTRAS.items() if of == extra] or [extra]
    found: list[str] = []
    for entry in entries:
        name, _, marker = entry.partition(";")
        if not re.search(rf"extra\s*==\s*['\"]{extra}['\"]", marker):
            continue
        nested = re.fullmatch(r"mobilenets\[([\w,-]+)\]", name.strip())
        found += [one for part in nested[1].split(",") for one in requirements(part)] if nested else [name.strip()]
    return list(dict.fromkeys(found))


def _clone() -> Path | None:
    """Return the folder of the source tree that this package runs from, if it does."""
    folder = Path(__file__).resolve().parents[3]
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if project == "mobilenets" else None
