from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import io
import os
import pathlib
import pickle
import pickletools
import struct
import time
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mobilenets.errors import InputError
from mobilenets.weights import layers
from mobilenets.weights.pytorch import torch_file
from mobilenets.weights.pytorch.checkpoint import STATES
from mobilenets.weights.pytorch.torch_file import read
from mobilenets.weights.pytorch.torch_pickle import MOST_OPCODES

FORMS = ("zip", "legacy")
# PyTorch warns where its own classes are saved with their source.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def small(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    network = nn.Sequential(
        collections.OrderedDict(
            stem=nn.Conv2d(3, 4, 3, bias=False), norm=nn.BatchNorm2d(4), middle=nn.Conv2d(4, 4, 3, groups=4)
        )
    )
    network.add_module("classifier", nn.Linear(4, 2))
    with torch.no_grad():
        network.norm.running_mean.normal_()
        network.norm.running_var.uniform_(0.5, 2)
    return network


def save(value: object, path: Path, form: str = "zip", **settings: Any) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=form == "zip", **settings)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.pth"


def refused(path: Path) -> str:
    start = time.process_time()
    with pytest.raises(InputError) as caught:
        read(path)
    assert time.process_time() - start < 5
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 300
    return message


def same(path: Path, state: dict[str, torch.Tensor]) -> None:
    foreign = read(path)
    found = {f"{layer.name}.{part}": array for layer in foreign.layers for part, array in layer.arrays.items()}
    assert set(found) == {name for name, value in state.items() if value.ndim}
    for name, array in found.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, state[name].detach().float(), err_msg=name)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_state_dictionary(file: Path, form: str, protocol: int, kind: torch.dtype) -> None:
    state = small().to(kind).state_dict()
    same(save(state, file, form, pickle_protocol=protocol), state)
    foreign = read(file)
    assert [layer.name for layer in foreign.layers] == ["stem", "norm", "middle", "classifier"]
    assert foreign.ignored == ("norm.num_batches_tracked",)
    assert foreign.format == "PyTorch"


@pytest.mark.parametrize("form", FORMS)
def test_views_of_storages(file: Path, form: str) -> None:
    shared = torch.randn(400)
    brain = torch.randn(8, 8).bfloat16()
    state = {
        "a.weight": torch.randn(6, 4).t(),
        "b.weight": torch.randn(4, 5, 3, 3).contiguous(memory_format=torch.channels_last),
        "c.weight": shared[10:50].view(5, 8),
        "d.weight": shared[20:120].view(10, 10)[::2, 1::3],
        "e.weight": torch.randn(1, 3).expand(5, 3),
        "f.weight": brain.t()[1:, 2:],
        "f.bias": brain[0, 1:],
        "g.weight": nn.Parameter(torch.randn(2, 2)),
    }
    assert not any(state[f"{name}.weight"].is_contiguous() for name in "abdef")
    same(save(state, file, form), state)


@pytest.mark.parametrize("form", FORMS)
def test_checkpoints(file: Path, form: str) -> None:
    network = small()
    optimizer = torch.optim.Adam(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    value = {
        "epoch": 7,
        "best": 0.75,
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": {"milestones": collections.Counter([3, 5]), "gamma": 0.1, "last": None},
        "args": {"lr": 1e-3, "betas": (0.9, 0.999), "name": "x", "flags": [True, False], "size": torch.Size([3, 4])},
        "device": torch.device("cpu"),
        "kinds": {torch.float32.__str__(): torch.bfloat16},
        "seen": {1, 2},
    }
    same(save(value, file, form), network.state_dict())
    foreign = read(file)
    assert foreign.notes[0] == "the weights used are those under 'model'"
    assert foreign.classes is None


@pytest.mark.parametrize("key", [*STATES, "state_dict_ema", "model_ema", "ema_model", "0"])
def test_where_checkpoints_keep_the_weights(file: Path, key: str) -> None:
    state = small().state_dict()
    same(save({key: state, "epoch": 1}, file), state)


def test_a_moving_average_goes_first_and_is_named(file: Path) -> None:
    average = torch.optim.swa_utils.AveragedModel(small(1))
    value = {"model": small(0).state_dict(), "model_ema": average.state_dict()}
    same(save(value, file), average.state_dict())
    foreign = read(file)
    assert foreign.assumed[0] == (
        "the weights used are those under 'model_ema', a moving average; choose 'model' with --output model"
    )
    plain = read(file, "model")
    assert plain.assumed[0] == "the weights used are those under 'model'; choose 'model_ema' with --output model_ema"
    np.testing.assert_array_equal(plain.layers[0].arrays["weight"], small(0).stem.weight.detach())
    with pytest.raises(InputError, match="nothing named 'other'"):
        read(file, "other")
    assert "n_averaged" in foreign.ignored


def test_nested_checkpoints(file: Path) -> None:
    state = small().state_dict()
    same(save({"model": {"state_dict": state}, "classes": ["a", "b"]}, file), state)
    assert read(file).classes == ("a", "b")


CLASSES: dict[str, Any] = {
    "classes": ["cat", "dog"],
    "class_names": ("cat", "dog"),
    "class_to_idx": {"dog": 1, "cat": 0},
    "idx_to_class": {1: "dog", 0: "cat"},
}


@pytest.mark.parametrize("key", CLASSES)
def test_class_names(file: Path, key: str) -> None:
    foreign = read(save({"state_dict": small().state_dict(), key: CLASSES[key]}, file))
    assert foreign.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", ["cat", "cat"]),
        ("classes", ["cat", 3]),
        ("classes", []),
        ("class_to_idx", {"cat": 0, "dog": 2}),
        ("class_to_idx", {"cat": 0, "dog": [1]}),
        ("idx_to_class", {"0": "cat"}),
    ],
)
def test_unclear_class_names_are_left_out_and_said(file: Path, key: str, value: object) -> None:
    foreign = read(save({"state_dict": small().state_dict(), key: value}, file))
    assert foreign.classes is None
    assert f"the class names under {key!r} are not" in foreign.notes[-1]


class Danger:
    """Pickles to a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


UNWANTED: dict[str, tuple[Callable[[], object], str]] = {
    "torch.load": (lambda: Danger(torch.load, "ran"), "no state dictionary"),
    "a numpy array": (lambda: {"a.weight": np.ones((1, 1))}, "not a tensor of plain numbers (numpy"),
    "a sparse tensor": (lambda: {"a.weight": torch.eye(2).to_sparse()}, "(torch._utils _rebuild_sparse_tensor)"),
    "a quantized tensor": (
        lambda: {"a.weight": torch.quantize_per_tensor(torch.ones(2), 1, 0, torch.qint8)},
        "'a.weight' is quantised",
    ),
    "an 8-bit float": (lambda: {"a.weight": torch.ones(2, 2).to(torch.float8_e4m3fn)}, "_rebuild_tensor_v3)"),
    "complex numbers": (lambda: {"a.weight": torch.ones(2, 2, dtype=torch.complex64)}, "(ComplexFloat)"),
    "a complex one among others": (
        lambda: {"a.weight": torch.ones(1, 1), "b.weight": torch.ones(2, 2, dtype=torch.complex64)},
        "'b.weight' is not a tensor of plain numbers (ComplexFloat)",
    ),
    "one tensor": (lambda: torch.ones(2, 2), "no state dictionary"),
    "a list of tensors": (lambda: [torch.ones(2, 2)], "no state dictionary"),
    "no tensors": (lambda: {"model": {"epoch": 1}}, "no state dictionary"),
    "nothing": (lambda: None, "no state dictionary"),
    "keys that are no text": (lambda: {1: torch.ones(2, 2)}, "no state dictionary"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", UNWANTED)
def test_what_holds_no_weights_is_refused(
    tmp_path: Path, name: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, reason = UNWANTED[name]
    message = refused(save(make(), tmp_path / "model.pth", form))
    assert reason in message
    assert "save only model.state_dict()" in message
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pth"]


class Level(enum.Enum):
    LOW = 1


def plus(a: int, b: int) -> int:
    return a + b


# What training leaves in a checkpoint beside weights; none of it is looked up, called or made.
BESIDE: dict[str, Callable[[], object]] = {
    "os.system": lambda: Danger(os.system, "touch ran"),
    "eval": lambda: Danger(eval, "open('ran', 'w')"),
    "exec": lambda: [Danger(exec, "open('ran', 'w')")],
    "getattr": lambda: Danger(getattr, "x", "upper"),
    "arguments of a command line": lambda: argparse.Namespace(lr=1, path=Path("x"), betas=(0.9, 0.99)),
    "a simple namespace": lambda: types.SimpleNamespace(lr=1),
    "a numpy scalar": lambda: np.float64(1),
    "a numpy array": lambda: np.arange(12).reshape(3, 4),
    "a path": lambda: pathlib.PurePosixPath("/data"),
    "an enum": lambda: Level.LOW,
    "a time": lambda: datetime.datetime(2026, 1, 2),
    "a deque": lambda: collections.deque([1, 2], maxlen=3),
    "sets": lambda: [{1, 2}, frozenset({"a"})],
    "a partial": lambda: functools.partial(plus, 1),
    "a function": lambda: plus,
    "a class": lambda: nn.ReLU,
    "dicts of other kinds": lambda: [collections.defaultdict(list, {"a": [1]}), collections.Counter("aab")],
    "tuples as keys": lambda: {(1, (2,)): 3, None: 4, 1.5: 5, True: 6},
    "kinds of torch": lambda: [torch.float16, torch.device("cpu"), torch.Size([1])],
    "a generator": lambda: torch.get_rng_state(),
    "an exception": lambda: ValueError("x"),
    "a slice": lambda: slice(1, 2),
    "large numbers": lambda: [1 << 70, -(1 << 3000), 1e300, b"x" * 300, bytearray(b"x"), "é" * 300],
    "a sparse tensor": lambda: torch.eye(2).to_sparse(),
    "a complex tensor": lambda: torch.ones(3, dtype=torch.complex64),
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", BESIDE)
def test_what_stands_beside_weights_is_opaque(
    tmp_path: Path, name: str, protocol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = small().state_dict()
    value = {"before": BESIDE[name](), "model": state, "after": {"inner": BESIDE[name]()}}
    for form in FORMS:
        path = save(value, tmp_path / "model.pth", form, pickle_protocol=protocol)
        same(path, state)
        assert read(path).notes[0] == "the weights used are those under 'model'"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pth"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "not finite"),
        (float("inf"), "not finite"),
        (-float("inf"), "not finite"),
    ],
)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_values_that_are_not_finite(file: Path, value: float, reason: str, kind: torch.dtype) -> None:
    assert reason in refused(save({"a.weight": torch.tensor([[1, value]], dtype=kind)}, file))


def test_programs_of_torch_export_are_refused(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/models/model.json", "{}")
    assert "torch.export, which holds a program; in PyTorch, save only model.state_dict()" in refused(file)


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


def read_or_refused(path: Path, content: bytes) -> bool:
    path.write_bytes(content)
    try:
        read(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
        return False
    return True


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
