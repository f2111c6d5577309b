from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from mobilenets.datasets.loader import shuffled
from mobilenets.errors import FaultFound, InputError
from mobilenets.models.engine import NetworkEngine, to_tensor
from mobilenets.models.saved import save_weights
from mobilenets.training import checkpoint, keep, loop, validation
from mobilenets.training.loop import Training

Begin = Callable[..., Training]
WEIGHTS = "model.safetensors"
PLAIN = {"augment": "none", "dropout": 0.0, "label_smoothing": 0.0, "warmup": 0.0, "schedule": "constant"}


def values(training: Training) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in training.stepper.network.state_dict().items()}


def loss_of(training: Training) -> torch.nn.CrossEntropyLoss:
    loss = training.stepper._loss
    assert isinstance(loss, torch.nn.CrossEntropyLoss)
    return loss


def test_class_weights(begin: Begin, draw: Callable[..., Path], tmp_path: Path) -> None:
    data = draw(tmp_path / "uneven", {"a": 4, "b": 12, "c": 20})
    training = begin(data=data, balance="weights")
    weights = loss_of(training).weight
    assert weights is not None
    counts = np.bincount(training.folders)
    np.testing.assert_allclose(weights.numpy(), len(training.folders) / (3 * counts), rtol=1e-6)
    assert weights[training.folders].mean().item() == pytest.approx(1)
    assert loss_of(begin(data=data, balance="sampling")).weight is None


def test_loss_is_the_weighted_smoothed_cross_entropy(begin: Begin, draw: Callable[..., Path], tmp_path: Path) -> None:
    data = draw(tmp_path / "uneven", {"a": 4, "b": 12, "c": 20})
    settings = PLAIN | {"balance": "weights", "label_smoothing": 0.2, "batch": 64, "mixup": 0.5}
    training = begin(data=data, **settings)
    batch = training.train.batch(shuffled(training.folders, 64, 0, 0)[0], 0, 0)
    with torch.no_grad():
        logits = training.stepper.network.train()(to_tensor(batch.images, torch.device("cpu"))).double().numpy()
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = batch.targets * 0.8 + 0.2 / 3
    weights = len(training.folders) / (3 * np.bincount(training.folders))
    expected = -(wanted * logs * weights).sum(1).mean()

    again = begin("again", data=data, **settings)
    state = checkpoint.State()
    again._step(state, [batch])
    assert state.sums["loss"] / state.seen == pytest.approx(expected, rel=1e-5)
    assert state.seen == len(training.folders)
    assert state.sums["top1"] == (logits.argmax(1) == batch.targets.argmax(1)).sum()


def test_accumulation_equals_one_large_batch(begin: Begin) -> None:
    # 21 pictures in batches of 6, 5, 5 and 5, or of 11 and 10; frozen, so that no batch has statistics of its own.
    settings = PLAIN | {"optimizer": "sgd", "lr": 0.1, "epochs": 3, "frozen": "backbone", "balance": "weights"}
    large = begin("large", batch=12, **settings)
    small = begin("small", batch=6, accumulate=2, **settings)
    assert (large.stage.steps_per_epoch, small.stage.steps_per_epoch) == (2, 2)
    start = values(large)
    states = large.fit(), small.fit()
    assert not torch.equal(values(large)["classifier.weight"], start["classifier.weight"])
    for name, value in values(large).items():
        torch.testing.assert_close(values(small)[name], value, rtol=1e-4, atol=1e-6)
    for one, two in zip(states[0].history, states[1].history, strict=True):
        assert one["train_loss"] == pytest.approx(two["train_loss"], rel=1e-4)
        # Rounding may tip one picture between two classes that are even.
        assert one["train_top1"] == pytest.approx(two["train_top1"], abs=1.5 / 21)


@pytest.mark.parametrize("clip", [None, 0.01])
def test_clip(begin: Begin, clip: float | None) -> None:
    training = begin(optimizer="sgd", momentum=0.0, weight_decay=0.0, lr=1.0, clip=clip, warmup=0.0, steps=1)
    before = [parameter.detach().clone() for parameter in training.stepper.network.parameters()]
    training.fit()
    moved = [p.detach() - b for p, b in zip(training.stepper.network.parameters(), before, strict=True)]
    length = math.sqrt(sum(part.square().sum().item() for part in moved))
    assert length > 0.1 if clip is None else length == pytest.approx(0.01, rel=1e-3)


def test_moving_average(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after: list[dict[str, Tensor]] = []
    step = Training._step

    def noted(self: Training, state: checkpoint.State, group: Any) -> float:
        lr = step(self, state, group)
        after.append(values(self))
        return lr

    monkeypatch.setattr(Training, "_step", noted)
    training = begin(ema=0.3, epochs=2, keep="last")
    average = values(training)
    training.fit()
    assert len(after) == training.stage.steps == 8
    for number, given in enumerate(after):
        decay = min(0.3, (1 + number) / (10 + number))
        for name, value in given.items():
            average[name] = average[name] * decay + value * (1 - decay) if value.is_floating_point() else value
    stored = load_file(tmp_path / "run" / WEIGHTS)
    assert stored.keys() == average.keys()
    followed = training.stepper.result.state_dict()
    for name, value in average.items():
        if not name.endswith(("running_mean", "running_var")):  # measured anew in what is stored
            assert torch.equal(stored[name], followed[name])
        torch.testing.assert_close(followed[name], value, rtol=1e-4, atol=1e-6)
    assert not torch.equal(stored["classifier.weight"], after[-1]["classifier.weight"])
    assert stored["body.conv0.norm.num_batches_tracked"].item() == 8


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[tuple[float, float]]], list[bytes]]]:
    """Give every epoch a top-1 and a loss; the list that comes back fills with each epoch's weights, as files."""

    def prepare(scores: list[tuple[float, float]]) -> list[bytes]:
        waiting, files = iter(scores), []

        def evaluate(task: object, engine: NetworkEngine, *_: Any) -> SimpleNamespace:
            top1, loss = next(waiting)
            files.append(save({name: t.clone().contiguous() for name, t in engine.network.state_dict().items()}))
            return SimpleNamespace(metrics={"loss": loss, "top1": top1, "top5": 1.0}, images=range(9))

        monkeypatch.setattr(validation, "evaluate_loader", evaluate)
        return files

    yield prepare


SCORES = [(0.5, 1.0), (0.7, 1.0), (0.7, 1.1), (0.6, 0.1), (0.9, 1.0)]


@pytest.mark.parametrize(
    ("settings", "many", "epochs", "best", "kept"),
    [
        ({}, True, 5, 5, 5),
        ({"patience": 3}, True, 5, 5, 5),
        ({"patience": 2}, True, 4, 2, 2),
        ({"patience": 1}, True, 3, 2, 2),
        ({"patience": 2, "keep": "last"}, True, 4, 2, 4),
        ({"patience": 2, "ema": 0.5}, True, 4, 2, 2),
        ({"epochs": 4, "keep": "last"}, True, 4, 2, 4),
        ({"epochs": 4}, True, 4, 2, 2),
        # With few pictures the loss decides.
        ({}, False, 5, 4, 4),
        ({"patience": 2}, False, 3, 1, 1),
        ({"patience": 3, "keep": "last"}, False, 5, 4, 5),
    ],
)
def test_early_stopping_and_what_is_kept(
    begin: Begin,
    tmp_path: Path,
    scored: Callable[[list[tuple[float, float]]], list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    many: bool,
    epochs: int,
    best: int,
    kept: int,
) -> None:
    monkeypatch.setattr(keep, "MANY_PICTURES", 1 if many else 500)
    files = scored(SCORES)
    state = begin(**{"epochs": 5} | settings).fit()
    assert (state.epoch, state.best_epoch, state.finished) == (epochs, best, True)
    assert len(files) == len(set(files)) == epochs
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == files[kept - 1]
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 1 + epochs


def test_patience_counts_from_the_best_epoch_trained(
    begin: Begin, tmp_path: Path, scored: Callable[[list[tuple[float, float]]], list[bytes]]
) -> None:
    """A good start that the first steps undo is no reason to stop while the training gets better."""
    files = scored([(0.65, 1.0), (0.1, 3.0), (0.2, 2.5), (0.4, 2.0), (0.3, 2.4), (0.2, 2.6)])
    training = begin(epochs=9, patience=2)
    training.measure_before = True
    state = training.fit()
    assert (state.epoch, state.best_epoch, state.before) == (5, 0, 0.65)
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == files[0]


def test_steps_end_the_last_epoch_early(begin: Begin, tmp_path: Path) -> None:
    training = begin(steps=6, epochs=50)
    assert (training.stage.epochs, training.stage.steps_per_epoch) == (2, 4)
    state = training.fit()
    assert (state.epoch, len(state.history), state.finished) == (2, 2, True)
    stored = load_file(tmp_path / "run" / WEIGHTS)
    assert stored["body.conv0.norm.num_batches_tracked"].item() in (4, 6)
    assert values(training)["body.conv0.norm.num_batches_tracked"].item() == 6


def test_history(begin: Begin, tmp_path: Path) -> None:
    training = begin(epochs=2, schedule="cosine", warmup=0.0)
    state = training.fit()
    lines = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert lines[0] == (
        "epoch,lr,train_loss,train_top1,validation_loss,validation_top1,validation_top5,images_per_second"
    )
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2"]
    # The rate that an epoch ended with.
    assert [float(line.split(",")[1]) for line in lines[1:]] == pytest.approx(
        [training.stage.rate(3), training.stage.rate(7)], rel=1e-5
    )
    assert all(0 <= row["train_top1"] <= 1 and row["images_per_second"] > 0 for row in state.history)
    assert state.history[-1]["train_loss"] < state.history[0]["train_loss"]


def test_same_seed_same_bytes(begin: Begin, tmp_path: Path) -> None:
    files = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        torch.manual_seed(len(files))  # what the caller drew before is of no account
        begin(name, seed=seed, dropout=0.5, mixup=0.2, epochs=1).fit()
        files.append((tmp_path / name / WEIGHTS).read_bytes())
    assert files[0] == files[1] != files[2]


def test_the_callers_generator_is_left_alone(begin: Begin) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    begin(epochs=1, dropout=0.5).fit()
    assert torch.equal(torch.rand(3), expected)


def test_loss_that_is_not_finite(begin: Begin, tmp_path: Path) -> None:
    training = begin(optimizer="sgd", lr=1000.0, warmup=0.0, schedule="constant", weight_decay=10.0, batch=2)
    with pytest.raises(
        FaultFound,
        match=r"^the loss is (nan|inf) at epoch \d+, step \d+ \(learning rate 1e\+03\): "
        r"train again with another --out and --lr 100 or --clip 1$",
    ) as caught:
        training.fit()
    assert caught.value.exit_status == 1
    assert_whole(tmp_path / "run")


def test_weights_that_break_in_the_last_step(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Training._step

    def broken(self: Training, state: checkpoint.State, group: Any) -> float:
        lr = step(self, state, group)
        if (state.epoch, state.step) == (1, self.stage.steps_per_epoch):
            torch.nn.init.constant_(self.stepper.network.classifier.bias, math.nan)  # type: ignore[arg-type]
        return lr

    monkeypatch.setattr(Training, "_step", broken)
    with pytest.raises(FaultFound, match=r"output is not finite after epoch 2, step 4 .*--lr 0.001 or --clip 1$"):
        begin(keep="last").fit()
    assert_whole(tmp_path / "run")
    assert checkpoint.peek(tmp_path / "run").epoch == 1
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 2
    assert all(torch.isfinite(t).all() for t in load_file(tmp_path / "run" / WEIGHTS).values())


def assert_whole(run: Path) -> None:
    """No file is half written or left over."""
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]
    if (run / WEIGHTS).exists():
        load_file(run / WEIGHTS)
        checkpoint.peek(run)


def test_mixed_precision_trains_and_resumes(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = begin("whole", precision="bfloat16").fit()
    assert math.isfinite(state.history[-1]["train_loss"])
    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_requests", stops_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            begin("parts", precision="bfloat16").fit()
    begin("parts", precision="bfloat16").fit()
    assert (tmp_path / "parts" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    assert all(t.dtype != torch.bfloat16 for t in load_file(tmp_path / "whole" / WEIGHTS).values())


class stops_at_the_third:  # noqa: N801 (stands in for a function)
    def __init__(self, alone: bool) -> None:
        assert alone

    def __enter__(self) -> Callable[[], bool]:
        asked = iter(range(1, 100))
        return lambda: next(asked) == 3

    def __exit__(self, *_: object) -> None:
        return None


def test_saved_file_is_the_network(begin: Begin, tmp_path: Path) -> None:
    training = begin(keep="last")
    training.fit()
    measured = training._ready_to_measure()
    save_weights(tmp_path / "again", measured.state_dict())
    assert (tmp_path / "again").read_bytes() == (tmp_path / "run" / WEIGHTS).read_bytes()


def test_a_clock_that_seldom_ticks(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows before Python 3.13: an epoch on features is over between two ticks."""
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: 5.0, perf_counter=time.perf_counter))
    [row] = begin(epochs=1).fit().history
    assert 0 < row["images_per_second"] < 1e6


@pytest.mark.parametrize("broken", ["save_weights", "write_text"])
def test_an_epoch_whose_files_cannot_be_written_is_closed_anew(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """On Windows another program may hold a file; the run that goes on makes every step once."""

    def refused(*_: Any) -> None:
        raise InputError("cannot be written")

    begin("whole", epochs=1).fit()
    with monkeypatch.context() as patch:
        patch.setattr(loop, broken, refused)
        with pytest.raises(InputError, match="cannot be written"):
            begin("cut", epochs=1).fit()
    state = begin("cut", epochs=1).fit()
    assert [row["epoch"] for row in state.history] == [1]
    assert (tmp_path / "cut" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    assert len((tmp_path / "cut" / "history.csv").read_text().splitlines()) == 2
