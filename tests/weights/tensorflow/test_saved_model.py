"""SavedModels as Keras and TensorFlow wrote them (tests/fixtures/make_saved_model.py), read without TensorFlow."""

from __future__ import annotations

import random
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobilenets.errors import InputError
from mobilenets.weights.convert import convert
from mobilenets.weights.tensorflow import saved_model

SHARED: Any = runpy.run_path(str(Path(__file__).with_name("shared.py")))
field, write, entry, whole = (SHARED[name] for name in ("field", "write", "entry", "whole"))
FIXTURES = Path(__file__).parents[2] / "fixtures" / "saved_model"
KINDS = ("exported", "saved", "keras2")


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_tensorflows(kind: str) -> None:
    answers = np.load(FIXTURES / "answers.npz")
    converted = convert(FIXTURES / kind)
    contract = converted.model.bundle.preprocessing
    batch = contract.normalise(answers["pictures"]).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        given = converted.model.network(torch.from_numpy(batch.copy())).softmax(1).numpy()
    assert np.ptp(answers[kind], axis=0).max() > 1e-3
    assert np.abs(given - answers[kind]).max() < 3e-7
    assert (contract.size, contract.resize, contract.mean) == (32, "stretch", (0.5, 0.5, 0.5))
    assert converted.foreign.format == "TensorFlow SavedModel"
    assert any("stretched" in note for note in converted.notes)


@pytest.mark.parametrize("name", ["saved_model.pb", "variables", "variables/variables.index"])
def test_any_part_of_it_stands_for_the_folder(name: str) -> None:
    whole, part = convert(FIXTURES / "saved"), convert(FIXTURES / "saved" / name)
    assert whole.foreign.format == part.foreign.format == "TensorFlow SavedModel"
    state = part.model.network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in whole.model.network.state_dict().items())


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        saved_model.read(folder)
    assert str(caught.value).startswith(f"{folder}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_its_variables(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "saved" / "saved_model.pb", tmp_path)
    assert "are not in the file" in refused(tmp_path)


def test_damage(tmp_path: Path) -> None:
    """Bytes changed or cut off anywhere: an InputError, or layers."""
    shutil.copytree(FIXTURES / "saved", tmp_path / "m")
    files = [path for path in (tmp_path / "m").rglob("*") if path.is_file()]
    generator, reasons = random.Random(0), set()
    for turn in range(24):
        file = files[turn % len(files)]
        content = file.read_bytes()
        damaged = bytearray(content)
        for _ in range(20):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        file.write_bytes(damaged[: generator.randrange(len(damaged))] if turn % 2 else damaged)
        try:
            saved_model.read(tmp_path / "m")
        except InputError as error:
            reasons.add(str(error))
            assert str(error).startswith(f"{tmp_path / 'm'}: ")
            assert "\n" not in str(error)
        file.write_bytes(content)
    assert len(reasons) > 5


def save(folder: Path, graph: bytes, output: str) -> None:
    signature = field(1, "serving_default") + field(2, field(2, field(1, "o") + field(2, field(1, f"{output}:0"))))
    (folder / saved_model.FILE).write_bytes(field(2, field(2, graph) + field(5, signature)))


@pytest.mark.parametrize("kind", [7, 22])  # texts, such as the names of classes; uint32, a generator's state
def test_variables_that_are_no_numbers_of_the_network(tmp_path: Path, kind: int) -> None:
    variables = tmp_path / "variables"
    variables.mkdir()
    write(variables, {}, extra={"v": entry(np.zeros(2, np.uint32), 0, kind=kind)}, name="variables")
    graph = whole()
    graph.add("v", "VarHandleOp")
    graph.add("end", "Gather", graph.add("names", "ReadVariableOp", "v"), graph.add("best", "ArgMax", "logits"))
    save(tmp_path, graph.bytes(), "end")
    assert [layer.kind for layer in saved_model.read(tmp_path).layers][-1] == "linear"


def test_functions_that_only_call_each_other(tmp_path: Path) -> None:
    """Twice each, 18 deep: none has a node of its own that would count."""

    def node(name: bytes, op: bytes, *inputs: bytes) -> bytes:
        return field(1, name) + field(2, op) + b"".join(field(3, source) for source in inputs)

    def function(number: int, *calls: bytes) -> bytes:
        signature = field(1, b"f%d" % number) + field(2, field(1, b"x")) + field(3, field(1, b"o"))
        last = b"b" if calls else b"x"
        return field(
            1,
            field(1, signature)
            + b"".join(field(3, call) for call in calls)
            + field(4, field(1, b"o") + field(2, last)),
        )

    calls = [(node(b"a", b"f%d" % n, b"x"), node(b"b", b"f%d" % n, b"a")) for n in range(1, 19)]
    library = b"".join(function(n, *both) for n, both in enumerate(calls)) + function(18)
    graph = field(1, node(b"p", b"Placeholder")) + field(1, node(b"y", b"f0", b"p")) + field(2, library)
    save(tmp_path, graph, "y")
    assert "it calls more than" in refused(tmp_path)
