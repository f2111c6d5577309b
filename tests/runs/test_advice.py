"""What would help next: each rule says its thing where it is true, and only there."""

from __future__ import annotations

import dataclasses
import os
import shlex
from typing import Any

import numpy as np
import pytest

from mobilenets.cli.verbs import build_parser
from mobilenets.measure.metrics import Evaluation
from mobilenets.runs import advice
from mobilenets.runs.advice import Outcome, next_steps
from mobilenets.training.recipe import Recipe

CLASSES = ("birds", "flowers", "fruit")


def answers(right: tuple[int, int, int], of: int = 100, sure: float = 0.5) -> Evaluation:
    """So many right of each class's pictures; mistakes have the probability ``sure``, for the next class."""
    labels = np.repeat(np.arange(3), of)
    given = np.concatenate([[c] * n + [(c + 1) % 3] * (of - n) for c, n in enumerate(right)])
    logits = np.log(np.full((3 * of, 3), (1 - sure) / 2))
    logits[np.arange(3 * of), given] = np.log(sure)
    names = tuple(f"{CLASSES[label]}/{place:03}.jpg" for place, label in enumerate(labels))
    return Evaluation(CLASSES, names, labels.astype(np.int64), logits.astype(np.float32))


def history(train: float = 0.9, losses: tuple[float, ...] = (0.5,) * 20) -> list[dict[str, float]]:
    return [{"epoch": i, "train_top1": train, "validation_loss": loss} for i, loss in enumerate(losses, 1)]


def seen(**changes: Any) -> Outcome:
    """A run with nothing to say of it: trained weights, even classes, mistakes that are not sure, 300 pictures."""
    plain = Outcome(
        recipe=Recipe(),
        history=history(),
        kept=12,
        train={"birds": 100, "flowers": 100, "fruit": 100},
        evaluation=answers((85, 85, 85)),
        evaluated_on="validation",
        scratch=False,
        side=224,
        data="my photos",
        run="runs/one",
    )
    return dataclasses.replace(plain, **changes)


LOOKS_WRONG = {"path": "a/b.jpg", "given": "birds", "suggested": "fruit", "score": 9.0}
LOOK_WRONG = {"pictures": 9000, "top1": 0.9, "found": 250, "suspects": [LOOKS_WRONG] * 100}
FALLING = tuple(np.linspace(2.0, 0.4, 20))
UNEVEN = {"birds": 100, "flowers": 90, "fruit": 12}
SAID: list[tuple[str, dict[str, Any], str]] = [
    ("trained_weights", {"scratch": True}, "--weights imagenet"),
    ("not_learned", {"history": history(0.5), "evaluation": answers((55, 55, 55))}, "50 % of them"),
    ("doubtful_labels", {"evaluation": answers((85, 85, 85), sure=0.95)}, "birds/085.jpg (labelled birds, predicted"),
    ("weakest_class", {"evaluation": answers((95, 95, 50))}, "pictures of fruit: 50 of 100 were found, with 100 to"),
    ("smallest_class", {"train": UNEVEN, "evaluation": answers((88, 88, 80))}, "fruit, which has only 12 for training"),
    ("more_epochs", {"history": history(0.9, FALLING), "kept": 20}, "--epochs 40"),
    # Whoever trains longer than the clock allowed trains by none.
    (
        "more_epochs",
        {"history": history(0.9, FALLING), "kept": 20, "recipe": Recipe(minutes=5)},
        "--recipe runs/one/recipe.json --minutes none --epochs 40 --out NEW",
    ),
    ("overfitting", {"history": history(0.99), "evaluation": answers((70, 70, 70))}, "--augment strong"),
    ("larger_size", {"recipe": Recipe(size=96), "side": 480}, "--size 192"),
    ("few_held_out", {"evaluation": answers((27, 27, 27), of=30)}, "only 90 pictures were held out"),
    ("few_held_out", {"evaluation": answers((27, 27, 27), of=30), "recipe": Recipe(minutes=2)}, "--minutes none"),
    ("doubtful_labels", {"wrong_labels": LOOK_WRONG}, "a/b.jpg (labelled birds, rather fruit) and 247 more. Take"),
    ("more_to_measure", {"evaluation": answers((5, 5, 5), of=6)}, "with 18, the true top-1"),
]
UNSAID: list[tuple[str, dict[str, Any]]] = [
    ("trained_weights", {"scratch": True, "evaluation": answers((99, 99, 99))}),
    ("trained_weights", {"scratch": True, "recipe": Recipe(model="mobilenet_v1_cifar", size=32)}),
    ("not_learned", {"history": history(0.5), "evaluation": answers((55, 55, 55)), "recipe": Recipe(mixup=0.2)}),
    ("not_learned", {"history": history(0.5), "kept": 0}),
    ("few_held_out", {"evaluation": answers((27, 27, 27), of=30), "evaluated_on": "cross-validation"}),
    ("doubtful_labels", {"evaluation": answers((40, 40, 40), sure=0.95)}),
    ("weakest_class", {"evaluation": answers((90, 90, 85))}),
    ("smallest_class", {"train": UNEVEN, "evaluation": answers((85, 85, 95))}),
    ("smallest_class", {"train": UNEVEN, "recipe": Recipe(balance="sampling")}),
    ("more_epochs", {"history": history(0.9, FALLING), "kept": 12}),
    ("more_epochs", {"kept": 20}),
    ("overfitting", {"history": history(0.99), "evaluation": answers((95, 95, 95))}),
    ("larger_size", {"recipe": Recipe(size=96), "side": 96}),
    ("larger_size", {"recipe": Recipe(size=96), "side": None}),
]


def test_nothing_to_say() -> None:
    assert next_steps(seen()) == []


@pytest.mark.parametrize(("rule", "changes", "words"), SAID, ids=[rule for rule, *_ in SAID])
def test_said(rule: str, changes: dict[str, Any], words: str) -> None:
    step = getattr(advice, rule)(seen(**changes))
    assert step is not None and words in step
    assert step in next_steps(seen(**changes))
    assert "\n" not in step


@pytest.mark.parametrize(("rule", "changes"), UNSAID, ids=[rule for rule, _ in UNSAID])
def test_not_said(rule: str, changes: dict[str, Any]) -> None:
    assert getattr(advice, rule)(seen(**changes)) is None


@pytest.mark.parametrize("changes", [changes for _, changes, _ in SAID])
def test_the_commands_are_commands(changes: dict[str, Any]) -> None:
    for step in next_steps(seen(**changes)):
        words = shlex.split(step[step.index("mobilenets ") :])
        found = build_parser().parse_args(words[1:])
        assert "my photos" in words or found.data == "NEW_PICTURES"


def test_the_commands_are_for_the_shell_of_this_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    [step] = next_steps(seen(evaluation=answers((95, 95, 50))))
    assert 'mobilenets train "my photos" --weights runs/one --out NEW' in step


def test_three_at_most_and_the_most_useful_first() -> None:
    bad = seen(
        scratch=True,
        recipe=Recipe(size=96),
        side=400,
        train=UNEVEN,
        evaluation=answers((9, 9, 5), of=10, sure=0.9),
        history=history(0.99, FALLING),
        kept=20,
    )
    steps = next_steps(bad)
    assert len(steps) == 3
    assert "--weights imagenet" in steps[0] and "Look at the labels" in steps[1]


def test_one_advice_to_train_longer() -> None:
    slow = seen(history=history(0.4, FALLING), kept=20, evaluation=answers((40, 40, 40)))
    assert sum("Train longer" in step for step in next_steps(slow)) == 1
