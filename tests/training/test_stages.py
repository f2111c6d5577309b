"""A run in two stages: the classifier, then the upper blocks. Stopped anywhere, it ends in the same bytes."""

from __future__ import annotations

import csv
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import mobilenets
from mobilenets.models.saved import load_model
from mobilenets.training import checkpoint, features
from mobilenets.training.forecast import Forecast, Part
from mobilenets.training.loop import Training
from mobilenets.verbs import train as api
from mobilenets.verbs.models import create_model

WEIGHTS = "model.safetensors"
SETTINGS: dict[str, Any] = {
    "size": 32,
    "variant": "standard",
    "augment": "light",
    "epochs": 4,
    "batch": 6,
    "views": 2,
    "device": "cpu",
    "threads": 1,
    "workers": 1,
}


@pytest.fixture(autouse=True)
def _undrawn(undrawn: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Give a file with the weights of a network for other classes."""
    torch.manual_seed(3)
    torch.save(create_model("mobilenet_v2", 5, 0.1, size=32, variant="standard").state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "images_per_second"} for row in csv.DictReader(file)]


def test_first_the_head_then_the_upper_blocks(model: Path, photos: Path, tmp_path: Path) -> None:
    given = torch.load(model, weights_only=True)
    seen: list[bool] = []
    save = checkpoint.save

    def watched(run: Path, state: checkpoint.State, tensors: dict[str, torch.Tensor]) -> None:
        save(run, state, tensors)
        if run != tmp_path / "run":
            return  # the estimate tries how long that takes
        same = [
            torch.equal(v, given[k.removeprefix("network.")])
            for k, v in tensors.items()
            if k.startswith("network.body.") and v.ndim
        ]
        seen.append(all(same))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", watched)
        result = mobilenets.train(photos, tmp_path / "run", weights=str(model), keep="last", **SETTINGS)
    # After two epochs of the classifier the body is as it came; after each of the next two it is not.
    assert seen == [True, True, False, False]
    assert result["epochs"] == 4
    assert [row["epoch"] for row in history(tmp_path / "run")] == ["1", "2", "3", "4"]
    trained = load_model(tmp_path / "run").network
    for index, (name, block) in enumerate(trained.body.named_children()):
        same = [torch.equal(v, given[f"body.{name}.{k}"]) for k, v in block.state_dict().items() if v.ndim]
        # BatchNorm's statistics are among them.
        assert all(same) if index < 14 else not any(same)


@pytest.mark.parametrize(
    ("more", "every"),
    [({}, 1), ({}, 3), ({"ema": 0.9, "dropout": 0.3}, 1), ({"views": 0}, 1), ({"mixup": 0.3, "steps": 7}, 1)],
)
def test_stopped_anywhere_it_ends_in_the_same_bytes(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], every: int
) -> None:
    # Two steps an epoch: the first stop is within one, the second at its end.
    settings = SETTINGS | {"weights": str(model), "batch": 12} | more
    mobilenets.train(photos, tmp_path / "whole", **settings)
    step: Callable[..., float] = Training._step
    count = 0

    def pressed(self: Training, *given: Any) -> float:
        nonlocal count
        count += 1
        if count % every == 0:
            signal.raise_signal(signal.SIGINT)
        return step(self, *given)

    monkeypatch.setattr(Training, "_step", pressed)
    stops, resume = 0, {}
    while True:
        try:
            mobilenets.train(photos, tmp_path / "run", **(resume or settings))
            break
        except KeyboardInterrupt:
            stops, resume = stops + 1, {"resume": True}
    assert stops == count // every
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    assert history(tmp_path / "run") == history(tmp_path / "whole")


def test_each_view_is_decoded_once(model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    stream = features.stream

    def counted(make: Any, items: Any, **settings: Any) -> Any:
        decoded.extend(len(group) for group in items)
        return stream(make, items, **settings)

    monkeypatch.setattr(features, "stream", counted)
    mobilenets.train(photos, tmp_path / "run", weights=str(model), **SETTINGS)
    # 24 pictures in two views, and 6 of validation in one, for both stages together; these once more at the end.
    assert sum(decoded) == 24 * 2 + 6 + 6


def test_pooled_features_are_those_of_the_whole_body(model: Path, photos: Path, tmp_path: Path) -> None:
    settings = SETTINGS | {"weights": str(model), "keep": "last", "epochs": 1, "warmup": 0.0}
    # With one epoch there is the classifier's stage only; --freeze backbone computes its features from the pictures.
    for name, freeze in (("auto", "auto"), ("backbone", "backbone")):
        mobilenets.train(photos, tmp_path / name, freeze=freeze, **settings)
    one, two = (load_file(tmp_path / name / WEIGHTS) for name in ("auto", "backbone"))
    assert all(torch.allclose(one[key].float(), two[key].float(), atol=1e-5) for key in one)


def test_the_estimate_changes_nothing(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS | {"weights": str(model), "dropout": 0.3}
    mobilenets.train(photos, tmp_path / "told", **settings)
    monkeypatch.setattr(api, "estimate", lambda *_: Forecast((Part(0, 0, 0), Part(0, 0, 0)), 1.0))
    mobilenets.train(photos, tmp_path / "untold", **settings)
    one, two = (load_file(tmp_path / run / checkpoint.FILE) for run in ("told", "untold"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert (tmp_path / "told" / WEIGHTS).read_bytes() == (tmp_path / "untold" / WEIGHTS).read_bytes()


def test_said_beforehand(model: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mobilenets")
    mobilenets.train(photos, tmp_path / "run", weights=str(model), **SETTINGS)
    (line,) = [text for text in caplog.messages if " steps in " in text]
    assert "epochs 1 to 2 train only the classifier, 3 to 4 also the blocks after the first 14" in line
    assert "about 5 s" in line or "about 10 s" in line
