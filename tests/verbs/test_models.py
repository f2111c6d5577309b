from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import mobilenets
from mobilenets.errors import InputError
from mobilenets.models.saved import load_model as load_own
from mobilenets.runtime.tie import contract_hash


def test_load_model(trained: Any) -> None:
    model = mobilenets.load_model(trained.run)
    assert isinstance(model, torch.nn.Module) and not model.training
    assert model.class_names == ("cat", "dog", "owl")
    photos = [trained.data / "owl/000.png", str(trained.data / "cat/000.png")]
    batch = model.prepare(*photos)
    assert (batch.shape, batch.dtype) == ((2, 3, 32, 32), torch.float32)
    with torch.inference_mode():
        found = model(batch).softmax(1)
    predictor = mobilenets.Predictor(trained.run)
    for row, photo in zip(found, photos, strict=True):
        best = predictor(photo, top=1)[0]
        assert model.class_names[int(row.argmax())] == best.label
        assert float(row.max()) == pytest.approx(best.probability, abs=1e-5)


def test_load_model_of_a_detector(finder: Any) -> None:
    model = mobilenets.load_model(finder.run)
    assert isinstance(model, torch.nn.Module) and not model.training
    images = model.prepare(*sorted(finder.data.rglob("*.png"))[:2])
    with torch.inference_mode():
        found = model(images)
        assert torch.equal(found, load_own(finder.run).network(images))
    assert found.shape == (2, model.bundle.detection.count, 5 + len(model.class_names))  # type: ignore[union-attr]


def test_a_picture_that_cannot_be_prepared_is_named(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.jpg: "):
        mobilenets.load_model(trained.run).prepare(trained.data / "owl/000.png", tmp_path / "broken.jpg")


def test_load_model_that_is_not_there() -> None:
    with pytest.raises(InputError, match="nowhere: no such model"):
        mobilenets.load_model("nowhere")


def test_create_model_with_the_weights_of_a_run(trained: Any) -> None:
    loaded = mobilenets.load_model(trained.run)
    images = torch.rand(2, 3, 32, 32)
    same = mobilenets.create_model("mobilenet_v1_cifar", 3, weights=trained.run).eval()
    with torch.inference_mode():
        assert torch.equal(same(images), loaded(images))
    other = mobilenets.create_model("mobilenet_v1_cifar", 7, weights=str(trained.run))
    assert other.classifier.out_features == 7
    assert all(
        torch.equal(value, loaded.state_dict()[f"body.{name}"]) for name, value in other.body.state_dict().items()
    )


def test_create_model_with_imagenet(monkeypatch: pytest.MonkeyPatch) -> None:
    from mobilenets.models.saved import SavedModel
    from mobilenets.weights.published import Published

    network = mobilenets.create_model("mobilenet_v2", 1000, 0.35)
    asked = []

    def load(chosen: Published) -> SavedModel:
        asked.append((chosen.network, chosen.width, chosen.size))
        return SavedModel(network, None)  # type: ignore[arg-type]

    monkeypatch.setattr("mobilenets.weights.start.load_published", load)
    found = mobilenets.create_model("mobilenet_v2", 10, 0.35, weights="imagenet")
    assert asked == [("mobilenet_v2", 0.35, 224)]
    assert torch.equal(found.body[0].conv.weight, network.body[0].conv.weight)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("mobilenet_v2", 3), "weights of mobilenet_v1_cifar at width 1, not of mobilenet_v2 at width 1"),
        (("mobilenet_v1_cifar", 3, 0.5), "at width 1, not of mobilenet_v1_cifar at width 0.5"),
    ],
)
def test_weights_of_another_network(words: Any, says: str, trained: Any) -> None:
    with pytest.raises(InputError, match=says):
        mobilenets.create_model(*words, weights=trained.run)


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such file"):
        mobilenets.create_model("mobilenet_v2", weights=tmp_path / "nowhere")


def test_activation_of_the_weights_is_kept(trained: Any, tmp_path: Path) -> None:
    described = json.loads((trained.run / "model.json").read_text("utf-8"))
    described["architecture"]["table"]["activation"] = "relu"
    described["contract_sha256"] = contract_hash(described)
    (tmp_path / "model.json").write_text(json.dumps(described), "utf-8")
    shutil.copy(trained.run / "model.safetensors", tmp_path)
    name, width, size = (described["architecture"][key] for key in ("name", "width", "size"))
    model = mobilenets.create_model(name, 3, width, size=size, weights=tmp_path).eval()
    with torch.no_grad():
        assert model.body[0](torch.full((1, 3, size, size), 1e3)).max() > 6  # where ReLU6 would end


TABLE = {"body": [{"kind": "conv", "channels": 8, "stride": 2}], "head": {"kind": "pooled"}}


def test_table_as_in_model_json(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    file.write_text(json.dumps(TABLE))
    for table in (TABLE, file):
        model = mobilenets.create_model("mobilenet_v2", 2, table=table)
        assert [name for name, _ in model.body.named_children()] == ["conv0"]
