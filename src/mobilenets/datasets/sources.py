"""Where the pictures of a known data set come from: an archive of the user's, the install, or the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mobilenets.base.download import download
from mobilenets.base.extras import how_to_install
from mobilenets.base.notes import log
from mobilenets.datasets.cifar import read_cifar10, read_cifar100
from mobilenets.datasets.idx import read_idx
from mobilenets.datasets.known import Content, Part, RemoteFile
from mobilenets.datasets.shapes import PICTURES, SHAPES, draw
from mobilenets.errors import InputError

ProgressCallback = Callable[[str, int, int | None], None]
"""Called with what is counted ("bytes" or "pictures"), how many are done, and how many there are if known."""

# Where Debian's package dataset-fashion-mnist puts the four files.
SYSTEM_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
DIGITS_SEED = 0  # of the split into train and validation
DIGITS_VALIDATION = 0.2  # of the pictures of each class


Source = Callable[[tuple[RemoteFile, ...], Path | None, Path, ProgressCallback], Content]
"""Reads a set, given its files on the network, the user's archive if any, and a folder for downloads."""


def cifar10(files: tuple[RemoteFile, ...], archive: Path | None, cache: Path, report: ProgressCallback) -> Content:
    """CIFAR-10; its test batch is the validation part."""
    return read_cifar10(archive or _downloaded(files, cache, report)[0])


def cifar100(files: tuple[RemoteFile, ...], archive: Path | None, cache: Path, report: ProgressCallback) -> Content:
    """CIFAR-100 by its fine labels, with its superclasses as groups; its test part is the validation part."""
    return read_cifar100(archive or _downloaded(files, cache, report)[0])


def fashion_mnist(
    files: tuple[RemoteFile, ...], archive: Path | None, cache: Path, report: ProgressCallback
) -> Content:
    """Fashion-MNIST from a folder of its four files, or one of them with the others beside it."""
    if archive is not None:
        found = _beside(files, archive)
    elif all((SYSTEM_FASHION_MNIST / file.name).is_file() for file in files):
        log.info("using the Fashion-MNIST files installed on this system, in %s", SYSTEM_FASHION_MNIST)
        found = _beside(files, SYSTEM_FASHION_MNIST)
    else:
        found = _downloaded(files, cache, report)
    train_pixels, train_labels, test_pixels, test_labels = found
    return Content(_idx_part(train_pixels, train_labels), _idx_part(test_pixels, test_labels))


def _beside(files: tuple[RemoteFile, ...], archive: Path) -> list[Path]:
    """The local file for each of the files, in gzip or already unpacked."""
    folder = archive if archive.is_dir() else archive.parent
    names = [(file.name, file.name.removesuffix(".gz")) for file in files]
    if folder != archive and not any(archive.name in pair for pair in names):
        raise InputError(f"{archive} is not one of the Fashion-MNIST files; give the folder with all four")
    found = []
    for pair in names:
        present = [folder / name for name in pair if (folder / name).is_file()]
        if not present:
            raise InputError(f"{folder} has no {pair[0]}; put all four Fashion-MNIST files there")
        found.append(present[0])
    return found


def _idx_part(pixels_file: Path, labels_file: Path) -> Part:
    pixels, labels = read_idx(pixels_file, 3), read_idx(labels_file, 1)
    if len(pixels) != len(labels):
        raise InputError(f"{labels_file}: {len(labels)} labels for {len(pixels)} pictures; get both files again")
    if labels.max() > 9:
        raise InputError(f"{labels_file}: label {labels.max()} where Fashion-MNIST has 0 to 9; get the file again")
    return Part(pixels, labels)


def digits(files: tuple[RemoteFile, ...], archive: Path | None, cache: Path, report: ProgressCallback) -> Content:
    """The 1,797 digits of scikit-learn, 0..16 scaled to 0..255, split stratified by a fixed seed."""
    if archive is not None:
        raise InputError("digits come with scikit-learn and have no archive; leave --archive out")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(f"digits come with scikit-learn, which is not installed: {how_to_install('train')}") from error
    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    labels = np.asarray(bunch.target, np.int64)
    random = np.random.default_rng(DIGITS_SEED)
    held_out = np.zeros(len(labels), bool)
    for label in range(10):
        members = np.flatnonzero(labels == label)
        held_out[random.permutation(members)[: round(len(members) * DIGITS_VALIDATION)]] = True
    return Content(Part(pixels[~held_out], labels[~held_out]), Part(pixels[held_out], labels[held_out]))


def shapes(files: tuple[RemoteFile, ...], archive: Path | None, cache: Path, report: ProgressCallback) -> Content:
    """Six shapes as ``shapes.draw`` draws them, from fixed seeds."""
    if archive is not None:
        raise InputError("shapes are drawn and have no archive; leave --archive out")
    pixels = np.stack([draw(shape, seed) for shape in SHAPES for seed in range(PICTURES)])
    return Content(Part(pixels, np.repeat(np.arange(len(SHAPES)), PICTURES)), None, tuple(SHAPES))


def _downloaded(files: tuple[RemoteFile, ...], cache: Path, report: ProgressCallback) -> list[Path]:
    """The files in the cache folder, downloaded where they are missing."""
    total = sum(file.size for file in files)
    paths: list[Path] = []
    before = 0
    for file in files:

        def count(done: int, _: int | None, before: int = before) -> None:
            report("bytes", before + done, total)

        paths.append(download(file.url, cache / file.name, sha256=file.sha256, size=file.size, progress=count))
        before += file.size
    return paths


SOURCES: dict[str, Source] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "fashion_mnist": fashion_mnist,
    "digits": digits,
    "shapes": shapes,
}
