"""What would help next: rules about the outcome of one training run, the most useful first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from mobilenets.base.shell import quote
from mobilenets.measure.metrics import Evaluation
from mobilenets.training.recipe import Recipe
from mobilenets.weights.published import PUBLISHED

MOST = 3
GOOD = 0.97  # top-1 above which nothing about the model is advised
SURE = 0.8  # probability of a mistake that makes its label doubtful
NAMED = 3  # files
WIDE = 0.05  # half an interval of top-1 above which its figure says little
RECENT = 5  # epochs


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the rules look at.

    ``history`` holds the rows of history.csv, ``kept`` the number of the kept epoch (0: the model before training),
    ``train`` the training pictures of each class, ``evaluation`` what the kept model answered on ``evaluated_on``.
    ``scratch``: training began with random weights. ``side`` is the shorter side of a typical picture in pixels, None
    where that is not known. ``data`` and ``run`` are the folders, for the commands. ``wrong_labels`` is what
    ``metrics.json`` says of labels that look wrong.
    """

    recipe: Recipe
    history: Sequence[Mapping[str, float]]
    kept: int
    train: Mapping[str, int]
    evaluation: Evaluation
    evaluated_on: str
    scratch: bool
    side: int | None
    data: str
    run: str
    wrong_labels: Mapping[str, Any] | None = None

    @property
    def top1(self) -> float:
        """The top-1 of the kept model."""
        return self.evaluation.top1

    @property
    def train_top1(self) -> float:
        """The mean training top-1 of the last epochs, on augmented pictures."""
        return fmean(row["train_top1"] for row in self.history[-RECENT:])

    @property
    def blended(self) -> bool:
        """Whether training pictures are blends of two, on which accuracy says little."""
        return bool(self.recipe.mixup or self.recipe.cutmix)

    @property
    def longer(self) -> str:
        """The flags that train twice as long, by no clock."""
        steps = self.recipe.steps
        longer = f"--epochs {2 * len(self.history)}" if steps is None else f"--steps {2 * steps}"
        return longer if self.recipe.minutes is None else f"--minutes none {longer}"

    def again(self, *flags: str, same: bool = True) -> str:
        """Give the command that trains anew with these flags; ``same``: with all other settings of the run."""
        recipe = [f"--recipe {quote(f'{self.run}/recipe.json')}"] if same else []
        return " ".join(["mobilenets train", quote(self.data), *recipe, *flags, "--out NEW"])


def next_steps(outcome: Outcome) -> list[str]:
    """Say what would help next, each step with its command: at most three, none where there is nothing to advise."""
    steps = [step for rule in RULES if (step := rule(outcome)) is not None]
    return steps[:MOST]


def trained_weights(outcome: Outcome) -> str | None:
    """Start from trained weights, where training began with random ones."""
    if not outcome.scratch or outcome.top1 >= GOOD or outcome.recipe.table is not None or outcome.recipe.size < 64:
        return None
    if outcome.recipe.model not in {entry.network for entry in PUBLISHED}:
        return None
    network = f"--model {outcome.recipe.model} --width {outcome.recipe.width:g} --weights imagenet"
    otherwise = "" if outcome.recipe.minutes is not None else " (without a network --minutes 5 may do better than this)"
    return (
        "Start from trained weights: this run began with random ones. With few pictures, trained weights help most, "
        f"and are downloaded once{otherwise}: " + outcome.again(network, same=False)
    )


def not_learned(outcome: Outcome) -> str | None:
    """Train longer or more of the network, where not even the training pictures were learned."""
    if outcome.blended or outcome.kept == 0 or outcome.train_top1 >= 0.75 or outcome.top1 >= 0.9:
        return None
    cause = (
        f"The model has not learned its training pictures: {100 * outcome.train_top1:.0f} % of them right at the end. "
    )
    if outcome.recipe.freeze == "backbone":
        return cause + "Train more than the classifier: " + outcome.again("--freeze none --lr 0.0003")
    return cause + "Train longer: " + outcome.again(outcome.longer)


def doubtful_labels(outcome: Outcome) -> str | None:
    """Look at the pictures that look wrongly labelled, or at the mistakes that it is sure of."""
    if outcome.wrong_labels is not None and (count := outcome.wrong_labels["found"]):
        some = outcome.wrong_labels["suspects"][:NAMED]
        named = [f"{one['path']} (labelled {one['given']}, rather {one['suggested']})" for one in some]
        more = f" and {count - NAMED} more" if count > NAMED else ""
        fixes = quote(f"{outcome.run}/fixes.csv")
        return (
            f"Look at the labels of {'this picture' if count == 1 else 'these pictures'}: "
            f"{'; '.join(named)}{more}. Take the lines of those that are right out of {fixes}, then "
            + outcome.again(f"--fixes {fixes}")
        )
    sure = [one for one in outcome.evaluation.mistakes(len(outcome.evaluation.images)) if one.probability >= SURE]
    # A poor model is often sure and wrong.
    if not sure or outcome.top1 < 0.6 or not_learned(outcome) is not None:
        return None
    classes = outcome.evaluation.classes
    named = [
        f"{outcome.evaluation.images[one.index]} (labelled {classes[one.true]}, predicted {classes[one.predicted]}, "
        f"{100 * one.probability:.0f} %)"
        for one in sure[:NAMED]
    ]
    more = f" and {len(sure) - NAMED} more, in the report" if len(sure) > NAMED else ""
    return (
        f"Look at the labels of {'this picture' if len(sure) == 1 else 'these pictures'}: {'; '.join(named)}{more}. "
        "Where a label is wrong, move the file to the right folder, then " + outcome.again()
    )


def weakest_class(outcome: Outcome) -> str | None:
    """Add pictures to the class that is found least often."""
    if outcome.top1 >= GOOD:
        return None
    known = [(score.recall, name, score.images) for name, score in outcome.evaluation.per_class.items() if score.images]
    recall, name, images = min((r, n, i) for r, n, i in known if r is not None)
    if recall > outcome.top1 - 0.1 or images < 3:
        return None
    return (
        f"Add pictures of {name}: {round(recall * images)} of {images} were found, with {outcome.train.get(name, 0)} "
        "to learn from. Put them into its folder, then "
        f"mobilenets train {quote(outcome.data)} --weights {quote(outcome.run)} --out NEW"
    )


def smallest_class(outcome: Outcome) -> str | None:
    """Add pictures to a class that has far fewer than the others, or balance the classes."""
    if outcome.top1 >= GOOD or outcome.recipe.balance != "none" or len(outcome.train) < 2:
        return None
    count, name = min((count, name) for name, count in outcome.train.items())
    usual = median(outcome.train.values())
    recall = outcome.evaluation.per_class[name].recall
    if 3 * count > usual or (recall is not None and recall >= outcome.top1):
        return None
    return (
        f"Add pictures of {name}, which has only {count} for training; the median class has {usual:.0f}. Or show "
        "each class equally often: " + outcome.again("--balance sampling")
    )


def more_epochs(outcome: Outcome) -> str | None:
    """Train longer, where the validation loss still fell at the end."""
    total = len(outcome.history)
    part = max(2, total // 5)
    if total < 2 * part or outcome.kept < total - 1 or outcome.top1 >= GOOD or not_learned(outcome) is not None:
        return None
    losses = [row["validation_loss"] for row in outcome.history]
    was, now = fmean(losses[-2 * part : -part]), fmean(losses[-part:])
    if now > 0.95 * was:
        return None
    return (
        f"Train longer: the validation loss was still falling at the end, from {was:.3f} to {now:.3f} over the last "
        f"{2 * part} epochs: " + outcome.again(outcome.longer)
    )


def overfitting(outcome: Outcome) -> str | None:
    """Give more or more varied pictures, where the training pictures are known and new ones are not."""
    if outcome.blended or outcome.train_top1 < 0.95 or outcome.train_top1 - outcome.top1 < 0.15:
        return None
    return (
        f"The model overfits: {100 * outcome.train_top1:.0f} % on its training pictures, {100 * outcome.top1:.0f} % on "
        "new ones. More pictures help most, stronger augmentation somewhat: " + outcome.again("--augment strong")
    )


def larger_size(outcome: Outcome) -> str | None:
    """Show the network more of each picture, where the pictures are larger than what it sees."""
    size = outcome.recipe.size
    if outcome.top1 >= GOOD or outcome.side is None or outcome.side < 1.5 * size or size > 160:
        return None
    larger = min(224, 32 * (outcome.side // 32), 2 * size)
    if larger <= size:
        return None
    return (
        f"Use a larger input size: your pictures have about {outcome.side} pixels per side, and the model sees {size}. "
        f"This takes about {(larger / size) ** 2:.1f} times as long: " + outcome.again(f"--size {larger}")
    )


def few_held_out(outcome: Outcome) -> str | None:
    """Cross-validate, where so few pictures were held out that their figure says little."""
    low, high = outcome.evaluation.top1_interval
    if outcome.evaluated_on != "validation" or high - low < 2 * WIDE:
        return None
    recipe, flags = outcome.recipe, ["--folds 5"]
    if recipe.minutes is not None:
        flags.append("--minutes none")
    if recipe.steps is not None:
        flags.append(f"--steps none --epochs {len(outcome.history)}")
    return (
        f"Cross-validate: only {len(outcome.evaluation.images)} pictures were held out, so the true top-1 may be "
        f"anything from {100 * low:.0f} to {100 * high:.0f} %. With folds every picture measures, and every picture "
        f"teaches the model that is kept: {outcome.again(*flags)}"
    )


def more_to_measure(outcome: Outcome) -> str | None:
    """Hold out more pictures, where the interval is wide."""
    low, high = outcome.evaluation.top1_interval
    if high - low < 0.2:
        return None
    return (
        f"Measure on more pictures: with {len(outcome.evaluation.images)}, the true top-1 may be anything from "
        f"{100 * low:.0f} to {100 * high:.0f} %. Collect new ones, in one folder per class: mobilenets evaluate "
        f"{quote(outcome.run)} NEW_PICTURES"
    )


RULES: tuple[Callable[[Outcome], str | None], ...] = (
    trained_weights,
    not_learned,
    doubtful_labels,
    few_held_out,
    weakest_class,
    smallest_class,
    more_epochs,
    overfitting,
    larger_size,
    more_to_measure,
)
