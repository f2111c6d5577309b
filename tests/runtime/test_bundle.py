from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobilenets.errors import InputError
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime import bundle as module
from mobilenets.runtime.bundle import Bundle, classes_hash, find_bundle, is_model, read_bundle, write_bundle
from mobilenets.runtime.labels import Group, Label, Labels

BUNDLE = Bundle({"name": "x"}, ("cat", "dog", "été 猫"), Preprocessing(32, "pad"), {"weights": "random"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path, BUNDLE)
    return tmp_path


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_bundle(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'model.json'}: ")
    assert "\n" not in message
    return message


def test_labels_threshold_and_no_classes(tmp_path: Path) -> None:
    labels = Labels({"cat": Label({"zh": "猫"}, "pets")}, {"pets": Group({}, "#102030")})
    for bundle in (
        replace(BUNDLE, labels=labels, threshold=0.7),
        replace(BUNDLE, classes=()),
    ):
        write_bundle(tmp_path, bundle)
        assert read_bundle(tmp_path) == bundle


def test_round_trip(folder: Path) -> None:
    assert read_bundle(folder) == BUNDLE
    value = json.loads((folder / "model.json").read_bytes())
    assert value["classes"] == ["cat", "dog", "été 猫"]
    assert value["classes_sha256"] == classes_hash(BUNDLE.classes)
    assert "猫" in (folder / "model.json").read_text("utf-8")


def test_hash_knows_order_and_names() -> None:
    # sha256 of ["a", "b"] as json.dumps writes it.
    assert classes_hash(("a", "b")) == "3554d2b8a1e34099053865de8576d1460b807430ec8c6b85315c9607ba93d308"
    assert classes_hash(("a", "b")) != classes_hash(("b", "a")) != classes_hash(("a, b",))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xfd", b"[" * 100_000, b"1" * 5000, b'{"format": '])
def test_not_json(folder: Path, content: bytes) -> None:
    (folder / "model.json").write_bytes(content)
    said = refusal(folder)
    assert "damaged, not JSON" in said or "not a model description written by mobilenets" in said


def test_a_closed_folder_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    assert not is_model(tmp_path)


def test_truncated_anywhere(folder: Path) -> None:
    whole = (folder / "model.json").read_bytes()
    for length in range(0, len(whole) - 2, 37):
        (folder / "model.json").write_bytes(whole[:length])
        assert "damaged, not JSON" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(format="other"), "not a model description written by mobilenets"),
        (lambda v: v.update(version=2), "version 2, but this release reads version 1"),
        (lambda v: v.pop("version"), "version None"),
        (lambda v: v["classes"].__setitem__(0, "lion"), "do not match their hash; the file was edited or damaged"),
        (lambda v: v["classes"].reverse(), "do not match their hash"),
        (lambda v: v.pop("classes_sha256"), "do not match their hash"),
        (lambda v: v.update(classes=["cat", "cat"]), "a class name occurs twice"),
        (lambda v: v.update(threshold=1.5), "threshold must be a probability"),
        (lambda v: v.update(threshold=True), "threshold must be a probability"),
        (lambda v: v.update(calibration=[]), "calibration must be an object"),
        (
            lambda v: v.update(calibration={"temperature": 0}),
            "calibration must be an object with a temperature above 0",
        ),
        (lambda v: v.update(labels={"classes": {"cat": {"group": "pets"}}}), "which is not among the groups"),
        (lambda v: v.update(classes="cat"), "classes must be a list of names"),
        (lambda v: v.update(classes=["cat", 3]), "classes must be a list of names"),
        (lambda v: v.pop("classes"), "classes must be a list of names"),
        (lambda v: v.update(architecture=[1]), "architecture and origin must be objects"),
        (lambda v: v.update(origin="web"), "architecture and origin must be objects"),
        (lambda v: v.pop("preprocessing"), "preprocessing must be a JSON object"),
        (lambda v: v["preprocessing"].update(resize="zoom"), "resize must be crop or stretch or pad"),
        (lambda v: v["preprocessing"].update(std=[0, 1, 1]), "std must be above 0"),
        (lambda v: v["preprocessing"].pop("mean"), "preprocessing lacks mean"),
        (lambda v: v["preprocessing"].update(gamma=2), "keys that this version does not know: gamma"),
    ],
)
def test_malformed(folder: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    value = json.loads((folder / "model.json").read_bytes())
    change(value)
    (folder / "model.json").write_text(json.dumps(value))
    assert message in refusal(folder)


@pytest.mark.parametrize("value", [None, 3, "text", [], {}])
def test_other_json(folder: Path, value: object) -> None:
    (folder / "model.json").write_text(json.dumps(value))
    assert "not a model description written by mobilenets" in refusal(folder)


def test_too_large_to_be_a_description(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DESCRIPTION_BYTES", 100)
    assert "so not the description of a model" in refusal(folder)


def test_finding(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")
    for place in (folder, folder / "model.json", folder / "model.safetensors"):
        assert find_bundle(place) == folder
    with pytest.raises(InputError, match="no such model; give a run folder"):
        find_bundle(folder / "nowhere")
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=r"no model.json there; give the folder that `mobilenets train --out` wrote"):
        find_bundle(folder / "empty")
