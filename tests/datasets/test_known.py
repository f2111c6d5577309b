from __future__ import annotations

import gzip
import json
import logging
import os
import shutil
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from mobilenets.base import cache
from mobilenets.datasets import shapes, sources, write
from mobilenets.datasets.known import KNOWN, Content, Part
from mobilenets.datasets.write import write_folders
from mobilenets.errors import InputError

FASHION_FOLDERS = (
    *("T-shirt_top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle_boot"),
)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, no cache of the user's, nothing of the system's."""

    def no_download(url: str, *_: object, **__: object) -> NoReturn:
        raise InputError(f"cannot download {url}")

    monkeypatch.setattr(sources, "download", no_download)
    monkeypatch.setattr(sources, "SYSTEM_FASHION_MNIST", tmp_path / "no system folder")
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))


def idx(array: np.ndarray) -> bytes:
    shape = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return gzip.compress(bytes((0, 0, 8, array.ndim)) + shape + array.tobytes())


def fashion(folder: Path) -> np.ndarray:
    """The four files, small: labels 0 to 9 and 0 again to train, 3 and 3 to validate; returns the pixels."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (13, 28, 28), np.uint8)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(idx(pixels[:11]))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(idx(np.array([*range(10), 0], np.uint8)))
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(idx(pixels[11:]))
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.array([3, 3], np.uint8)))
    return pixels


def tree(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_catalogue() -> None:
    assert KNOWN.keys() == sources.SOURCES.keys()
    assert KNOWN["shapes"].side == shapes.SIDE
    assert list(KNOWN) == ["cifar10", "cifar100", "fashion_mnist", "digits", "shapes"]
    for entry in KNOWN.values():
        for file in entry.files:
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.url.startswith("http")
            assert file.name.endswith(".gz")


def test_digits(tmp_path: Path) -> None:
    sklearn = pytest.importorskip("sklearn.datasets")
    seen: list[tuple[str, int, int | None]] = []
    written = write_folders("digits", tmp_path / "digits", progress=lambda *event: seen.append(event))
    assert (written.train, written.validation, written.size) == (1438, 359, 8)
    assert written.classes == tuple("0123456789")
    assert seen[-1] == ("pictures", 1797, 1797)
    files = tree(tmp_path / "digits")
    assert len(files) == 1797
    assert files[0] == "train/0/00001.png"
    bunch = sklearn.load_digits()
    for label in range(10):
        held_out = len([file for file in files if file.startswith(f"validation/{label}/")])
        assert held_out == round(0.2 * int((bunch.target == label).sum()))
    scaled = np.rint(bunch.images * 255 / 16).astype(np.uint8)
    stored = {(str(label), image.tobytes()) for label, image in zip(bunch.target, scaled, strict=True)}
    for file in files[::50]:
        image = Image.open(tmp_path / "digits" / file)
        assert (image.mode, image.size) == ("L", (8, 8))
        assert (file.split("/")[1], image.tobytes()) in stored


def test_digits_are_the_same_each_time_and_take_no_archive(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    first, second = (sources.digits((), None, tmp_path, lambda *_: None) for _ in range(2))
    np.testing.assert_array_equal(first.validation.pixels, second.validation.pixels)
    with pytest.raises(InputError, match="leave --archive out"):
        write_folders("digits", tmp_path / "digits", archive=tmp_path)


def test_digits_without_sklearn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match="pip install"):
        write_folders("digits", tmp_path / "digits")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("give", ["folder", "file", "unpacked"])
def test_fashion_mnist_from_an_archive(tmp_path: Path, give: str) -> None:
    archive, out = tmp_path / "files", tmp_path / "out"
    pixels = fashion(archive)
    if give == "unpacked":
        packed = archive / "t10k-labels-idx1-ubyte.gz"
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    written = write_folders(
        "fashion_mnist", out, archive=archive / "t10k-images-idx3-ubyte.gz" if give == "file" else archive
    )
    assert (written.train, written.validation, written.size) == (11, 2, 28)
    assert written.classes == FASHION_FOLDERS
    expected = [f"train/{folder}/00001.png" for folder in FASHION_FOLDERS]
    expected += ["train/T-shirt_top/00002.png", "validation/Dress/00001.png", "validation/Dress/00002.png"]
    assert tree(out) == sorted(expected)
    assert {path.name for path in (out / "validation").iterdir()} == set(FASHION_FOLDERS)
    for file, index in (("train/T-shirt_top/00002.png", 10), ("validation/Dress/00002.png", 12)):
        image = Image.open(out / file)
        assert (image.format, image.mode) == ("PNG", "L")
        np.testing.assert_array_equal(np.asarray(image), pixels[index])
    assert {path.name for path in tmp_path.iterdir()} == {"files", "out"}


def test_another_size_is_bicubic(tmp_path: Path) -> None:
    pixels = fashion(tmp_path / "files")
    write_folders("fashion_mnist", tmp_path / "out", archive=tmp_path / "files", size=50)
    image = Image.open(tmp_path / "out/train/Trouser/00001.png")
    expected = Image.fromarray(pixels[1]).resize((50, 50), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


def test_fashion_mnist_of_the_system_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fashion(tmp_path / "system")
    monkeypatch.setattr(sources, "SYSTEM_FASHION_MNIST", tmp_path / "system")
    with caplog.at_level(logging.INFO, "mobilenets"):
        assert write_folders("fashion_mnist", tmp_path / "out").train == 11
    assert str(tmp_path / "system") in caplog.text
    (tmp_path / "system" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match=r"cannot download .*train-images"):
        write_folders("fashion_mnist", tmp_path / "other")


def test_fashion_mnist_of_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip("needs Debian's Fashion-MNIST: apt-get install dataset-fashion-mnist")
    content = sources.fashion_mnist(KNOWN["fashion_mnist"].files, folder, folder, lambda *_: None)
    assert content.train.pixels.shape == (60000, 28, 28)
    assert np.bincount(content.train.labels).tolist() == [6000] * 10
    assert np.bincount(content.validation.labels).tolist() == [1000] * 10


def test_downloads_go_through_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fashion(tmp_path / "server")
    files = KNOWN["fashion_mnist"].files
    seen: list[tuple[str, int, int | None]] = []

    def copy(url: str, path: Path, *, sha256: str, size: int, progress: sources.ProgressCallback) -> Path:
        assert (sha256, size) in {(file.sha256, file.size) for file in files if file.url == url}
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "server" / path.name, path)
        progress(size, size)  # type: ignore[arg-type, call-arg]
        return path

    monkeypatch.setattr(sources, "download", copy)
    write_folders("fashion_mnist", tmp_path / "out", progress=lambda *event: seen.append(event))
    assert {path.name for path in (tmp_path / "cache" / "fashion_mnist").iterdir()} == {f.name for f in files}
    total = sum(file.size for file in files)
    assert [event for event in seen if event[0] == "bytes"][-1] == ("bytes", total, total)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda folder: (folder / "train-images-idx3-ubyte.gz").unlink(),
            "has no train-images-idx3-ubyte.gz",
        ),
        (
            lambda folder: (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.array([3], np.uint8))),
            "1 labels for 2 pictures",
        ),
        (
            lambda folder: (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.array([3, 10], np.uint8))),
            "label 10",
        ),
    ],
)
def test_unusable_fashion_mnist(tmp_path: Path, change: object, reason: str) -> None:
    fashion(tmp_path / "files")
    change(tmp_path / "files")  # type: ignore[operator]
    with pytest.raises(InputError, match=reason):
        write_folders("fashion_mnist", tmp_path / "out", archive=tmp_path / "files")
    assert {path.name for path in tmp_path.iterdir()} == {"files"}


def test_another_file_is_no_fashion_mnist(tmp_path: Path) -> None:
    fashion(tmp_path / "files")
    (tmp_path / "files" / "notes.txt").touch()
    with pytest.raises(InputError, match="give the folder with all four"):
        write_folders("fashion_mnist", tmp_path / "out", archive=tmp_path / "files" / "notes.txt")


def cifar(classes: tuple[str, ...], groups: tuple[str, ...] = ()) -> Content:
    pixels = np.arange(len(classes) * 3072, dtype=np.uint64).astype(np.uint8).reshape(-1, 32, 32, 3)
    labels = np.arange(len(classes))
    return Content(Part(pixels, labels), Part(pixels[:1], labels[:1]), classes, groups)


def test_cifar100_with_its_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = cifar(("apple", "bear", "pear"), ("fruit", "mammals", "fruit"))
    monkeypatch.setattr(sources, "read_cifar100", lambda archive: read)
    written = write_folders("cifar100", tmp_path / "out", archive=tmp_path)
    assert (written.train, written.validation, written.size) == (3, 1, 32)
    assert json.loads((tmp_path / "out/classes.json").read_text()) == {
        "classes": {
            "apple": {"names": {"en": "apple"}, "group": "fruit"},
            "bear": {"names": {"en": "bear"}, "group": "mammals"},
            "pear": {"names": {"en": "pear"}, "group": "fruit"},
        },
        "groups": {"fruit": {"names": {"en": "fruit"}}, "mammals": {"names": {"en": "mammals"}}},
    }
    image = Image.open(tmp_path / "out/train/bear/00001.png")
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), read.train.pixels[1])


def test_class_names_stay_inside_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("../../up", "/etc", "..", "a\\b:c", "nul", "Com1", "x" * 300, "a.")
    monkeypatch.setattr(sources, "read_cifar10", lambda archive: cifar(names))
    written = write_folders("cifar10", tmp_path / "out", archive=tmp_path)
    assert written.classes == ("_up", "_etc", "_", "a_b_c", "nul_", "Com1_", "x" * 100, "a_")
    assert {path.name for path in (tmp_path / "out" / "train").iterdir()} == set(written.classes)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert not (tmp_path / "out" / "classes.json").exists()


def test_class_names_that_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "read_cifar10", lambda archive: cifar(("cat", "Cat")))
    with pytest.raises(InputError, match="the same folder name"):
        write_folders("cifar10", tmp_path / "out", archive=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"name": "imagenet"}, "known are cifar10, cifar100, fashion_mnist, digits, shapes"),
        ({"size": 0}, "1 to 4096"),
        ({"size": 5000}, "1 to 4096"),
        ({"archive": Path("none.tar.gz")}, "no such file"),
    ],
)
def test_unusable_arguments(tmp_path: Path, arguments: dict[str, object], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        write_folders(**{"name": "fashion_mnist", "out": tmp_path / "out"} | arguments)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_out_with_anything_in_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    for place in (out, out / "mine.txt"):
        with pytest.raises(InputError, match="not empty"):
            write_folders("fashion_mnist", place)
    assert tree(tmp_path) == ["out/mine.txt"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="current folder"):
        write_folders("fashion_mnist", Path())


def test_empty_out_is_used(tmp_path: Path) -> None:
    fashion(tmp_path / "files")
    (tmp_path / "out").mkdir()
    assert write_folders("fashion_mnist", tmp_path / "out", archive=tmp_path / "files").train == 11
    with pytest.raises(InputError, match="not empty"):
        write_folders("fashion_mnist", tmp_path / "out", archive=tmp_path / "files")


def test_what_came_into_out_meanwhile_is_kept(tmp_path: Path) -> None:
    fashion(tmp_path / "files")
    out = tmp_path / "out"

    def meddle(what: str, done: int, total: int | None) -> None:
        out.mkdir(exist_ok=True)
        (out / "mine.txt").write_text("mine")

    with pytest.raises(InputError, match="cannot write"):
        write_folders("fashion_mnist", out, archive=tmp_path / "files", progress=meddle)
    assert tree(out) == ["mine.txt"]


def test_interrupted_run_leaves_nothing_and_a_killed_one_is_cleaned_up(tmp_path: Path) -> None:
    fashion(tmp_path / "files")
    out = tmp_path / "out"

    def interrupt(what: str, done: int, total: int | None) -> None:
        assert not out.exists()
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folders("fashion_mnist", out, archive=tmp_path / "files", progress=interrupt)
    assert {path.name for path in tmp_path.iterdir()} == {"files"}
    killed = tmp_path / ".writing-abc"
    (killed / "draft/train").mkdir(parents=True)
    (killed / "alive").touch()
    with write.new_folder(tmp_path / "other") as under_way:  # of another process, say
        write_folders("fashion_mnist", out, archive=tmp_path / "files")
        assert {path.name for path in tmp_path.iterdir()} == {"files", "out", under_way.parent.name}
    assert len(tree(out)) == 13


@pytest.mark.skipif(os.name != "posix", reason="umask is POSIX")
def test_folder_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    fashion(tmp_path / "files")
    (tmp_path / "plain").mkdir()
    write_folders("fashion_mnist", tmp_path / "out", archive=tmp_path / "files")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_unwritable_parent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written there: .*; choose another place"):
        write_folders("fashion_mnist", tmp_path / "file" / "out")


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENETS_CACHE", "somewhere")
    assert cache.cache_folder() == Path("somewhere")
    monkeypatch.delenv("MOBILENETS_CACHE")
    monkeypatch.setenv("HOME", str(Path("/home/someone")))
    assert cache.cache_folder().parts[-2:] == (".cache", "mobilenets")


def test_folder_names_are_settled() -> None:
    names = KNOWN["fashion_mnist"].classes
    assert write._folder_names(names) == FASHION_FOLDERS
