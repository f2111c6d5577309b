"""Write docs/licences.md: the licence of everything that an install brings, as each package states it.

    python benchmarks/licences.py

Lists what is installed here of what ``mobilenets`` asks for, and of what that asks for in turn.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

PAGE = Path(__file__).parent.parent / "docs" / "licences.md"
# The extras, each with what it brings beyond those before it.
EXTRAS = (
    *("train", "serve", "heic", "openvino", "litert", "executorch"),
    *("shards", "s3", "gs", "bulk", "ray", "tune", "dev"),
)
# Of packages whose own words are no name of a licence; read in their files.
STATED = {
    "flatbuffers": "Apache-2.0",
    "protobuf": "BSD-3-Clause",
    "openvino": "Apache-2.0",
    "openvino-telemetry": "Apache-2.0",
    "namex": "Apache-2.0",
    "asttokens": "Apache-2.0",
    "keras": "Apache-2.0",
    "grimp": "BSD-2-Clause",
    "import-linter": "BSD-2-Clause",
}
# Classifiers, where there is no expression.
_CLASSIFIED = {
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
HEAD = """# Licences

mobilenets is under the [Apache License 2.0](../LICENSE). This is what its installs bring along, with the licence that
each package states; made by `make licences` from what is installed. A package stands under the first install that needs
it: `runtime` is the bare one, the others are extras on top of it.

PyTorch and the runtimes come as binaries that hold other libraries; their packages have a file with those licences.
"""


def name_of(text: str) -> str:
    """Write the name of a package in its one form."""
    return re.sub(r"[-_.]+", "-", text).lower()


def licence(package: str) -> str:
    """Return the licence that a package states."""
    if package in STATED:
        return STATED[package]
    about = metadata.metadata(package)
    if stated := about.get("License-Expression"):
        return stated
    kinds = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier", []) if line.startswith("License ::")]
    known = sorted({_CLASSIFIED.get(kind, kind) for kind in kinds if kind != "OSI Approved"})
    words = (about.get("License") or "").strip()
    if known == ["BSD"]:
        return _which_bsd(package)
    if words and not known and "\n" not in words and len(words) < 60:
        return words
    return " AND ".join(known) or "not stated"


def _which_bsd(package: str) -> str:
    """Tell the licences of that name apart by their text."""
    files = [file for file in metadata.files(package) or () if re.match(r"(?i)(licen[cs]e|copying)", file.name)]
    texts = [" ".join(file.locate().read_text("utf-8", "replace").split()) for file in files]
    if any("Neither the name" in text or "nor the names of" in text for text in texts):
        return "BSD-3-Clause"
    return "BSD-2-Clause" if any("Redistributions in binary form" in text for text in texts) else "BSD"


def needed(package: str, extras: frozenset[str], seen: set[tuple[str, str]]) -> Iterator[str]:
    """Give the installed packages that a package needs with these extras, and those that they need."""
    for line in _asked() if package == "mobilenets" else metadata.requires(package) or ():
        wanted = Requirement(line)
        name = name_of(wanted.name)
        applies = wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in (*extras, ""))
        if not applies or all((name, extra) in seen for extra in (*wanted.extras, "")):
            continue
        seen.update((name, extra) for extra in (*wanted.extras, ""))
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if name != "mobilenets":
            yield name
        yield from needed(name, frozenset(wanted.extras), seen)


def _asked() -> Iterator[str]:
    """Give what ``pyproject.toml`` asks for, as the metadata of a package would."""
    project = tomllib.loads((PAGE.parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
    yield from project["dependencies"]
    for extra, lines in project["optional-dependencies"].items():
        yield from (f'{line}; extra == "{extra}"' for line in lines)


def listed() -> dict[str, str]:
    """Return each package with the install that it comes with."""
    found: dict[str, str] = {}
    for extra in ("", *EXTRAS):
        for name in needed("mobilenets", frozenset({extra}), set()):
            found.setdefault(name, extra or "runtime")
    return found


def page() -> str:
    """Return the page."""
    found = listed()
    lacking = [f"`{extra}`" for extra in EXTRAS if extra not in found.values()]
    note = (
        f"Not installed where this was made, and so not listed: what {', '.join(lacking)} bring.\n" if lacking else ""
    )
    rows = [f"| {name} | {licence(name)} | {install} |" for name, install in sorted(found.items())]
    return "\n".join(
        [HEAD, *filter(None, [note]), "| package | licence | comes with |", "| --- | --- | --- |", *rows, ""]
    )


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")
    print(PAGE.read_text("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
