"""Several processes make the training that one makes. Most of it is shown here with threads in their place."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mobilenets
from mobilenets.datasets.loader import Loader, shuffled
from mobilenets.models.dropout import Dropout
from mobilenets.models.network import Network
from mobilenets.training.loop import Training
from mobilenets.training.processes import ALONE, Processes
from mobilenets.training.run import _shared_features
from mobilenets.training.start import refuse_lone_pictures
from mobilenets.training.steppers import together
from mobilenets.training.steppers.fused import FusedStepper
from mobilenets.training.steppers.plain import PlainStepper
from mobilenets.training.steppers.together import Slice, _SharedDropout, _slice, _Synchronised
from mobilenets.training.validation import Validation

Begin = Callable[..., Training]
Result = TypeVar("Result")


class Threads(Processes):
    """One of several threads that stand in for processes."""

    def __init__(self, rank: int, given: list[Tensor | None], barrier: threading.Barrier) -> None:
        super().__init__(rank, len(given))
        self._given, self._barrier = given, barrier

    def add(self, values: Tensor) -> None:
        self._given[self.rank] = values.clone()
        self._barrier.wait(20)
        total = sum(one for one in self._given if one is not None)
        self._barrier.wait(20)
        assert isinstance(total, Tensor)
        values.copy_(total)


def each(count: int, work: Callable[[Processes], Result]) -> list[Result]:
    """Give what ``work`` gives in so many threads that stand in for processes."""
    given: list[Tensor | None] = [None] * count
    barrier = threading.Barrier(count)

    def run(rank: int) -> Result:
        try:
            return work(Threads(rank, given, barrier))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def steps(
    training: Training, processes: Processes, kind: type[PlainStepper], batch: int
) -> tuple[list[float], dict[str, Tensor]]:
    """Make three steps of two batches each; gives their losses, and the weights."""
    stage = training.stage
    network = Network(training.stepper.network.architecture, 3)
    network.load_state_dict(training.stepper.network.state_dict())
    stepper = kind(network.double(), stage, training.validation.task, nn.CrossEntropyLoss(), torch.device("cpu"),
                   processes=processes)  # fmt: skip
    assert isinstance(training.train, Loader)
    pictures = replace(training.train, share=processes.places)
    plan = shuffled(training.folders, batch, 0, 0)[:6]
    batches = [replace(one, images=one.images.astype(np.float64)) for one in pictures.batches(plan)]  # type: ignore[arg-type]
    losses = [stepper.step(batches[2 * n : 2 * n + 2], n, 0.01)["loss"] for n in range(3)]
    return losses, {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize(("kind", "count", "batch"), [(PlainStepper, 2, 5), (FusedStepper, 3, 2)])
def test_steps_are_those_of_one_process(begin: Begin, kind: type[PlainStepper], count: int, batch: int) -> None:
    training = begin(optimizer="sgd", dropout=0.0, clip=1.0, mixup=0.5, cutmix=0.5, model="mobilenet_v3_small")
    alone, weights = steps(training, ALONE, kind, batch)  # of batches of two, the third process has nothing
    for losses, others in each(count, lambda one: steps(training, one, kind, batch)):
        np.testing.assert_allclose(losses, alone, rtol=1e-6)
        for name, value in weights.items():
            torch.testing.assert_close(others[name], value, rtol=1e-5, atol=1e-7, msg=name)


def test_local_norms_end_equal_in_all_processes(begin: Begin) -> None:
    training = begin(optimizer="sgd", dropout=0.0, sync_bn=False)
    (_, first), (_, second) = each(2, lambda one: steps(training, one, PlainStepper, 5))
    _, alone = steps(training, ALONE, PlainStepper, 5)
    assert all(torch.equal(first[name], second[name]) for name in first)
    name = "body.conv0.norm.running_var"
    assert name in first and not torch.allclose(first[name], alone[name])  # each normalised by its own part


def test_synchronised_norm_is_that_of_the_whole_batch() -> None:
    torch.manual_seed(0)
    x, gradient = torch.randn(5, 4, 3, 2, dtype=torch.float64) + 3, torch.randn(5, 4, 3, 2, dtype=torch.float64)
    whole = nn.BatchNorm2d(4).double()
    given = x.clone().requires_grad_()
    wanted = whole(given)
    wanted.backward(gradient)

    def part(one: Processes) -> tuple[Tensor, ...]:
        norm, own = nn.BatchNorm2d(4).double(), one.places(5)
        mine = x[own].clone().requires_grad_()
        out = _Synchronised.apply(mine, norm.weight, norm.bias, norm, Slice(one, 0, 5, True))  # type: ignore[no-untyped-call]
        out.backward(gradient[own])
        assert mine.grad is not None and norm.weight.grad is not None and norm.running_var is not None
        return out.detach(), mine.grad, norm.weight.grad, norm.running_var

    outs, gradients, gammas, variances = zip(*each(6, part), strict=True)  # of which one has nothing
    assert given.grad is not None and whole.weight.grad is not None
    torch.testing.assert_close(torch.cat(outs), wanted.detach())
    torch.testing.assert_close(torch.cat(gradients), given.grad)
    torch.testing.assert_close(sum(gammas), whole.weight.grad)
    assert all(torch.equal(one, variances[0]) for one in variances)
    torch.testing.assert_close(variances[0], whole.running_var)


def test_synchronised_norm_has_the_numerical_gradient() -> None:
    torch.manual_seed(0)
    norm, part = nn.BatchNorm2d(2).double(), Slice(ALONE, 0, 3, True)
    given = [torch.randn(3, 2, 2, 1), torch.randn(2), torch.randn(2)]
    leaves = [value.double().requires_grad_() for value in given]
    assert torch.autograd.gradcheck(lambda *ends: _Synchronised.apply(*ends, norm, part), leaves)  # type: ignore[no-untyped-call]


def test_dropout_draws_for_the_whole_batch() -> None:
    x = torch.randn(7, 5)
    torch.manual_seed(4)
    wanted = Dropout(0.4)(x)
    found = []
    for rank in range(3):
        torch.manual_seed(4)
        own = Processes(rank, 3).places(7)
        token = _slice.set(Slice(ALONE, own.start, 7, True))
        found.append(_SharedDropout(0.4)(x[own]))
        _slice.reset(token)
    assert torch.equal(torch.cat(found), wanted)


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.4}, {"cutmix": 1.0}])
def test_shares_make_the_batch(begin: Begin, mixing: dict[str, float]) -> None:
    loader = begin(augment="photo", **mixing).train
    assert isinstance(loader, Loader)
    indices = list(range(13))
    whole = loader.batch(indices, 2, 40)
    for count in (2, 3, 14):
        parts = [replace(loader, share=Processes(rank, count).places).batch(indices, 2, 40) for rank in range(count)]
        assert np.array_equal(np.concatenate([part.images for part in parts]), whole.images)
        assert np.array_equal(np.concatenate([part.targets for part in parts]), whole.targets)
        assert [part.pictures for part in parts] == [13] * count


def test_validation_is_shared_out(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobilenets.training.validation.VALIDATION_BATCH", 2)
    monkeypatch.setattr("mobilenets.tasks.evaluate.VALIDATION_BATCH", 2)
    training = begin()
    network, alone = training.stepper.network, training.validation
    assert isinstance(alone, Validation)
    whole = alone.with_norms(network, network)
    wanted = alone.measure(whole)

    def share(one: Processes) -> tuple[Any, Network]:
        measuring = replace(alone, processes=one)
        measured = measuring.with_norms(network, network)
        return measuring.measure(measured), measured

    for found, measured in each(3, share):
        assert (found.images, found.metrics) == (wanted.images, wanted.metrics)
        assert np.array_equal(found.logits, wanted.logits)  # type: ignore[attr-defined]
        for name, value in whole.state_dict().items():
            assert torch.equal(measured.state_dict()[name], value), name


def test_features_of_frozen_blocks_are_computed_once(begin: Begin) -> None:
    training = begin(views=2, freeze="backbone")
    network, recipe, taught = training.stepper.network, training.recipe, training.train
    assert isinstance(taught, Loader) and isinstance(training.validation, Validation)
    held = training.validation.pictures
    assert isinstance(held, Loader)

    def values(one: Processes) -> list[Any]:
        blocks = len(network.body)
        found = _shared_features(network, recipe, blocks, (taught, held), torch.device("cpu"), None, one)
        assert found is not None
        return [loader.values for loader in found]

    alone = values(ALONE)
    assert alone[0].shape[1] == 2
    for given in each(2, values):
        assert all(np.array_equal(a, b) for a, b in zip(given, alone, strict=True))


def test_a_request_to_stop_is_met_by_all_at_once() -> None:
    def work(one: Processes) -> tuple[dict[str, float], bool]:
        stopped = one.agreeing(lambda: one.rank == 1)
        before = stopped()
        assert not before
        return one.total({"loss": 1.5, "top1": one.rank}), stopped()

    assert each(3, work) == [({"loss": 4.5, "top1": 3.0}, True)] * 3


def test_what_the_first_sends_arrives() -> None:
    assert each(2, lambda one: one.send(b"a\0b" if one.first else b"")) == [b"a\0b"] * 2


def test_a_failed_step_leaves_running_statistics(begin: Begin) -> None:
    training = begin()
    network = training.stepper.network
    shared = together.Together(Processes(0, 2), network, True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(OSError, match="lost"), shared.step():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.add_(1)  # type: ignore[union-attr]
        raise OSError("lost")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_local_norms_need_two_pictures_each(begin: Begin) -> None:
    network, recipe = begin().stepper.network, begin().recipe.replace(batch=4, sync_bn=False)
    refuse_lone_pictures(recipe, network, 12, 2)
    with pytest.raises(mobilenets.InputError, match="leave one of 3 processes fewer than two"):
        refuse_lone_pictures(recipe, network, 12, 3)
