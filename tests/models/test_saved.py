from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mobilenets
from mobilenets.errors import InputError
from mobilenets.models.saved import load_model, mismatch, save_weights
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle, write_bundle
from mobilenets.verbs.models import create_model

WEIGHTS = "model.safetensors"
SOURCES = Path(mobilenets.__file__).parent


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    network = create_model("mobilenet_v2", 3, 0.25, size=32)
    save_weights(folder / WEIGHTS, network.to(memory_format=torch.channels_last).state_dict())  # type: ignore[call-overload]
    write_bundle(folder, Bundle(network.architecture.to_json(), ("a", "b", "c"), Preprocessing(32)))
    return folder


def refusal(model: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_model(model)
    message = str(caught.value)
    assert "\n" not in message
    return message


def edit(model: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_file(model / WEIGHTS)
    change(state)
    save_file(state, model / WEIGHTS)


def test_comes_back_as_it_was(model: Path) -> None:
    for place in (model, model / WEIGHTS, model / "model.json"):
        saved = load_model(place)
        assert saved.bundle.classes == ("a", "b", "c")
        assert not saved.network.training
        stored = load_file(model / WEIGHTS)
        assert mismatch(saved.network.state_dict(), stored) is None
        assert all(torch.equal(tensor, stored[name]) for name, tensor in saved.network.state_dict().items())


def test_same_weights_same_bytes_whatever_the_layout(tmp_path: Path) -> None:
    network = create_model("mobilenet_v1", 3, 0.25, size=32)
    save_weights(tmp_path / "one", network.state_dict())
    save_weights(tmp_path / "two", network.to(memory_format=torch.channels_last).state_dict())  # type: ignore[call-overload]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_truncated(model: Path) -> None:
    path = model / WEIGHTS
    whole = path.read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert refusal(model) == f"{path}: is damaged: not a complete safetensors file; copy or train the model again"


def test_a_closed_file_is_not_called_damaged(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def closed(path: Path, *how: Any, **more: Any) -> Any:  # root, as in containers, may read everything
        if path.name == WEIGHTS:
            raise PermissionError(13, "Permission denied")
        return opened(path, *how, **more)

    monkeypatch.setattr(Path, "open", closed)
    assert refusal(model) == f"{model / WEIGHTS}: cannot be read: Permission denied"


@pytest.mark.parametrize("content", [b"\x80\x04K\x01.", b"PK\x03\x04" + bytes(200), b"\xff" * 64, b"\0" * 64])
def test_another_format(model: Path, content: bytes) -> None:
    (model / WEIGHTS).write_bytes(content)
    assert "is damaged: not a complete safetensors file" in refusal(model)


def test_missing(model: Path) -> None:
    (model / WEIGHTS).unlink()
    assert refusal(model) == f"{model / WEIGHTS}: is missing; copy or train the model again"
    assert "no such model" in refusal(model / "nowhere")
    (model / WEIGHTS).mkdir()
    assert "is damaged" in refusal(model)
    (model / "model.json").unlink()
    assert "no model.json there" in refusal(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("classifier.bias"), "1 missing (classifier.bias)"),
        (lambda s: s.update(extra=torch.zeros(1)), "1 surplus (extra)"),
        (
            lambda s: s.update({"classifier.weight": torch.zeros(4, 1280)}),
            "classifier.weight is (4, 1280), not (3, 1280)",
        ),
        (lambda s: s.update({"classifier.bias": s["classifier.bias"].double()}), "is torch.float64, not torch.float32"),
        (lambda s: s["classifier.bias"].fill_(float("nan")), "classifier.bias holds values that are not finite"),
        (lambda s: s["body.conv0.norm.running_var"].fill_(float("inf")), "running_var holds values that are not"),
    ],
)
def test_weights_of_another_network(
    model: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    edit(model, change)
    said = refusal(model)
    assert said.startswith(f"{model / WEIGHTS}: not the weights that model.json describes: ")
    assert message in said


def test_description_of_a_giant(model: Path) -> None:
    """A description that would take all memory is compared with the file before anything is allocated."""
    path = model / "model.json"
    value = json.loads(path.read_bytes())
    value["architecture"]["width"] = 16.0
    for row in value["architecture"]["table"]["body"]:
        row["channels"] = 60_000
    del value["contract_sha256"]  # as an earlier release wrote it
    path.write_text(json.dumps(value))
    said = refusal(model)
    assert str(model) in said


def test_wrong_architecture(model: Path) -> None:
    path = model / "model.json"
    value = json.loads(path.read_bytes())
    value["architecture"]["table"]["body"][1]["kind"] = "magic"
    del value["contract_sha256"]  # as an earlier release wrote it
    path.write_text(json.dumps(value))
    assert refusal(model).startswith(f"{path}: table: row 2: kind 'magic' is not one of")


def test_an_exported_file_is_not_run_here(model: Path) -> None:
    (model / "model.onnx").write_bytes(b"")
    assert "only model.safetensors is read" in refusal(model / "model.onnx")


def test_nothing_is_ever_unpickled() -> None:
    danger = re.compile(r"torch\.(load|jit|hub)\b|^\s*(import|from) (pickle|shelve|joblib|dill)\b|allow_pickle", re.M)
    assert [path for path in SOURCES.rglob("*.py") if danger.search(path.read_text("utf-8"))] == []


def test_weights_say_which_description_they_are_for(tmp_path: Path) -> None:
    network = create_model("mobilenet_v2", 3, 0.25, size=32)
    bundle = Bundle(network.architecture.to_json(), ("a", "b", "c"), Preprocessing(32))
    write_bundle(tmp_path, bundle)
    save_weights(tmp_path / WEIGHTS, network.state_dict())
    save_weights(tmp_path / "named" / WEIGHTS, network.state_dict(), bundle)
    assert (tmp_path / WEIGHTS).read_bytes() == (tmp_path / "named" / WEIGHTS).read_bytes()
    load_model(tmp_path)
    write_bundle(tmp_path, Bundle(network.architecture.to_json(), ("a", "b", "c"), Preprocessing(32, "pad")))
    assert "the weights of another run, or of another model.json" in refusal(tmp_path)
