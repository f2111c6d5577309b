"""The loss of a taught network, and what its batches hold."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div, log_softmax, softmax

from mobilenets.datasets.folder import Sample, read_folder
from mobilenets.datasets.loader import Batch, Loader
from mobilenets.models.network import Network
from mobilenets.pictures.augment.presets import build
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.tasks.classification.task import Classification
from mobilenets.training.distillation import UNLABELLED, Distilled, Lesson
from mobilenets.training.features import cached_features, still_to_ask
from mobilenets.training.recipe import Recipe
from mobilenets.training.stages import Stage
from mobilenets.training.steppers.fused import FusedStepper
from mobilenets.training.steppers.plain import PlainStepper
from mobilenets.verbs.models import create_model

LABELS = (0, 2, UNLABELLED, 1)


def recipe(**settings: Any) -> Recipe:
    return Recipe(teacher="big", **({"label_smoothing": 0.0} | settings))


def batch(seed: int = 0) -> tuple[list[Sample], torch.Tensor, torch.Tensor]:
    """Give samples, of which one has no label, their logits, and those of a teacher."""
    generator = torch.Generator().manual_seed(seed)
    logits, teacher = (3 * torch.randn(len(LABELS), 3, generator=generator) for _ in range(2))
    return [Sample(Path(f"{place}.png"), label) for place, label in enumerate(LABELS)], logits, teacher


def loss_of(settings: Recipe, samples: list[Sample], logits: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    task = Distilled(settings)
    targets = torch.from_numpy(task.targets(samples, 3))
    targets[:, 3:] = teacher
    found: torch.Tensor = task.loss(samples, 3, settings)(logits, targets)
    return found


def test_softened_answers_and_labels_share_the_loss() -> None:
    samples, logits, teacher = batch()
    known = [0, 1, 3]
    hard = cross_entropy(logits[known], torch.tensor([0, 2, 1]), label_smoothing=0.1, reduction="sum") / 4
    soft = 9 * kl_div(log_softmax(logits / 3, 1), softmax(teacher / 3, 1), reduction="batchmean")
    settings = recipe(temperature=3.0, soft_share=0.7, label_smoothing=0.1)
    torch.testing.assert_close(loss_of(settings, samples, logits, teacher), 0.3 * hard + 0.7 * soft)


def test_class_weights_are_for_the_labels_alone() -> None:
    samples, logits, teacher = batch()
    weighted, plain = (recipe(balance=balance, soft_share=1.0) for balance in ("weights", "none"))
    assert torch.equal(loss_of(weighted, samples, logits, teacher), loss_of(plain, samples, logits, teacher))
    more = [*samples, Sample(Path("more.png"), 0)]
    logits, teacher = torch.cat([logits, logits[:1]]), torch.cat([teacher, teacher[:1]])
    weights = torch.tensor([2 / 3, 4 / 3, 4 / 3])  # of four labelled pictures, two of which are of the first class
    hard = cross_entropy(logits[[0, 1, 3, 4]], torch.tensor([0, 2, 1, 0]), weights, reduction="none")
    hard = (hard / 1).sum() / 5
    soft = loss_of(recipe(soft_share=1.0), more, logits, teacher)
    found = loss_of(recipe(balance="weights", soft_share=0.5), more, logits, teacher)
    torch.testing.assert_close(found, 0.5 * hard + 0.5 * soft)


def test_correlations_do_not_see_how_sure_a_teacher_is_by_scale() -> None:
    samples, logits, teacher = batch()
    settings = recipe(soft_loss="dist", temperature=1.0, soft_share=1.0)
    given, wanted = softmax(logits, 1).numpy(), softmax(teacher, 1).numpy()
    rows = [np.corrcoef(*pair)[0, 1] for pair in zip(given, wanted, strict=True)]
    columns = [np.corrcoef(*pair)[0, 1] for pair in zip(given.T, wanted.T, strict=True)]
    expected = 2 - np.mean(rows) - np.mean(columns)
    assert float(loss_of(settings, samples, logits, teacher)) == pytest.approx(expected, abs=1e-5)
    assert float(loss_of(settings, samples, teacher, teacher)) == pytest.approx(0, abs=1e-5)


def test_a_picture_blended_with_one_without_a_label_is_half_labelled() -> None:
    samples, logits, _ = batch()
    settings, task = recipe(soft_share=0.25, label_smoothing=0.1), Distilled(recipe(soft_share=0.25))
    targets = task.targets(samples, 3)
    mixed = torch.from_numpy(task.mix(targets[:1], targets[2:3].copy(), 0.5))
    mixed[:, 3:] = logits[:1]
    whole = cross_entropy(logits[:1], torch.tensor([0]), label_smoothing=0.1)
    found = task.loss(samples, 3, settings)(logits[:1], mixed)
    torch.testing.assert_close(found, 0.75 * 0.5 * whole)


def test_without_a_label_the_teacher_is_agreed_with() -> None:
    samples, _, teacher = batch()
    task = Distilled(recipe())
    targets = torch.from_numpy(task.targets(samples, 3))
    targets[:, 3:] = teacher
    right = torch.eye(3)[[0, 2, int(teacher[2].argmax()), 1]]
    assert task.sums(right, targets) == {"top1": 4}
    assert task.sums(right.roll(1, 1), targets) == {"top1": 0}


@pytest.mark.parametrize("make", [PlainStepper, FusedStepper])
def test_features_are_pulled_towards_the_teachers(make: type[PlainStepper]) -> None:
    """The loss has their cosine distance from what the classifier reads, before dropout."""
    settings = recipe(soft_share=0.5, feature_weight=3.0, ema=0.9, lr=0.1)
    samples, _, teacher = batch()
    torch.manual_seed(0)
    network: Network = create_model("mobilenet_v2", 3, 0.1, size=96)
    network.dropout.p = 0.0
    twin, wanted = copy.deepcopy(network).train(), torch.rand(len(samples), network.features)
    task = Distilled(settings, network.features)
    targets = task.targets(samples, 3)
    targets[:, 3:6], targets[:, 6:] = teacher, wanted
    images = np.random.default_rng(0).standard_normal((len(samples), 96, 96, 3)).astype(np.float32)
    stepper = make(network, Stage(settings, 0, 1, 1, 1), task, task.loss(samples, 3, settings), torch.device("cpu"))
    stepper._enter_training()
    sums = stepper._add_gradient(Batch(images, targets), 1.0)
    features = twin.head(twin.pool(twin.body(torch.from_numpy(images).permute(0, 3, 1, 2))))
    answers = task.loss(samples, 3, settings)(twin.classifier(features), torch.from_numpy(targets))
    expected = answers + 3 * (1 - cosine_similarity(features, wanted)).mean()
    expected.backward()
    assert sums["loss"] / len(samples) == pytest.approx(expected.item(), rel=1e-4)
    own, other = (net.body[-1].conv.weight.grad for net in (network, twin))
    assert (
        own - other
    ).norm() < 1e-2 * other.norm()  # rounding decides whether ReLU6 lets a value pass that is almost 0
    assert expected.item() > answers.item() + 0.1


class Means:
    """A teacher that says what the mean of each colour is, so that an answer tells which view it is of."""

    mark = "means"
    features = 0
    asked = 0

    def __call__(self, images: Any, preprocessing: Preprocessing, /) -> Any:
        self.asked += len(images)
        return images.mean((1, 2)).astype(np.float32)


@pytest.fixture
def pictures(draw: Any, tmp_path: Path) -> Loader:
    preprocessing, folder = Preprocessing(24), read_folder(draw(tmp_path / "photos", {"a": 3, "b": 3, "c": 2}))
    more = tuple(Sample(sample.path, UNLABELLED) for sample in folder.samples[:2])
    train = Loader(folder.samples, 3, preprocessing, Classification(), build("photo", preprocessing), workers=1)
    return Lesson(Means(), more).of(train, recipe())


@pytest.mark.parametrize("mixed", [{}, {"mixup": 0.5}, {"cutmix": 1.0}])
def test_the_teacher_sees_what_the_student_sees(pictures: Loader, mixed: dict[str, float]) -> None:
    [found] = replace(pictures, **mixed).batches([list(range(10))], epoch=3)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.targets[:, 3:], found.images.mean((1, 2)), rtol=1e-6)
    assert found.targets[:, :3].sum() == pytest.approx(8)  # two have no label
    assert len(np.unique(found.targets[:, 3].round(5))) > 6


def test_answers_are_kept_beside_the_features(pictures: Loader) -> None:
    torch.manual_seed(0)
    network: Network = create_model("mobilenet_v2", 3, 0.1, size=24).eval()
    settings, device = recipe(weights="x", freeze="backbone", views=3), torch.device("cpu")
    blocks, plain = len(network.body), replace(pictures, augment=None, teacher=None)
    assert still_to_ask(settings, pictures) == 30
    for asked in (30, 30):  # the second time they come from the disk
        train, held = cached_features(network, settings, blocks, pictures, plain, device) or (None, None)
        assert train is not None and held is not None and held.taught is None and train.taught is not None
        assert pictures.teacher.asked == asked  # type: ignore[union-attr]
    assert still_to_ask(settings, pictures) == 0
    [unchanged] = plain.batches([list(range(10))])
    np.testing.assert_allclose(train.taught[:, 0], unchanged.images.mean((1, 2)), atol=1e-5)
    assert np.abs(train.taught[:, 1] - train.taught[:, 2]).min() > 1e-5
    [found] = train.batches([list(range(10))], epoch=1)
    for place in range(10):
        [view] = np.flatnonzero((train.values[place] == found.images[place]).all((1, 2, 3)))
        assert np.array_equal(found.targets[place, 3:], train.taught[place, view])
