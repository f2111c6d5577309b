"""Known data sets as folders of pictures: ``OUT/train/<class>/00001.png`` and ``OUT/validation/…``."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from PIL import Image

from mobilenets.base.files import sync, write_json
from mobilenets.datasets import sources
from mobilenets.datasets.shapes import SHAPES, SIDE
from mobilenets.datasets.sources import Content, ProgressCallback, RemoteFile, Source
from mobilenets.errors import InputError
from mobilenets.runtime.labels import FILE, Group, Label, Labels

LARGEST_SIZE = 4096  # pixels


@dataclass(frozen=True)
class KnownSet:
    """A data set that ``write_folders`` knows; ``side`` is the native size of its square pictures, in pixels.

    ``classes`` is empty where the archive itself names them; ``files`` where nothing is downloaded.
    """

    name: str
    title: str
    side: int
    files: tuple[RemoteFile, ...]
    classes: tuple[str, ...]
    licence: str
    citation: str
    read: Source


_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_TINY_IMAGES = 'A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, 2009'

# Sizes and SHA-256 as Keras (CIFAR), TensorFlow Datasets (Fashion-MNIST) and torchvision publish them.
# Debian's Fashion-MNIST files are the same but for the name and the time that their gzip headers leave out.
KNOWN = {
    known.name: known
    for known in (
        KnownSet(
            name="cifar10",
            title="CIFAR-10",
            side=32,
            files=(
                RemoteFile(
                    _CIFAR + "cifar-10-python.tar.gz",
                    170_498_071,
                    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
                ),
            ),
            classes=(),
            licence="none stated; the authors ask for the citation",
            citation=_TINY_IMAGES,
            read=sources.cifar10,
        ),
        KnownSet(
            name="cifar100",
            title="CIFAR-100",
            side=32,
            files=(
                RemoteFile(
                    _CIFAR + "cifar-100-python.tar.gz",
                    169_001_437,
                    "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
                ),
            ),
            classes=(),
            licence="none stated; the authors ask for the citation",
            citation=_TINY_IMAGES,
            read=sources.cifar100,
        ),
        KnownSet(
            name="fashion_mnist",
            title="Fashion-MNIST",
            side=28,
            files=(
                RemoteFile(
                    _FASHION + "train-images-idx3-ubyte.gz",
                    26_421_880,
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                ),
                RemoteFile(
                    _FASHION + "train-labels-idx1-ubyte.gz",
                    29_515,
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                ),
                RemoteFile(
                    _FASHION + "t10k-images-idx3-ubyte.gz",
                    4_422_102,
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                ),
                RemoteFile(
                    _FASHION + "t10k-labels-idx1-ubyte.gz",
                    5_148,
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
            ),
            classes=(
                *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
                *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
            ),
            licence="MIT",
            citation='H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking '
            'Machine Learning Algorithms", arXiv:1708.07747, 2017',
            read=sources.fashion_mnist,
        ),
        KnownSet(
            name="digits",
            title="Digits",
            side=8,
            files=(),
            classes=tuple("0123456789"),
            licence="CC BY 4.0",
            citation='E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine '
            "Learning Repository, 1998; as in scikit-learn's load_digits",
            read=sources.digits,
        ),
        KnownSet(
            name="shapes",
            title="Shapes",
            side=SIDE,
            files=(),
            classes=tuple(SHAPES),
            licence="Apache-2.0",
            citation="drawn by this package",
            read=sources.shapes,
        ),
    )
}


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
    try:
        _check_free(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{out.name}.fetching-"
        for left in [path for path in out.parent.iterdir() if path.name.startswith(prefix)]:
            shutil.rmtree(left)
        work = Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent))
        try:
            content = known.read(known.files, archive, sources.cache_folder() / name, report)
            side = size or known.side
            classes = _write(content, content.classes or known.classes, work / "whole", side, report)
            if hasattr(os, "sync"):
                os.sync()  # once for all the pictures, before they are seen under the final name
            if out.exists():
                out.rmdir()  # which the system refuses if something came into it meanwhile
            (work / "whole").rename(out)
            if os.name == "posix":
                sync(out.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise InputError(f"cannot write {error.filename or out}: {error.strerror or error}") from error
    held_out = 0 if content.validation is None else len(content.validation.labels)
    return Written(out, side, len(content.train.labels), held_out, classes)


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
