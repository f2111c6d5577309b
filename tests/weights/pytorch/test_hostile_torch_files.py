"""Files of torch.save that are damaged, hostile or too large: one line each, within 5 s."""

from __future__ import annotations

import io
import pickle
import pickletools
import runpy
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mobilenets.weights import layers
from mobilenets.weights.pytorch import torch_file
from mobilenets.weights.pytorch.torch_file import read
from mobilenets.weights.pytorch.torch_pickle import MOST_OPCODES

WRITER: Any = runpy.run_path(str(Path(__file__).with_name("saving.py")))
FORMS, small, save, same = (WRITER[name] for name in ("FORMS", "small", "save", "same"))
REFUSING = runpy.run_path(str(Path(__file__).parents[1] / "refusing.py"))
refused, read_or_refused = (partial(REFUSING[name], read) for name in ("refused", "read_or_refused"))
# PyTorch warns where its own classes are saved with their source.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.pth"


def entries_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def tensor(
    numbers: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], held: int = 16
) -> dict[str, bytes]:
    """Give the entries of an archive of one tensor, with each of its figures as given."""

    def whole(value: int) -> bytes:
        return b"\x8a\x14" + value.to_bytes(20, "little", signed=True)

    def wholes(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(whole, values)) + b"t"

    storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpu" + whole(numbers) + b"tQ"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + whole(offset) + wholes(shape) + wholes(strides)
    content = b"\x80\x02}U\x08a.weight" + made + b"\x89ccollections\nOrderedDict\n)RtRs."
    return {"x/data.pkl": content, "x/data/0": np.arange(held, dtype="<f4").tobytes()}


def test_the_archive_of_tensor_is_a_good_one(file: Path) -> None:
    """The hostile variants of it are refused for what they change."""
    (layer,) = read(pack(file, tensor(16, 2, (3, 2), (4, 1)))).layers
    assert layer.arrays["weight"].tolist() == [[2, 3], [6, 7], [10, 11]]


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ((16, 11, (3, 2), (4, 1)), "damaged"),  # its last number is the 17th
        ((16, 0, (3, 2), (8, 1)), "damaged"),
        ((16, 1 << 70, (3, 2), (4, 1)), "damaged"),
        ((16, 0, (3, 2), (1 << 70, 1)), "damaged"),
        ((16, -1, (3, 2), (4, 1)), "damaged"),
        ((16, 8, (3, 2), (-4, 1)), "damaged"),
        ((16, 0, (-3, -2), (4, 1)), "damaged"),
        ((16, 0, (3, 2), (4,)), "damaged"),
        ((16, 0, (1,) * 30, (1,) * 30), "damaged"),
        ((15, 0, (3, 2), (4, 1)), "damaged"),  # the entry holds 16
        ((17, 0, (3, 2), (4, 1)), "damaged"),
        ((1 << 60, 1 << 59, (3, 2), (4, 1)), "damaged"),
        ((-16, 0, (3, 2), (4, 1)), "damaged"),
        ((16, 0, (0, 2), (4, 1)), "shape (0, 2)"),
        ((16, 0, (0, 1 << 70), (4, 1)), "damaged"),
        ((16, 0, (1 << 20, 1 << 20), (0, 0)), "bytes of arrays"),
        ((16, 0, (1 << 70, 1 << 70), (0, 0)), "bytes of arrays"),
    ],
)
def test_figures_of_a_tensor(file: Path, figures: tuple[Any, ...], reason: str) -> None:
    assert reason in refused(pack(file, tensor(*figures)))


def test_many_views_of_one_storage(file: Path) -> None:
    one = torch.ones(1)
    save({f"{i}.weight": one.expand(1 << 12, 1 << 12) for i in range(5)}, file)
    assert "335544320 bytes" in refused(file)


def change_pickle(path: Path, change: Callable[[bytes], bytes]) -> Path:
    entries = {
        name: change(content) if name.endswith("data.pkl") else content for name, content in entries_of(path).items()
    }
    return pack(path, entries)


ZIPS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "big-endian": (lambda path: pack(path, entries_of(path) | {"model/byteorder": b"big"}), "big-endian"),
    "compressed": (lambda path: pack(path, entries_of(path), zipfile.ZIP_DEFLATED), "compressed"),
    "upwards": (lambda path: pack(path, entries_of(path) | {"model/data/../../x": b""}), "outside its own folder"),
    "from the root": (lambda path: pack(path, entries_of(path) | {"/etc/passwd": b""}), "outside its own folder"),
    "no pickle": (lambda path: pack(path, {"a": b""}), "not from torch.save"),
    "two pickles": (lambda path: pack(path, entries_of(path) | {"x/data.pkl": b""}), "not from torch.save"),
    "nothing": (lambda path: pack(path, {}), "not from torch.save"),
    "no storage": (
        lambda path: pack(path, {n: c for n, c in entries_of(path).items() if not n.endswith("data/1")}),
        "damaged",
    ),
    "many steps": (lambda path: change_pickle(path, lambda _: b"N0" * 200_000), "300,000 steps"),
    "very many steps": (lambda path: change_pickle(path, lambda _: b"]" * 2_000_000), "more than 300,000 steps"),
    "nested tuples": (lambda path: change_pickle(path, lambda _: b"N" + b"\x85" * 290_000 + b"."), "no state"),
    "a huge length": (lambda path: change_pickle(path, lambda _: b"\x8e" + b"\xff" * 7 + b"\x7f."), "damaged"),
    "a huge number": (lambda path: change_pickle(path, lambda _: b"I" + b"9" * 5_000_000 + b"\n."), "damaged"),
    "a dict in itself": (
        lambda path: change_pickle(path, lambda _: b"}q\x00U\x05modelh\x00s."),
        "no state dictionary",
    ),
    "a name of another kind": (
        lambda path: change_pickle(path, lambda c: c.replace(b"FloatS", b"FloatX")),
        "FloatXtorage",
    ),
    "another function": (
        lambda path: change_pickle(path, lambda c: c.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v9")),
        "_v9)",
    ),
    "a storage of two kinds": (
        lambda path: change_pickle(path, lambda c: c.replace(b"LongS", b"IntS").replace(b"\x015q", b"\x014q")),
        "damaged",
    ),
    "an object": (lambda path: change_pickle(path, lambda _: b"cos\nsystem\n)\x81."), "no state dictionary"),
    "an extension": (lambda path: change_pickle(path, lambda _: b"\x82\x01."), "EXT1"),
    "a persistent module": (lambda path: change_pickle(path, lambda _: b"(U\x06moduleNNNtQ."), "no state dictionary"),
    "a persistent text": (lambda path: change_pickle(path, lambda _: b"Pstorage\n."), "PERSID"),
    "no end": (lambda path: change_pickle(path, lambda c: c[:-1]), "damaged"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("attack", ZIPS)
def test_hostile_archives(file: Path, attack: str) -> None:
    make, reason = ZIPS[attack]
    path = make(save(small().state_dict(), file))
    assert reason in refused(path)
    assert [entry.name for entry in file.parent.iterdir()] == ["model.pth"]


def test_an_archive_packed_anew_is_read(file: Path) -> None:
    """The hostile variants of it are refused for what they change."""
    state = small().state_dict()
    path = save(state, file)
    same(change_pickle(path, bytes), state)


def test_a_zip_bomb(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = entries_of(save(small().state_dict(), file))
    pack(file, entries | {"model/data/9": bytes(3 << 20)}, zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(layers, "MAX_BYTES", 1 << 20)
    assert file.stat().st_size < 1 << 20
    assert "bytes of arrays" in refused(file)


def test_a_hundred_thousand_entries(file: Path) -> None:
    content = pack(file, {"x/data.pkl": b"N."}).read_bytes()
    directory, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    count = 100_000
    entries = content[directory:end] * count
    numbers = struct.pack("<HHLLH", count & 0xFFFF, count & 0xFFFF, len(entries), directory, 0)
    file.write_bytes(content[:directory] + entries + content[end : end + 8] + numbers)
    with zipfile.ZipFile(file) as archive:
        assert len(archive.infolist()) == count
    assert f"{count} arrays" in refused(file)


def test_limits_of_size(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save({f"{i}.weight": torch.ones(1, 1) for i in range(20)}, file)
    monkeypatch.setattr(torch_file, "MAX_PICKLE", 500)
    assert "a pickle of more than 500 bytes" in refused(file)
    monkeypatch.setattr(layers, "MAX_ARRAYS", 40)
    assert "bytes" in refused(file)
    monkeypatch.setattr(layers, "MAX_ARRAYS", 19)
    assert "arrays" in refused(file)
    monkeypatch.setattr(layers, "MAX_BYTES", 500)
    assert f"{file.stat().st_size} bytes" in refused(file)


def legacy(*values: object, end: bytes = b"") -> bytes:
    file = io.BytesIO()
    for value in values:
        file.write(value if isinstance(value, bytes) else pickle.dumps(value, 2))
    return file.getvalue() + end


MAGIC = 0x1950A86A20F9469CFC6C
LITTLE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
ONE_TENSOR = tensor(16, 0, (4, 4), (4, 1))["x/data.pkl"]
SIXTEEN = struct.pack("<q", 16) + tensor(16, 0, (4, 4), (4, 1))["x/data/0"]

LEGACY: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "damaged"),
    "text": (b"<html>not found</html>", "damaged"),
    "another pickle": (pickle.dumps({"a": 1}), "not from torch.save"),
    "another magic": (legacy(1, 1001, LITTLE, ONE_TENSOR, ["0"], end=SIXTEEN), "not from torch.save"),
    "another version": (legacy(MAGIC, 1002, LITTLE, ONE_TENSOR, ["0"], end=SIXTEEN), "not from torch.save"),
    "big-endian": (
        legacy(MAGIC, 1001, LITTLE | {"little_endian": False}, ONE_TENSOR, ["0"], end=SIXTEEN),
        "big-endian",
    ),
    "no byte order": (legacy(MAGIC, 1001, [], ONE_TENSOR, ["0"], end=SIXTEEN), "damaged"),
    "no storages": (legacy(MAGIC, 1001, LITTLE, ONE_TENSOR, [], end=b""), "damaged"),
    "a storage of no tensor": (legacy(MAGIC, 1001, LITTLE, ONE_TENSOR, ["0", "1"], end=SIXTEEN), "damaged"),
    "keys that are no list": (legacy(MAGIC, 1001, LITTLE, ONE_TENSOR, {"0": 0}, end=SIXTEEN), "damaged"),
    "keys that are lists": (legacy(MAGIC, 1001, LITTLE, ONE_TENSOR, [["0"]], end=SIXTEEN), "damaged"),
    "a shorter storage": (legacy(MAGIC, 1001, LITTLE, ONE_TENSOR, ["0"], end=SIXTEEN[:-4]), "damaged"),
    "a longer storage": (legacy(MAGIC, 1001, LITTLE, ONE_TENSOR, ["0"], end=SIXTEEN + b"\0"), "damaged"),
    "the wrong length": (
        legacy(MAGIC, 1001, LITTLE, ONE_TENSOR, ["0"], end=struct.pack("<q", 1 << 60) + SIXTEEN[8:]),
        "damaged",
    ),
    "a view of a storage": (
        legacy(MAGIC, 1001, LITTLE, ONE_TENSOR.replace(b"tQ", b"(U\x011K\x00K\x10ttQ"), ["0"], end=SIXTEEN),
        "more than tensors",
    ),
}


def test_the_legacy_file_is_a_good_one(file: Path) -> None:
    """The hostile variants of it are refused for what they change."""
    file.write_bytes(legacy(MAGIC, 1001, LITTLE, ONE_TENSOR, ["0"], end=SIXTEEN))
    np.testing.assert_array_equal(read(file).layers[0].arrays["weight"], np.arange(16).reshape(4, 4))


@pytest.mark.parametrize("attack", LEGACY)
def test_hostile_legacy_files(file: Path, attack: str) -> None:
    content, reason = LEGACY[attack]
    file.write_bytes(content)
    assert reason in refused(file)


def test_files_that_are_not_there(file: Path) -> None:
    assert "No such file" in refused(file)
    assert "Is a directory" in refused(file.parent)


@pytest.mark.parametrize("form", FORMS)
def test_cut_anywhere(file: Path, form: str) -> None:
    content = save(small().state_dict(), file, form).read_bytes()
    step = len(content) // 150
    assert not any(read_or_refused(file, content[:end]) for end in range(0, len(content), step))
    assert not read_or_refused(file, content[:-1])


@pytest.mark.parametrize("form", FORMS)
def test_flipped_bits(file: Path, form: str) -> None:
    content = save(small().state_dict(), file, form).read_bytes()
    random = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(content)
        damaged[random.integers(len(content))] ^= 1 << int(random.integers(8))
        read_or_refused(file, bytes(damaged))


def test_a_flipped_bit_of_the_weights_is_found_in_an_archive(file: Path) -> None:
    content = bytearray(save(small().state_dict(), file).read_bytes())
    weight = small().stem.weight.detach().numpy().tobytes()
    content[content.index(weight) + 10] ^= 4
    assert not read_or_refused(file, bytes(content))


def test_every_opcode_of_a_state_dictionary_is_plain(file: Path) -> None:
    """The steps allowed are far above those of a checkpoint with an optimiser's state."""
    network = nn.Sequential(*[nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)) for _ in range(53)])
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(2, 8, 4, 4)).sum().backward()
    optimizer.step()
    save({"model": network.state_dict(), "optimizer": optimizer.state_dict()}, file)
    steps = sum(1 for _ in pickletools.genops(entries_of(file)["model/data.pkl"]))
    assert 30_000 < steps < MOST_OPCODES / 8
    same(file, network.state_dict())
