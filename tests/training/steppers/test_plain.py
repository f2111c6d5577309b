"""A stepper's state is all that its next step depends on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mobilenets.datasets.loader import shuffled
from mobilenets.training.loop import Training
from mobilenets.training.steppers.plain import PlainStepper, precision_of

Begin = Callable[..., Training]


def steps(training: Training, stepper: PlainStepper, first: int, count: int) -> list[dict[str, float]]:
    plan = shuffled(training.folders, 6, 0, 0)
    batches = list(training.train.batches(plan))
    return [stepper.step([batches[number]], number, 0.01) for number in range(first, first + count)]


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw", "ema": 0.9, "dropout": 0.5},
        {"optimizer": "sgd", "momentum": 0.9, "clip": 0.5, "precision": "float16"},
        {"optimizer": "rmsprop", "frozen": "2", "precision": "bfloat16"},
    ],
)
def test_a_fresh_one_goes_on_from_its_state(begin: Begin, settings: dict[str, Any]) -> None:
    training = begin(**settings)
    one = training.stepper
    assert isinstance(one, PlainStepper)
    steps(training, one, 0, 2)
    kept = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    after = steps(training, one, 2, 2)

    other = begin(**settings).stepper
    assert isinstance(other, PlainStepper)
    other.load_state_dict(kept)
    assert steps(training, other, 2, 2) == after
    found = other.state_dict()
    assert found.keys() == one.state_dict().keys()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, found[name]), name
    assert any(not torch.equal(tensor, kept[name]) for name, tensor in found.items())


def test_float32_asks_for_no_mixed_precision(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch 2.4 has none for Apple's GPUs, and refuses one that is off too."""

    def refused(*_: Any, **__: Any) -> None:
        raise RuntimeError("User specified an unsupported autocast device_type")

    monkeypatch.setattr(torch, "autocast", refused)
    assert begin(epochs=1).fit().epoch == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_one_kernel_for_all_parameters_resumes(begin: Begin, monkeypatch: pytest.MonkeyPatch, optimizer: str) -> None:
    """As on a GPU, where its count of steps lies on the device."""
    monkeypatch.setattr("mobilenets.training.optimizer.FUSED_ON", ("cpu",))
    test_a_fresh_one_goes_on_from_its_state(begin, {"optimizer": optimizer})


def test_the_gradient_scalers_numbers_are_kept(begin: Begin) -> None:
    stepper = begin(precision="float16").stepper
    assert isinstance(stepper, PlainStepper)
    state = stepper.state_dict()
    state["scaler.scale"] = torch.tensor(1024.0, dtype=torch.float64)
    state["scaler._growth_tracker"] = torch.tensor(7.0, dtype=torch.float64)
    stepper.load_state_dict(state)
    assert stepper._scaler.state_dict()["scale"] == 1024.0
    assert stepper._scaler.state_dict()["_growth_tracker"] == 7
    assert isinstance(stepper._scaler.state_dict()["_growth_tracker"], int)


def test_frozen_blocks_stay_as_they_are(begin: Begin) -> None:
    training = begin(frozen="2")
    stepper = training.stepper
    before = {name: tensor.clone() for name, tensor in stepper.network.state_dict().items()}
    stepper.network.eval()  # as measuring leaves it
    steps(training, stepper, 0, 2)  # type: ignore[arg-type]
    after = stepper.network.state_dict()
    held = {name for name in before if torch.equal(before[name], after[name])}
    names = [f"body.{name}." for name in list(stepper.network.body._modules)[:2]]
    assert held == {name for name in before if name.startswith(tuple(names))}


def test_what_another_run_left_does_not_fit(begin: Begin) -> None:
    stepper = begin(width=0.5).stepper
    with pytest.raises(RuntimeError, match="size mismatch"):
        stepper.load_state_dict(begin().stepper.state_dict())


def test_precision_by_name() -> None:
    cpu = torch.device("cpu")
    assert precision_of("auto", cpu) is None
    assert precision_of("bfloat16", cpu) is torch.bfloat16


def test_the_networks_own_l2_term_is_in_the_loss(begin: Begin) -> None:
    """The classifier's gradient with the table's term is the one without, and the weights times its factor."""
    settings = {"model": "mobilenet_v1_cifar", "dropout": 0.0, "weight_decay": 0.0, "optimizer": "sgd", "momentum": 0.0}
    training = begin(**settings, augment="none")
    network = training.stepper.network
    weight = network.classifier.weight
    factor = network.architecture.table.head.l2
    assert factor > 0 and isinstance(weight, torch.Tensor)
    [batch] = training.train.batches([list(range(6))])
    network.train()
    loss = training.validation.task.loss(training.train.samples, 3, training.recipe)
    output = network(torch.from_numpy(batch.images).permute(0, 3, 1, 2))
    [gradient] = torch.autograd.grad(loss(output, torch.from_numpy(batch.targets)), [weight])
    before = weight.detach().clone()
    training.stepper.step([batch], 0, 0.5)
    torch.testing.assert_close(before - weight.detach(), 0.5 * (gradient + factor * before), rtol=1e-4, atol=1e-6)
    assert (factor * before).abs().max() > 1e-5


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_the_optimisers_memory_is_laid_out_as_training_did(begin: Begin, optimizer: str) -> None:
    """From a checkpoint, which is stored densely: other strides would be other kernels, and other last bits."""
    training = begin(optimizer=optimizer, momentum=0.9)
    one = training.stepper
    assert isinstance(one, PlainStepper)
    steps(training, one, 0, 1)
    stored = {name: tensor.detach().contiguous() for name, tensor in one.state_dict().items()}
    other = begin(optimizer=optimizer, momentum=0.9).stepper
    assert isinstance(other, PlainStepper)
    other.load_state_dict(stored)
    kept, taken_up = (
        [value for entries in stepper._optimizer.state.values() for value in entries.values()]
        for stepper in (one, other)
    )
    assert list(map(layout, kept)) == list(map(layout, taken_up))
    # Some are not dense, so that there was something to lose.
    assert list(map(layout, kept)) != [layout(value.contiguous()) for value in kept]


def layout(value: torch.Tensor) -> list[int]:
    """Give the strides that matter: of a side of one value they say nothing."""
    return [stride for stride, side in zip(value.stride(), value.shape, strict=True) if side > 1]
