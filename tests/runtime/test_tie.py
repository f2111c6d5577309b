"""Weights and ``model.json`` of one run go together; what does not is refused, with the one line that says the way."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from mobilenets.errors import InputError
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime import bundle as module
from mobilenets.runtime.bundle import Bundle, check_weights, read_bundle, write_bundle
from mobilenets.runtime.exported import Exported, file_hash
from mobilenets.runtime.labels import Label, Labels
from mobilenets.runtime.tie import CONTRACT, contract_hash, contract_of_weights

BUNDLE = Bundle({"name": "x", "width": 1}, ("cat", "été"), Preprocessing(32, "crop"))


def weights(folder: Path, value: float = 0.0, bundle: Bundle | None = BUNDLE) -> Path:
    metadata = None if bundle is None else {CONTRACT: contract_hash(bundle.to_json())}
    save_file({"a": np.full(2, value, np.float32)}, folder / "model.safetensors", metadata)
    return folder / "model.safetensors"


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads((folder / "model.json").read_bytes())
    change(value)
    (folder / "model.json").write_text(json.dumps(value), "utf-8")


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["preprocessing"].update(crop_fraction=0.5),
        lambda v: v["preprocessing"].update(resize="stretch"),
        lambda v: v["architecture"].update(width=0.5),
        lambda v: v.update(task="brightness"),
        lambda v: v.update(outputs=7),
    ],
)
def test_an_edit_of_what_decides_is_refused_until_it_is_meant(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    write_bundle(tmp_path, BUNDLE)
    edited(tmp_path, change)
    with pytest.raises(InputError) as caught:
        read_bundle(tmp_path)
    message = str(caught.value)
    assert message.startswith(
        f"{tmp_path / 'model.json'}: its task, architecture, classes or preprocessing were changed"
    )
    assert "\n" not in message and "put them back; or, if you mean it, set" in message
    # What the line says is the way on.
    edited(tmp_path, lambda value: value.update({CONTRACT: message.split('"')[-2]}))
    assert read_bundle(tmp_path) != BUNDLE


def test_what_does_not_decide_may_be_changed(tmp_path: Path) -> None:
    write_bundle(tmp_path, BUNDLE)
    labels = Labels({"cat": Label({"zh": "猫"}, None)})
    edited(tmp_path, lambda v: v.update(threshold=0.5, labels=labels.to_json(), origin={"note": "mine"}))
    # And so may the way in which it is written.
    edited(tmp_path, lambda v: v["architecture"].update(width=1.0))
    assert read_bundle(tmp_path).threshold == 0.5


def test_an_earlier_release_wrote_no_hash(tmp_path: Path) -> None:
    write_bundle(tmp_path, BUNDLE)
    edited(tmp_path, lambda v: (v.pop(CONTRACT), v["preprocessing"].update(resize="pad")))
    assert read_bundle(tmp_path).preprocessing.resize == "pad"
    edited(tmp_path, lambda v: v.update(weights_sha256=7))
    with pytest.raises(InputError, match="weights_sha256 must be a hash"):
        read_bundle(tmp_path)


def test_the_weights_of_another_finished_run_are_refused(tmp_path: Path) -> None:
    """Of the same architecture and classes, so that nothing but their hash tells."""
    finished = replace(BUNDLE, weights=file_hash(weights(tmp_path)))
    check_weights(tmp_path, finished)
    found = file_hash(weights(tmp_path, 1.0))
    with pytest.raises(InputError) as caught:
        check_weights(tmp_path, finished)
    place = tmp_path / "model.safetensors"
    assert str(caught.value) == (
        f"{place}: is damaged, or not what model.json describes: copy both from one run; or, if "
        f'you mean it, set "weights_sha256" in model.json to "{found}"'
    )
    check_weights(tmp_path, replace(finished, weights=found))


def test_the_weights_of_another_run_that_is_not_finished_are_refused(tmp_path: Path) -> None:
    weights(tmp_path)
    check_weights(tmp_path, replace(BUNDLE, threshold=0.3))
    for other in (replace(BUNDLE, classes=("dog", "emu")), replace(BUNDLE, preprocessing=Preprocessing(48))):
        with pytest.raises(InputError, match=r"the weights of another run, or of another model\.json: copy both"):
            check_weights(tmp_path, other)


def test_what_does_not_say_it_goes_on_with_a_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module._say_untied.cache_clear()
    weights(tmp_path, bundle=None)
    with caplog.at_level(logging.INFO, "mobilenets"):
        for _ in range(2):
            check_weights(tmp_path, BUNDLE)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: of an earlier release, whose files do not say whether model.safetensors and model.json belong "
        "together"
    ]
    caplog.clear()
    # Nothing to say of an exported file, nor where there are no weights.
    check_weights(tmp_path, replace(BUNDLE, export=Exported("a.onnx", "onnx", "int8", {"a.onnx": "0" * 64})))
    (tmp_path / "model.safetensors").unlink()
    check_weights(tmp_path, replace(BUNDLE, weights="0" * 64))
    assert caplog.records == []


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=60), length=st.integers(0, 2**63), header=st.text(max_size=20))
def test_any_file_is_read_without_a_fault(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, length: int, header: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "weights"
    text = json.dumps({"__metadata__": {CONTRACT: header}}).encode()
    for made in (content, length.to_bytes(8, "little") + content, len(content).to_bytes(8, "little") + content):
        path.write_bytes(made)
        assert contract_of_weights(path) is None
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    assert contract_of_weights(path) == header
    for odd in (b"[]", b'{"__metadata__": []}', b'{"__metadata__": {"contract_sha256": 1}}', b"[" * 5000):
        path.write_bytes(len(odd).to_bytes(8, "little") + odd)
        assert contract_of_weights(path) is None
    assert contract_of_weights(path.parent) is None


def test_equal_values_have_one_hash() -> None:
    one = {"task": "t", "architecture": {"width": 1, "rows": (1, 2)}, "classes": ["e\u0301"], "preprocessing": {}}
    other = {
        "preprocessing": {},
        "classes": ["\u00e9"],
        "architecture": {"rows": [1.0, 2.0], "width": 1.0},
        "task": "t",
    }
    assert contract_hash(one) == contract_hash(other) == contract_hash(one | {"outputs": None, "threshold": 1})
    assert contract_hash(one) != contract_hash(one | {"outputs": 3})
    assert contract_hash(one) != contract_hash(one | {"architecture": {"width": True, "rows": [1, 2]}})
    assert contract_hash({"preprocessing": {"scale": 10**400}}) != contract_hash({"preprocessing": {"scale": 1}})
