from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from mobilenets.base.pickled import Machine
from mobilenets.datasets import cifar
from mobilenets.datasets.cifar import read_cifar10, read_cifar100
from mobilenets.errors import InputError

CLASSES = ["airplane", "automobile", "bird"]
FINE, COARSE = ["apple", "bear", "pear"], ["fruit", "mammals"]
GROUP_OF = [0, 1, 0]
RANDOM = np.random.default_rng(0)


def pixels(count: int) -> np.ndarray:
    """Rows as in the archives: 1024 red, 1024 green, 1024 blue bytes."""
    return RANDOM.integers(0, 256, (count, 3072), np.uint8)


PurePickler: Any = pickle._Pickler


class Python2Pickler(PurePickler):  # type: ignore[misc]
    """Writes text and bytes as Python 2 wrote its ``str``."""

    dispatch: ClassVar[dict[type, Any]] = dict(PurePickler.dispatch)

    def save_python2_str(self, value: str | bytes) -> None:
        raw = value.encode("latin-1") if isinstance(value, str) else value
        short = len(raw) < 256
        self.write(b"U" + bytes((len(raw),)) if short else b"T" + struct.pack("<i", len(raw)))
        self.write(raw)
        self.memoize(value)

    dispatch[str] = save_python2_str
    dispatch[bytes] = save_python2_str


def python2(value: object) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(value)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def python3(value: object) -> bytes:
    return pickle.dumps(value, protocol=2)


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def cifar10_values() -> dict[str, dict[str, Any]]:
    values: dict[str, dict[str, Any]] = {
        f"data_batch_{i}": {"batch_label": f"training batch {i} of 5", "labels": [0, 1, 2], "data": pixels(3)}
        for i in range(1, 6)
    }
    values["test_batch"] = {"labels": [2, 0], "data": pixels(2), "filenames": ["a.png", "b.png"]}
    values["batches.meta"] = {"num_cases_per_batch": 3, "label_names": CLASSES, "num_vis": 3072}
    return values


def cifar10(
    path: Path,
    replaced: dict[str, bytes] | None = None,
    *,
    values: dict[str, dict[str, Any]] | None = None,
    dump: Callable[[object], bytes] = python2,
) -> Path:
    members = {name: dump(value) for name, value in (values or cifar10_values()).items()} | (replaced or {})
    return pack(path / "cifar-10-python.tar.gz", {f"cifar-10-batches-py/{n}": c for n, c in members.items()})


def cifar100_values() -> dict[str, dict[str, Any]]:
    return {
        "train": {
            "fine_labels": [0, 1, 2, 0],
            "coarse_labels": [GROUP_OF[label] for label in (0, 1, 2, 0)],
            "data": pixels(4),
        },
        "test": {"fine_labels": [2], "coarse_labels": [0], "data": pixels(1)},
        "meta": {"fine_label_names": FINE, "coarse_label_names": COARSE},
    }


def cifar100(path: Path, values: dict[str, dict[str, Any]]) -> Path:
    members = {f"cifar-100-python/{name}": python2(value) for name, value in values.items()}
    return pack(path / "cifar-100-python.tar.gz", members)


@pytest.mark.parametrize("dump", [python2, python3, pickle.dumps])
def test_cifar10(tmp_path: Path, dump: Callable[[object], bytes]) -> None:
    values = cifar10_values()
    read = read_cifar10(cifar10(tmp_path, values=values, dump=dump))
    assert read.classes == tuple(CLASSES)
    assert read.groups == ()
    assert read.train.pixels.shape == (15, 32, 32, 3)
    assert read.train.pixels.dtype == np.uint8
    assert read.train.labels.tolist() == [0, 1, 2] * 5
    assert read.validation.labels.tolist() == [2, 0]
    rows = values["data_batch_2"]["data"]
    np.testing.assert_array_equal(read.train.pixels[3, 0, 5], [rows[0, 5], rows[0, 1029], rows[0, 2053]])
    np.testing.assert_array_equal(read.train.pixels[3, 1, 0, 0], rows[0, 32])


def test_python2_pickles_look_like_python2s() -> None:
    content = python2({"labels": [1], "data": pixels(1)})
    assert content.startswith(b"\x80\x02}q\x00(U\x06labels")
    assert b"cnumpy.core.multiarray\n_reconstruct" in content
    assert b"T\x00\x0c\x00\x00" in content
    assert pickle.loads(content, encoding="latin1")["labels"] == [1]


def test_cifar100(tmp_path: Path) -> None:
    values = cifar100_values()
    read = read_cifar100(cifar100(tmp_path, values))
    assert read.classes == tuple(FINE)
    assert read.groups == ("fruit", "mammals", "fruit")
    assert read.train.labels.tolist() == [0, 1, 2, 0]
    np.testing.assert_array_equal(read.validation.pixels[0].transpose(2, 0, 1).ravel(), values["test"]["data"][0])


def test_protocol_0_and_fortran_order_and_plain_tar(tmp_path: Path) -> None:
    values = cifar10_values()
    text = b"(dp1\nS'label_names'\np2\n(lp3\nS'airplane'\np4\naS'automobile'\naS'bird'\nasS'num_vis'\nI3072\ns."
    assert pickle.loads(text)["label_names"] == CLASSES
    rows = values["test_batch"]["data"]
    batch = python2({"labels": [2, 0], "data": np.asfortranarray(rows)})
    packed = cifar10(tmp_path, {"batches.meta": text, "test_batch": batch})
    plain = tmp_path / "cifar-10-python.tar"
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    read = read_cifar10(plain)
    assert read.classes == tuple(CLASSES)
    np.testing.assert_array_equal(read.validation.pixels[1].transpose(2, 0, 1).ravel(), rows[1])


def refused(archive: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_cifar10(archive)
    message = str(caught.value)
    assert str(archive) in message
    assert "\n" not in message
    assert len(message) < 600
    return message


class Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
BYTE = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"


def array_of(shape: bytes, content: bytes = b"U\x04abcd", dtype: bytes = BYTE) -> bytes:
    """The opcodes of an array, with each piece of its state as given."""
    return ARRAY + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"


def held(data: bytes) -> bytes:
    """A pickle of {"data": …, "labels": []}."""
    return b"\x80\x02}(U\x06labels]U\x04data" + data + b"u."


HOSTILE: dict[str, tuple[bytes, str]] = {
    "os.system": (pickle.dumps({"data": Call(os.system, "touch ran")}, protocol=2), "'data' is not"),
    "eval": (pickle.dumps({"data": Call(eval, "open('ran', 'w')")}), "'data' is not"),
    "instance": (b"(S'touch ran'\nios\nsystem\n.", "does not hold a dict"),
    "object": (b"(cos\nsystem\nS'touch ran'\no.", "does not hold a dict"),
    "new object": (b"cnumpy\nndarray\n)\x81.", "does not hold a dict"),
    "numpy function": (held(b"cnumpy\nload\nU\x04file\x85R"), "'data' is not"),
    "persistent id": (b"Pname\n.", "PERSID"),
    "extension": (b"\x82\x01.", "EXT1"),
    "object array": (pickle.dumps({"data": np.array([[{}]], object)}, protocol=2), "'data' is not"),
    "float array": (python2({"data": np.zeros((1, 3072))}), "'data' is not"),
    "huge reconstruct": (held(b"cnumpy.core.multiarray\n_reconstruct\n(K\x00K\x01tR"), "'data' is not"),
    "huge ndarray": (held(b"cnumpy\nndarray\nJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86\x85R"), "'data' is not"),
    "huge shape": (held(array_of(b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86")), "'data' is not"),
    "huge empty shape": (
        held(array_of(b"K\x00\x8a\x09" + b"\xff" * 8 + b"\x00\x86", b"U\x00")),
        "'data' is not",
    ),
    "negative shape": (held(array_of(b"J\xff\xff\xff\xffJ\xfc\xff\xff\xff\x86")), "'data' is not"),
    "no dtype": (held(array_of(b"K\x01K\x04\x86", dtype=b"N")), "'data' is not"),
    "state of a name": (held(b"cnumpy\nndarray\n}b"), "'data' is not"),
    "state of a dict": (held(b"}}b"), "'data' is not"),
    "many arrays": (
        held(b"(" + array_of(b"K\x01K\x04\x86") + array_of(b"K\x01K\x04\x86") + b"l"),
        "'data' is not",
    ),
    "huge memo": (b"\x80\x02}r\xff\xff\xff\xff.", "'data' is not"),  # harmless: the memo is a dict
    "nested tuple as key": (b"}N" + b"\x85" * 50 + b"Ns.", "'data' is not"),
    "huge length": (b"}\x8e" + b"\xff" * 7 + b"\x7fabc.", "damaged or not"),
    "no end": (b"}", "damaged or not"),
    "no stack": (b"\x87.", "damaged or not"),
    "no mark": (b"]t.", "damaged or not"),
    "unknown memo": (b"h\x07.", "damaged or not"),
    "odd dict": (b"}(Nu.", "damaged or not"),
    "not a dict": (b"].", "does not hold a dict"),
    "not a pickle": (b"hello", "damaged or not"),
    "empty": (b"", "damaged or not"),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_pickles(tmp_path: Path, attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content, reason = HOSTILE[attack]
    archive = cifar10(tmp_path, {"test_batch": content})
    before = set(tmp_path.iterdir())
    assert reason in refused(archive)
    assert set(tmp_path.iterdir()) == before


def test_the_pickle_of_array_of_is_a_good_one(tmp_path: Path) -> None:
    """The hostile variants of it are refused for what they change."""
    data = cifar._array(Machine(100).run(io.BytesIO(held(array_of(b"K\x01K\x04\x86"))))["data"])
    assert data is not None
    assert data.tobytes() == b"abcd"


def test_steps_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "MOST_OPCODES", 1000)
    assert "more than 1,000 steps" in refused(cifar10(tmp_path, {"test_batch": b"]" * 1001 + b"."}))


def test_long_names_of_hostile_pickles_are_cut(tmp_path: Path) -> None:
    refused(cifar10(tmp_path, {"test_batch": b"c" + b"x" * 100_000 + b"\ny\n."}))


Change = Callable[[dict[str, dict[str, Any]]], object]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda values: values.pop("test_batch"), "no cifar-10-batches-py/test_batch"),
        (lambda values: values["data_batch_3"].pop("data"), "'data' is not"),
        (lambda values: values["data_batch_3"].pop("labels"), "'labels' is not"),
        (lambda values: values["data_batch_3"].update(data=pixels(2)), "one label per picture"),
        (lambda values: values["data_batch_3"].update(data=pixels(3)[:, :-1]), "N x 3072"),
        (lambda values: values["data_batch_3"].update(data=pixels(0), labels=[]), "N x 3072"),
        (lambda values: values["data_batch_3"].update(labels=[0, 1, 3]), "from 0 to 2"),
        (lambda values: values["data_batch_3"].update(labels=[0, 1, -1]), "from 0 to 2"),
        (lambda values: values["data_batch_3"].update(labels=[0, 1, True]), "from 0 to 2"),
        (lambda values: values["data_batch_3"].update(labels=[0, 1, "2"]), "from 0 to 2"),
        (lambda values: values["batches.meta"].update(label_names=["a", "b", "a"]), "twice"),
        (lambda values: values["batches.meta"].update(label_names=["a", "b", 3]), "list of names"),
        (lambda values: values["batches.meta"].update(label_names=[]), "list of names"),
    ],
)
def test_malformed_content(tmp_path: Path, change: Change, reason: str) -> None:
    values = cifar10_values()
    change(values)
    assert reason in refused(cifar10(tmp_path, values=values))


@pytest.mark.parametrize("coarse", [[0, 1, 0, 1], [0, 1, 0, 2]])
def test_cifar100_with_a_class_in_two_groups(tmp_path: Path, coarse: list[int]) -> None:
    values = cifar100_values()
    values["train"]["coarse_labels"] = coarse
    with pytest.raises(InputError, match=r"one group|from 0 to 1"):
        read_cifar100(cifar100(tmp_path, values))


def test_the_other_cifar(tmp_path: Path) -> None:
    assert "no cifar-10-batches-py" in refused(cifar100(tmp_path, cifar100_values()))


@pytest.mark.parametrize("damage", ["cut", "end", "flip", "text", "empty", "not a tar"])
def test_damaged_archive(tmp_path: Path, damage: str) -> None:
    archive = cifar10(tmp_path)
    content = bytearray(archive.read_bytes())
    match damage:
        case "cut":
            del content[len(content) // 2 :]
        case "end":
            content[-6] ^= 1  # the CRC, which only a reader that goes to the end sees
        case "flip":
            content[len(content) // 2] ^= 1
        case "text":
            content[:] = b"<html>not found</html>" * 100
        case "empty":
            content.clear()
        case "not a tar":
            content[:] = gzip.compress(b"hello" * 1000)
    archive.write_bytes(content)
    assert "damaged or cut short" in refused(archive)


def test_missing_archive(tmp_path: Path) -> None:
    assert "cannot read" in refused(tmp_path / "none.tar.gz")
    assert "cannot read" in refused(tmp_path)


def test_links_in_place_of_files(tmp_path: Path) -> None:
    archive = tmp_path / "links.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("cifar-10-batches-py/test_batch")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    assert "implausible" in refused(archive)


def test_members_and_archive_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = cifar10(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(cifar, "LARGEST_MEMBER", 5000)
        assert "implausible size" in refused(archive)
    monkeypatch.setattr(cifar, "LARGEST_ARCHIVE", 20_000)
    assert "more than 20,000 bytes" in refused(archive)
