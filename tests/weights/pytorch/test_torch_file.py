from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import os
import pathlib
import runpy
import types
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mobilenets.errors import InputError
from mobilenets.weights.pytorch.checkpoint import STATES
from mobilenets.weights.pytorch.torch_file import read

WRITER: Any = runpy.run_path(str(Path(__file__).with_name("saving.py")))
FORMS, small, save, same = (WRITER[name] for name in ("FORMS", "small", "save", "same"))
REFUSING = runpy.run_path(str(Path(__file__).parents[1] / "refusing.py"))
refused = partial(REFUSING["refused"], read)
# PyTorch warns where its own classes are saved with their source.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.pth"


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
        ("idx_to_class", {"0": "cat", "2": "dog"}),
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
