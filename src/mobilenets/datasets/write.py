"""Known data sets as folders of pictures: ``OUT/train/<class>/00001.png`` and ``OUT/validation/…``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from PIL import Image

from mobilenets.base.cache import cache_folder
from mobilenets.base.drafts import drafting
from mobilenets.base.files import sync, write_json
from mobilenets.datasets.known import KNOWN, Content
from mobilenets.datasets.sources import SOURCES, ProgressCallback
from mobilenets.errors import InputError
from mobilenets.runtime.labels import FILE, Group, Label, Labels

LARGEST_SIZE = 4096  # pixels


@dataclass(frozen=True)
class Written:
    """What was written: ``size`` in pixels, numbers of pictures, and the class folders in label order."""

    folder: Path
    size: int
    train: int
    validation: int
    classes: tuple[str, ...]


def write_folders(
    name: str,
    out: Path,
    *,
    archive: Path | None = None,
    size: int | None = None,
    progress: ProgressCallback | None = None,
) -> Written:
    """Write a known data set as PNG pictures, one folder per class, under ``out/train`` and ``out/validation``.

    ``shapes`` is not split: its class folders are in ``out`` itself.

    The pictures come from ``archive`` if given (a CIFAR ``.tar.gz``, or for Fashion-MNIST the folder of its
    four files or one of them), else from the install, else from the network by way of the cache folder. They
    keep their native size untouched, or become ``size`` x ``size`` pixels by bicubic interpolation; grey
    pictures stay grey. CIFAR-100's superclasses go to ``out/classes.json``. Everything is written beside
    ``out`` and takes its name at the end, so that ``out`` is whole or absent; what an interrupted run left is
    cleaned up by the next.

    Raises InputError when the name is unknown, ``out`` is not empty, or the archive or the network fails.
    """
    if name not in KNOWN:
        raise InputError(f"unknown data set {name!r}; known are {', '.join(KNOWN)}")
    if size is not None and not 1 <= size <= LARGEST_SIZE:
        raise InputError(f"size {size}: give the side of the pictures in pixels, 1 to {LARGEST_SIZE}")
    if archive is not None and not archive.exists():
        raise InputError(f"{archive}: no such file or folder; give the archive that you have, or leave it out")
    known, out = KNOWN[name], out.resolve()
    report = progress or (lambda what, done, total: None)
    with new_folder(out) as whole:
        content = SOURCES[name](known.files, archive, cache_folder() / name, report)
        side = size or known.side
        classes = _write(content, content.classes or known.classes, whole, side, report)
    held_out = 0 if content.validation is None else len(content.validation.labels)
    return Written(out, side, len(content.train.labels), held_out, classes)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to be filled beside ``out``; when the block ends well it is synced and becomes ``out``.

    What a killed one left is removed. Raises InputError where ``out`` is not empty, or cannot be written.
    """
    try:
        _check_free(out)
        with drafting(out) as whole:
            yield whole
            if hasattr(os, "sync"):
                os.sync()  # once for all the pictures, before they are seen under the final name
            if out.exists():
                out.rmdir()  # which the system refuses if something came into it meanwhile
            whole.rename(out)
            if os.name == "posix":
                sync(out.parent)
    except OSError as error:
        raise InputError(f"cannot write {error.filename or out}: {error.strerror or error}") from error


def _check_free(out: Path) -> None:
    """Refuse a place whose content would be lost, or that cannot be swapped for the finished folder."""
    if not out.exists():
        return
    if not out.is_dir() or any(out.iterdir()):
        raise InputError(f"{out} is not empty; choose a new folder, or remove this one first")
    if out == Path.cwd() or os.path.ismount(out):
        raise InputError(f"{out} is the current folder or a mount point; choose a new folder inside it")


def _write(
    content: Content, classes: tuple[str, ...], root: Path, side: int, report: ProgressCallback
) -> tuple[str, ...]:
    """Write everything under ``root``; returns the folder of each class, in label order."""
    folders = _folder_names(classes)
    parts = [(root, content.train)]
    if content.validation is not None:
        parts = [(root / "train", content.train), (root / "validation", content.validation)]
    total = sum(len(part.labels) for _, part in parts)
    done = 0
    for place, part in parts:
        numbers = [count(1) for _ in folders]
        for folder in folders:
            (place / folder).mkdir(parents=True)
        for pixels, label in zip(part.pixels, part.labels.tolist(), strict=True):
            image = Image.fromarray(pixels)
            if image.size != (side, side):
                image = image.resize((side, side), Image.Resampling.BICUBIC)
            image.save(place / folders[label] / f"{next(numbers[label]):05d}.png")
            done += 1
            report("pictures", done, total)
    if content.groups:
        labels = Labels(
            {
                folder: Label({"en": name.replace("_", " ")}, group)
                for folder, name, group in zip(folders, classes, content.groups, strict=True)
            },
            {group: Group({"en": group.replace("_", " ")}) for group in sorted({*content.groups})},
        )
        write_json(root / FILE, labels.to_json())
    return folders


_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)


def _folder_name(name: str) -> str:
    """A name that is one folder on every system: letters, digits, _ and -; no device name of Windows."""
    safe = re.sub(r"[^\w-]+", "_", name)[:100]
    return safe + "_" if _RESERVED.fullmatch(safe) else safe


def _folder_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    folders = tuple(_folder_name(name) for name in classes)
    if len({folder.casefold() for folder in folders}) < len(folders):
        raise InputError("two class names in the archive lead to the same folder name; use the archive as published")
    return folders
