"""BatchNorm's statistics are measured anew before a model is, and training does not notice."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from torch import nn

from mobilenets.datasets.loader import Loader
from mobilenets.models.engine import to_tensor
from mobilenets.training import loop, validation
from mobilenets.training.loop import Training
from mobilenets.training.norms import PICTURES, free_norms, measure_norms, with_measured_norms
from mobilenets.verbs.train import train

Begin = Callable[..., Training]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _undrawn(undrawn: None) -> None:
    """Take the time of no plot."""


def shapes(folder: Path, count: int) -> Path:
    """Draw red discs, green squares and blue stripes of 48 pixels: classes that are easily told apart."""
    rng = np.random.default_rng(0)
    for kind in ("disc", "square", "stripes"):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            image = Image.new("RGB", (48, 48), tuple(int(v) for v in rng.integers(150, 230, 3)))
            draw = ImageDraw.Draw(image)
            (x, y), w = rng.integers(4, 16, 2).tolist(), int(rng.integers(16, 24))
            if kind == "disc":
                draw.ellipse((x, y, x + w, y + w), fill=(210, 30, 30))
            elif kind == "square":
                draw.rectangle((x, y, x + w, y + w), fill=(20, 150, 40))
            else:
                for line in range(0, 48, 8):
                    draw.line((0, line, 48, line), fill=(30, 30, 200), width=3)
            image.save(folder / kind / f"{number:03}.png")
    return folder


def test_36_steps_on_48_easy_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = shapes(tmp_path / "photos", 20)
    settings: dict[str, Any] = {"width": 0.35, "size": 32, "batch": 8, "epochs": 6, "augment": "light", "workers": 1}
    settings |= {"threads": 1, "device": "cpu", "weights": "none"}
    result = train(data, tmp_path / "run", **settings)
    assert result["top1"] >= 0.67
    with monkeypatch.context() as patch:
        patch.setattr(validation, "with_measured_norms", lambda network, *_: network)
        lagging = train(data, tmp_path / "lagging", **settings)
    # Always the same answer, while the loss on the training pictures fell as before.
    assert lagging["top1"] == pytest.approx(1 / 3)
    rows = [(tmp_path / run / "history.csv").read_text().splitlines() for run in ("run", "lagging")]
    assert [r.split(",")[2:4] for r in rows[0]] == [r.split(",")[2:4] for r in rows[1]]


@pytest.mark.parametrize("ema", [None, 0.9])
def test_what_is_kept_is_what_was_measured(begin: Begin, tmp_path: Path, ema: float | None) -> None:
    training = begin(ema=ema, keep="last")
    state = training.fit()
    trained = training.stepper.result
    stored = load_file(tmp_path / "run" / "model.safetensors")
    changed = {name for name, value in trained.state_dict().items() if not torch.equal(value, stored[name])}
    assert changed and all(name.endswith(("running_mean", "running_var")) for name in changed)
    kept = copy.deepcopy(training.stepper.network)
    kept.load_state_dict(stored)
    again = training.validation.measure(kept)
    assert (again.loss, again.top1) == (state.history[-1]["validation_loss"], state.history[-1]["validation_top1"])


def test_the_training_does_not_notice(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = begin("one", dropout=0.5, mixup=0.3)
    one.fit()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "ENOUGH_STEPS", 1)
        two = begin("two", dropout=0.5, mixup=0.3)
        two.fit()
    for name, value in one.stepper.network.state_dict().items():
        assert torch.equal(value, two.stepper.network.state_dict()[name]), name
    assert {m.momentum for m in one.stepper.network.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


@pytest.mark.parametrize("frozen", ["2", "backbone"])
def test_frozen_blocks_keep_their_statistics(begin: Begin, frozen: str) -> None:
    training = begin(frozen=frozen)
    measured = with_measured_norms(
        training.stepper.network, free_norms(training.stepper.network), training.train, 0, CPU
    )
    if frozen == "backbone":
        assert measured is training.stepper.network
        return
    before, after = training.stepper.network.state_dict(), measured.state_dict()
    names = [name for name in before if name.endswith(("running_mean", "running_var"))]
    blocks = list(training.stepper.network.body._modules)
    held = tuple(f"body.{name}." for name in blocks[:2])
    assert {name for name in names if torch.equal(before[name], after[name])} == {
        name for name in names if name.startswith(held)
    }


def test_the_plain_mean_over_batches_of_unaugmented_pictures(begin: Begin) -> None:
    training = begin(augment="strong", mixup=0.5)
    network = training.stepper.network
    measured = with_measured_norms(network, free_norms(network), training.train, 3, CPU)
    pictures = training.train
    assert isinstance(pictures, Loader)
    plain = replace(pictures, augment=None, mixup=0.0, cutmix=0.0)
    count = len(plain.samples)
    assert count <= 64  # one batch, so that the mean is simple
    batch = plain.batch(list(range(count)), 0, 0)
    first = network.body[0]
    out = first.conv(to_tensor(batch.images, CPU)).detach()  # type: ignore[operator,union-attr]
    norm = measured.body[0].norm
    torch.testing.assert_close(norm.running_mean, out.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)  # type: ignore[arg-type,union-attr]
    torch.testing.assert_close(norm.running_var, out.var((0, 2, 3)), rtol=1e-4, atol=1e-5)  # type: ignore[arg-type,union-attr]
    assert norm.num_batches_tracked == network.body[0].norm.num_batches_tracked  # type: ignore[union-attr]
    assert not measured.training


def test_a_bounded_number_of_pictures_and_never_one_alone(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    training = begin()
    pictures = training.train
    assert isinstance(pictures, Loader)
    seen: list[int] = []

    def note(images: torch.Tensor) -> None:
        seen.append(len(images))

    norms = [module for module in training.stepper.network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = norms[0].running_mean.clone()  # type: ignore[union-attr]
    many = replace(pictures, samples=pictures.samples * 40)
    measure_norms(note, [], many, 0, CPU)
    assert sum(seen) == PICTURES and max(seen) <= 64
    seen.clear()
    measure_norms(note, norms, replace(pictures, samples=pictures.samples[:1]), 0, CPU)
    assert seen == []
    assert torch.equal(norms[0].running_mean, before)  # type: ignore[arg-type]
