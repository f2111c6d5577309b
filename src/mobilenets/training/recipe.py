"""Every setting of a training run, each written once: its default, its range and its help.

The command line makes its flags from these fields, ``recipe.json`` holds them, and ``--recipe`` reads them back.
A setting that is "auto" follows from the pictures and the weights: ``mobilenets.training.auto`` fills it in.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from mobilenets.errors import InputError
from mobilenets.models.catalog import NAMES
from mobilenets.training.fields import checked, paths, setting
from mobilenets.training.refused import INT8, TWO_OF_FOUR, refuse_together
from mobilenets.training.synonyms import ours

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("constant", "step", "exponential", "cosine", "polynomial", "one_cycle")
BALANCES = ("none", "sampling", "weights")
PRECISIONS = ("auto", "float32", "bfloat16", "float16", INT8)
SOFT_LOSSES = ("kl", "dist")
BOX_LOSSES = ("mining", "focal")
KEEPS = ("best", "last")
PATTERNS = ("none", TWO_OF_FOUR)
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of one run. Raises ``InputError`` for a setting that cannot be used.

    ``epochs``, ``head_epochs``, ``batch``, ``views``, ``lr`` and ``head_lr`` may be None for "auto", as ``weights`` and
    ``freeze`` may be ``auto``: ``mobilenets.training.auto.resolve`` fills them in, and only then can a run use them.
    """

    task: str = setting(
        "classification", "what to learn of each picture: classification, detection (boxes), or a task of your own"
    )

    # The network.
    model: str = setting("mobilenet_v2", f"network: {NAMES}")
    width: float = setting(1.0, "width multiplier", low=0, open_low=True, high=16)
    size: int = setting(224, "input size in pixels per side", low=1, high=4096)
    variant: str = setting(
        "auto",
        "auto: the variant for small pictures up to 64 pixels, standard above",
        choices=("auto", "standard", "small"),
    )
    table: str | list[Any] | dict[str, Any] | None = setting(
        None, "your own layer table, or a JSON file of one: rows of t, c, n, s, or a full table"
    )
    dropout: float | None = setting(
        None, "dropout before the classifier; none: the network's default", low=0, high=1, open_high=True
    )
    weights: str = setting(
        AUTO,
        "weights to start from: auto (ImageNet's if available, else none), none (from scratch), imagenet, "
        "imagenet:timm, imagenet:keras, a trained model (run folder or bundle), or a weights file from another "
        "framework",
    )
    freeze: str = setting(
        AUTO,
        "blocks that keep their weights: none, backbone (train only the classifier), or N (the first N); auto: with "
        "trained weights, first backbone, then only the lower blocks",
    )

    # The pictures.
    augment: str | list[Any] = setting(
        AUTO,
        "augmentation: none, light, photo, imagenet, strong, digits, keras-cifar100, garbage-mindspore or "
        "cifar10-light; or, in a recipe file, a list of transforms; auto: light where --freeze backbone leaves only "
        "the classifier to train, else photo",
    )
    views: int = setting(
        None,
        "views per picture that go through the frozen blocks once and are cached, the first of several as it is, the "
        "others augmented; 0: new ones in each epoch",
        low=0,
        high=1000,
        auto=True,
    )
    mixup: float = setting(0.0, "mixup alpha; 0: off", low=0, high=100)
    cutmix: float = setting(0.0, "CutMix alpha; 0: off", low=0, high=100)
    resize: str = setting("crop", "how a picture is made square for evaluation", choices=("crop", "stretch", "pad"))
    crop_fraction: float = setting(
        0.875, "share of the shorter side that the centre crop keeps", low=0, open_low=True, high=1
    )
    interpolation: str = setting("bicubic", "resampling filter", choices=("nearest", "bilinear", "bicubic", "lanczos"))
    validation_share: float = setting(
        0.2,
        "share of each class held out for validation, if the folder has no validation/",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
    )
    groups: str | None = setting(
        None,
        "pictures that stay on one side of the split: copies (near copies), a CSV file with the columns image "
        "and group, or a pattern (regular expression) with one (…) for the group in a picture's path",
    )
    fixes: str | list[Any] | None = setting(
        None,
        "fixes.csv of mobilenets check, edited: pictures to drop, move or relabel for this run; no file is changed",
    )
    balance: str = setting(
        "none", "for classes of uneven size: sample them evenly, or weight the loss", choices=BALANCES
    )
    max_unreadable: float = setting(
        0.1,
        "largest share of unreadable pictures that may be left out; with more, training does not start",
        low=0,
        high=1,
    )
    max_bad: float = setting(
        0.05,
        "boxes: largest share of wrong ones that may be left out; with more, training does not start",
        low=0,
        high=1,
    )

    # Length.
    epochs: int = setting(
        None,
        "passes over the training pictures; auto: more for few pictures, fewer for many",
        low=1,
        high=1_000_000,
        auto=True,
    )
    head_epochs: int = setting(
        None,
        "how many of the first epochs train only the classifier; auto: three fifths of them with --freeze auto and "
        "trained weights, else none",
        low=0,
        high=1_000_000,
        auto=True,
    )
    minutes: float | None = setting(
        None,
        "how long the whole run may take: whatever of network, width, size, epochs and frozen blocks is not given is "
        "chosen to fit, and it ends by then with the best model so far",
        low=0,
        open_low=True,
        high=100_000,
    )
    steps: int | None = setting(None, "train for this many steps instead of --epochs", low=1, high=10**9)
    batch: int = setting(None, "pictures per step; auto: 8 to 32, fewer for few pictures", low=1, high=65536, auto=True)
    accumulate: int = setting(1, "batches per step, their gradients added up (gradient accumulation)", low=1, high=4096)
    patience: int | None = setting(
        None, "stop early after this many epochs without a better one", low=1, high=1_000_000
    )
    folds: int | None = setting(
        None,
        "cross-validate in so many folds, then train one model on all pictures for as many epochs as did best; none: "
        "hold pictures out once",
        low=2,
        high=100,
    )
    seeds: int | None = setting(
        None,
        "train so many times, from --seed on, on the same split: mean and deviation of the accuracy; the model that "
        "does best on the validation pictures is kept",
        low=2,
        high=100,
    )
    keep: str = setting(
        "best",
        "model to keep: that of the best epoch on the validation pictures, or the last (so nothing is chosen on them)",
        choices=KEEPS,
    )

    # Optimisation.
    optimizer: str = setting("adamw", "optimiser", choices=OPTIMIZERS)
    lr: float = setting(
        None,
        "peak learning rate; auto: 2e-3, and 1e-3 for the upper blocks of a trained network",
        low=0,
        open_low=True,
        high=1000,
        auto=True,
    )
    head_lr: float = setting(
        None, "peak learning rate during --head-epochs; auto: 2e-3", low=0, open_low=True, high=1000, auto=True
    )
    momentum: float = setting(0.9, "momentum (sgd, rmsprop), or beta1 (adam, adamw)", low=0, high=1, open_high=True)
    nesterov: bool = setting(False, "Nesterov momentum (sgd)")
    weight_decay: float = setting(0.05, "weight decay; not applied to BatchNorm and biases", low=0, high=10)
    schedule: str = setting("cosine", "learning rate schedule", choices=SCHEDULES)
    warmup: float = setting(1.0, "epochs of linear warm-up", low=0, high=1_000_000)
    final_lr: float = setting(
        0.0, "final learning rate as a share of --lr (cosine, polynomial, one_cycle)", low=0, high=1
    )
    decay: float = setting(
        0.1, "factor of the step schedule (every --decay-epochs) and the exponential one", low=0, high=1, open_low=True
    )
    decay_epochs: float = setting(10.0, "epochs between two decays", low=0, high=1_000_000, open_low=True)
    power: float = setting(2.0, "power of the polynomial schedule (2: square)", low=0, high=100, open_low=True)
    label_smoothing: float = setting(0.1, "label smoothing", low=0, high=1, open_high=True)
    box_loss: str = setting(
        "mining",
        "boxes: how classes are learned, by cross-entropy of the hardest negatives (SSD) or by the focal loss",
        choices=BOX_LOSSES,
    )
    clip: float | None = setting(None, "largest gradient norm; none: no clipping", low=0, open_low=True, high=1e9)
    ema: float | None = setting(
        None, "decay per step of the weights' moving average (EMA); none: off", low=0, high=1, open_high=True
    )
    sparsity: float | None = setting(
        None,
        "share of the weights of 1x1 convolutions and linear layers that become 0, the smallest first; frozen blocks "
        "keep theirs; needs --keep last; none: off",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
    )
    sparsity_pattern: str = setting(
        "none", "which become 0: none: any; 2:4: two of every four along the input channels", choices=PATTERNS
    )

    # A teacher (distillation).
    teacher: str | list[Any] | None = setting(
        None,
        "a trained model, or several, whose answers are learned beside the labels (distillation): run folder, bundle "
        "or exported file of a classifier that knows all classes of DATA; beside it --unlabelled FOLDER, "
        "--temperature, --soft-share, --soft-loss",
    )
    unlabelled: str | None = setting(
        None, "a folder of pictures without labels, of which --teacher says what they show"
    )
    temperature: float = setting(
        4.0, "teacher: temperature that softens both answers; higher: more of the improbable classes", low=0.1, high=100
    )
    soft_share: float = setting(
        0.9,
        "teacher: the share of its answers in the loss; the rest is that of the labels",
        low=0,
        open_low=True,
        high=1,
    )
    soft_loss: str = setting(
        "kl",
        "teacher: how its answers are compared, by Kullback-Leibler divergence or by correlation (DIST)",
        choices=SOFT_LOSSES,
    )
    feature_weight: float = setting(
        0.0,
        "teacher: weight in the loss of the cosine distance of its features, where the network has as many; 0: they "
        "are not compared",
        low=0,
        high=1000,
    )

    sync_bn: bool = setting(
        True,
        "several processes: BatchNorm normalises by the whole batch (synchronised), as one process does; no: each "
        "process by its own part, which is faster, and changes the model with the number of processes",
    )
    self_test: bool = setting(
        True, "boxes: before the first epoch, see whether eight pictures can be learned and boxes fit the pictures"
    )

    # The machine.
    seed: int = setting(0, "random seed", low=0, high=2**31 - 1)
    split_seed: int | None = setting(
        None, "random seed of which pictures are held out; none: that of --seed", low=0, high=2**31 - 1
    )
    precision: str = setting(
        "auto", "precision; auto: mixed on a GPU, float32 on a CPU; int8: see quantize", choices=PRECISIONS
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps")
    threads: int | None = setting(None, "CPU threads of PyTorch; none: PyTorch's default", low=1, high=4096)
    workers: int | None = setting(None, "threads that decode pictures; none: one per core, up to 16", low=1, high=256)

    def __post_init__(self) -> None:
        """Check every field against its type, choices and range."""
        types = _types()
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            object.__setattr__(self, entry.name, checked(entry.name, value, types[entry.name], entry.metadata))
        if self.freeze not in (AUTO, "none", "backbone") and not (self.freeze.isdecimal() and int(self.freeze[:9]) > 0):
            raise InputError(f"freeze {self.freeze!r}: choose auto, none, backbone or a number of blocks")
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise InputError("nesterov: needs --optimizer sgd and a momentum above 0")
        if self.teacher is not None:
            object.__setattr__(self, "teacher", paths("teacher", self.teacher))
        refuse_together(self, Recipe)

    @property
    def share_of_zeros(self) -> float:
        """The share of the weights that become 0 in a layer that becomes sparse; 0: none does."""
        return self.sparsity or (0.5 if self.sparsity_pattern == TWO_OF_FOUR else 0.0)

    @property
    def seed_of_split(self) -> int:
        """The seed of which pictures are held out."""
        return self.seed if self.split_seed is None else self.split_seed

    def replace(self, **changes: Any) -> Recipe:
        """Return a recipe with some settings changed."""
        _refuse_unknown(changes)
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Recipe:
        """Read settings (missing ones take their default); raises ``InputError`` naming one that is unknown."""
        if not isinstance(value, Mapping):
            raise InputError("recipe: expected an object of settings")
        _refuse_unknown(value)
        return cls(**value)


def _types() -> dict[str, Any]:
    return get_type_hints(Recipe)


def _refuse_unknown(settings: Mapping[str, Any]) -> None:
    known = [entry.name for entry in dataclasses.fields(Recipe)]
    for name in settings:
        if name not in known:
            meant, value = ours(str(name), known) or (None, "")
            close = [meant] if meant else difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {close[0]}{value and f'={value!r}'}?" if close else ""
            raise InputError(f"recipe: unknown setting {name!r}{hint}")


def left_to_auto(name: str, value: Any) -> bool:
    """Say whether a setting of that value is still to be filled in by ``mobilenets.training.auto.resolve``."""
    if name in ("weights", "freeze", "augment"):
        return bool(value == AUTO)
    return value is None and any(entry.name == name and entry.metadata["auto"] for entry in dataclasses.fields(Recipe))


def parse_setting(name: str) -> Callable[[str], Any]:
    """Return what reads one setting from a word of the command line."""
    annotation = _types()[name]
    kinds = get_args(annotation) or (annotation,)
    auto = next(entry.metadata["auto"] for entry in dataclasses.fields(Recipe) if entry.name == name)

    def read(word: str) -> Any:
        if (type(None) in kinds and word.lower() == "none") or (auto and word.lower() == AUTO):
            return None
        for kind in (int, float):
            if kind in kinds:
                return kind(word)
        return word

    read.__name__ = next((kind.__name__ for kind in (int, float) if kind in kinds), "text")
    return read
