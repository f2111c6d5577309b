"""The files of onnxruntime-web: from a folder of the user's, from ``node_modules``, or from npm."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mobilenets.base.cache import cache_folder
from mobilenets.base.files import write_bytes
from mobilenets.base.notes import log
from mobilenets.errors import InputError

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
# Of the package's archive, as npm states it (`npm view onnxruntime-web@1.30.0 dist.integrity`).
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
# The smallest that runs on the processor of any browser: the module with its loader inside, and the runtime itself.
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
SECONDS = 600  # for npm to fetch 27 MB


@dataclass(frozen=True)
class WebRuntime:
    """Where each of ``FILES`` is, and the version of the package that they are from."""

    files: Mapping[str, Path]
    version: str


def find_web_runtime(named: Path | None) -> WebRuntime:
    """Find onnxruntime-web.

    ``named`` is the folder of the unpacked package or its ``dist``. Without it: ``node_modules`` in the working folder
    or above, then the cache, then npm, whose archive is checked against ``INTEGRITY``. Raises ``InputError`` where
    there is none.
    """
    if named is not None:
        found = _in_folder(named)
        if found is None:
            raise InputError(f"{named}: no {FILES[0]} in it; give the folder of the unpacked npm package {PACKAGE}")
    else:
        here = Path.cwd()
        around = (_in_folder(folder / "node_modules" / PACKAGE) for folder in (here, *here.parents))
        found = next((one for one in around if one is not None), None) or _in_cache()
    if found.version != VERSION:
        log.warning("%s has version %s, but the page was tested with %s", PACKAGE, found.version, VERSION)
    return found


def _in_folder(folder: Path) -> WebRuntime | None:
    """Find the files in the package's folder, or in its ``dist``."""
    for place, package in ((folder / "dist", folder), (folder, folder.parent)):
        files = {name: place / name for name in FILES}
        if all(path.is_file() for path in files.values()):
            return WebRuntime(files, _version(package / "package.json"))
    return None


def _version(path: Path) -> str:
    try:
        return str(json.loads(path.read_bytes())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"


def _in_cache() -> WebRuntime:
    folder = cache_folder() / f"{PACKAGE}-{VERSION}"
    found = _in_folder(folder)
    if found is None:
        _fetch(folder)
        found = _in_folder(folder)
    assert found is not None
    return found


def _fetch(folder: Path) -> None:
    """Let npm fetch the package, and keep of it what is needed."""
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            f"--format web needs {PACKAGE}, and npm is not installed to download it: unpack its npm package "
            f"{VERSION} and pass its folder with --web-runtime FOLDER"
        )
    log.info("downloading %s %s with npm", PACKAGE, VERSION)
    with tempfile.TemporaryDirectory() as place:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--ignore-scripts"]
        try:
            subprocess.run(command, cwd=place, check=True, capture_output=True, timeout=SECONDS)
            archive = next(Path(place).glob("*.tgz")).read_bytes()
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            raise InputError(
                f"npm could not download {PACKAGE}: try `npm install {PACKAGE}@{VERSION}` here, or pass the folder "
                "of its unpacked package with --web-runtime FOLDER"
            ) from error
        check_integrity(archive)
        _unpack(Path(place), archive, folder)


def check_integrity(archive: bytes) -> None:
    """Raise ``InputError`` where an archive is not the one of ``INTEGRITY``."""
    kind, _, expected = INTEGRITY.partition("-")
    if base64.b64encode(hashlib.new(kind, archive).digest()).decode() != expected:
        raise InputError(
            f"npm delivered a {PACKAGE} {VERSION} that differs from the published one: pass the folder of a trusted "
            "copy with --web-runtime FOLDER"
        )


def _unpack(place: Path, archive: bytes, folder: Path) -> None:
    (place / "package.tgz").write_bytes(archive)
    with tarfile.open(place / "package.tgz") as content:
        # Last the one by which the cache is known to be whole.
        for name in ("package.json", *(f"dist/{name}" for name in FILES)):
            member = content.extractfile(f"package/{name}")
            assert member is not None
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, member.read())
