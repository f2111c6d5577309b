"""SavedModels as Keras and TensorFlow wrote them (tests/fixtures/make_saved_model.py), read without TensorFlow."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mobilenets.errors import InputError
from mobilenets.weights.convert import convert
from mobilenets.weights.tensorflow import saved_model

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
        whole = file.read_bytes()
        damaged = bytearray(whole)
        for _ in range(20):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        file.write_bytes(damaged[: generator.randrange(len(damaged))] if turn % 2 else damaged)
        try:
            saved_model.read(tmp_path / "m")
        except InputError as error:
            reasons.add(str(error))
            assert str(error).startswith(f"{tmp_path / 'm'}: ")
            assert "\n" not in str(error)
        file.write_bytes(whole)
    assert len(reasons) > 5


def part(field: int, content: bytes) -> bytes:
    """Give a field of a protocol buffer, with up to 2 MB in it."""
    length = len(content)
    sizes = [length & 127 | (128 if length >> 7 else 0), length >> 7 & 127 | (128 if length >> 14 else 0), length >> 14]
    return bytes([field << 3 | 2, *sizes[: 1 + (length > 127) + (length > 16_383)]]) + content


def test_functions_that_only_call_each_other(tmp_path: Path) -> None:
    """Twice each, 18 deep: none has a node of its own that would count."""

    def node(name: bytes, op: bytes, *inputs: bytes) -> bytes:
        return part(1, name) + part(2, op) + b"".join(part(3, source) for source in inputs)

    def function(number: int, *calls: bytes) -> bytes:
        signature = part(1, b"f%d" % number) + part(2, part(1, b"x")) + part(3, part(1, b"o"))
        last = b"b" if calls else b"x"
        return part(
            1, part(1, signature) + b"".join(part(3, call) for call in calls) + part(4, part(1, b"o") + part(2, last))
        )

    calls = [(node(b"a", b"f%d" % n, b"x"), node(b"b", b"f%d" % n, b"a")) for n in range(1, 19)]
    library = b"".join(function(n, *both) for n, both in enumerate(calls)) + function(18)
    graph = part(1, node(b"p", b"Placeholder")) + part(1, node(b"y", b"f0", b"p")) + part(2, library)
    signature = part(1, b"serving_default") + part(2, part(2, part(1, b"o") + part(2, part(1, b"y:0"))))
    (tmp_path / saved_model.FILE).write_bytes(part(2, part(2, graph) + part(5, signature)))
    assert "it calls more than" in refused(tmp_path)
