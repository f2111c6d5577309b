"""Every setting of a training run, each written once: its default, its range and its help.

The command line makes its flags from these fields, ``recipe.json`` holds them, and ``--recipe`` reads them back.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

from mobilenets.errors import InputError

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("constant", "step", "exponential", "cosine", "polynomial", "one_cycle")
BALANCES = ("none", "sampling", "weights")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
KEEPS = ("best", "last")


def _setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    low: float | None = None,
    high: float | None = None,
    open_low: bool = False,
    open_high: bool = False,
) -> Any:
    bounds = {"low": low, "high": high, "open_low": open_low, "open_high": open_high}
    return field(default=default, metadata={"help": help, "choices": choices, **bounds})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of one run. Raises ``InputError`` for a setting that cannot be used."""

    # The network.
    model: str = _setting("mobilenet_v2", "network: mobilenet_v1, mobilenet_v2 or mobilenet_v1_cifar")
    width: float = _setting(1.0, "width multiplier", low=0, open_low=True, high=16)
    size: int = _setting(224, "input size in pixels a side", low=1, high=4096)
    variant: str = _setting(
        "auto",
        "auto takes the variant for small pictures up to 64 pixels",
        choices=("auto", "standard", "small"),
    )
    table: str | list[Any] | dict[str, Any] | None = _setting(
        None, "own table: rows of t c n s or a whole table, or the JSON file of either"
    )
    dropout: float | None = _setting(
        None, "dropout before the classifier; none: the network's own", low=0, high=1, open_high=True
    )
    weights: str = _setting("none", "start from: none, imagenet, a run folder or bundle, or a foreign weights file")
    freeze: str = _setting("none", "none, backbone (train the classifier only), or N (the first N blocks)")

    # The pictures.
    augment: str | list[Any] = _setting(
        "photo",
        "augmentation: none, light, photo, imagenet, strong, digits, keras-cifar100, garbage-mindspore or "
        "cifar10-light; in a recipe file also a list of transforms",
    )
    views: int = _setting(
        4, "augmented views a picture that frozen blocks see, computed once; 0: new ones each epoch", low=0, high=1000
    )
    mixup: float = _setting(0.0, "mixup alpha; 0: off", low=0, high=100)
    cutmix: float = _setting(0.0, "CutMix alpha; 0: off", low=0, high=100)
    resize: str = _setting(
        "crop", "how a picture is brought to size for evaluation", choices=("crop", "stretch", "pad")
    )
    crop_fraction: float = _setting(
        0.875, "share of the shorter side that the centre crop keeps", low=0, open_low=True, high=1
    )
    interpolation: str = _setting("bicubic", "resampling filter", choices=("nearest", "bilinear", "bicubic", "lanczos"))
    validation_share: float = _setting(
        0.2,
        "share of each class kept for validation, for a folder without one",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
    )
    balance: str = _setting("none", "uneven classes: sample them evenly, or weight the loss", choices=BALANCES)
    max_unreadable: float = _setting(
        0.1, "share of unreadable pictures up to which training goes on without them", low=0, high=1
    )

    # Length.
    epochs: int = _setting(30, "passes over the training pictures", low=1, high=1_000_000)
    steps: int | None = _setting(None, "train for this many steps instead of --epochs", low=1, high=10**9)
    batch: int = _setting(32, "pictures a step", low=1, high=65536)
    accumulate: int = _setting(1, "batches whose gradients are added up for one step", low=1, high=4096)
    patience: int | None = _setting(None, "stop after so many epochs without a better one", low=1, high=1_000_000)
    keep: str = _setting(
        "best",
        "the model kept: the best epoch by the validation pictures, or the last (nothing is chosen)",
        choices=KEEPS,
    )

    # Optimisation.
    optimizer: str = _setting("adamw", "optimiser", choices=OPTIMIZERS)
    lr: float = _setting(2e-3, "peak learning rate", low=0, open_low=True, high=1000)
    momentum: float = _setting(0.9, "momentum (sgd, rmsprop), or beta1 (adam, adamw)", low=0, high=1, open_high=True)
    nesterov: bool = _setting(False, "Nesterov momentum (sgd)")
    weight_decay: float = _setting(0.05, "weight decay; never on BatchNorm and biases", low=0, high=10)
    schedule: str = _setting("cosine", "course of the learning rate", choices=SCHEDULES)
    warmup: float = _setting(1.0, "epochs of linear warm-up", low=0, high=1_000_000)
    final_lr: float = _setting(
        0.0, "learning rate at the end as a share of --lr (cosine, polynomial, one_cycle)", low=0, high=1
    )
    decay: float = _setting(0.1, "factor of step (each --decay-epochs) and exponential", low=0, high=1, open_low=True)
    decay_epochs: float = _setting(10.0, "epochs from one --decay to the next", low=0, high=1_000_000, open_low=True)
    power: float = _setting(2.0, "power of polynomial (2: square)", low=0, high=100, open_low=True)
    label_smoothing: float = _setting(0.1, "label smoothing", low=0, high=1, open_high=True)
    clip: float | None = _setting(
        None, "largest norm of the gradient; none: no clipping", low=0, open_low=True, high=1e9
    )
    ema: float | None = _setting(
        None, "decay a step of the moving average of the weights; none: off", low=0, high=1, open_high=True
    )

    # The machine.
    seed: int = _setting(0, "seed of everything random", low=0, high=2**31 - 1)
    precision: str = _setting("auto", "arithmetic; auto: mixed on a GPU, float32 on a CPU", choices=PRECISIONS)
    device: str = _setting("auto", "auto, cpu, cuda, cuda:N or mps")
    threads: int | None = _setting(None, "CPU threads of PyTorch; none: its own choice", low=1, high=4096)
    workers: int | None = _setting(None, "threads that decode pictures; none: one a core, up to 16", low=1, high=256)

    def __post_init__(self) -> None:
        """Check every field against its type, choices and range."""
        types = _types()
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            object.__setattr__(self, entry.name, _checked(entry.name, value, types[entry.name], entry.metadata))
        if self.freeze not in ("none", "backbone") and not (self.freeze.isdecimal() and int(self.freeze) > 0):
            raise InputError(f"freeze {self.freeze!r}: choose none, backbone or a number of blocks")
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise InputError("nesterov: needs --optimizer sgd and a momentum above 0")

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


_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    list: "a list",
    dict: "an object",
    type(None): "none",
}


def _types() -> dict[str, Any]:
    return get_type_hints(Recipe)


def _refuse_unknown(settings: Mapping[str, Any]) -> None:
    known = [entry.name for entry in dataclasses.fields(Recipe)]
    for name in settings:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            raise InputError(f"recipe: there is no setting {name!r}" + (f"; did you mean {close[0]}?" if close else ""))


def _checked(name: str, value: Any, annotation: Any, metadata: Mapping[str, Any]) -> Any:
    """Return ``value`` as the field's type, or raise a line that says what fits."""
    kinds = get_args(annotation) or (annotation,)
    if value is None and type(None) in kinds:
        return None
    np = sys.modules.get("numpy")  # not imported here: who has numbers of its has loaded it, and the help needs none
    if np is not None and isinstance(value, np.generic):  # 0.35, as it is written, and not float32's neighbour of it
        value = float(str(value)) if isinstance(value, np.floating) else value.item()
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    plain = tuple(getattr(kind, "__origin__", None) or kind for kind in kinds)
    if not isinstance(value, plain) or (isinstance(value, bool) and bool not in kinds):
        words = [_WORDS[kind] for kind in plain]
        raise InputError(f"{name} {value!r}: give {' or '.join(words)}")
    if metadata["choices"] and value not in metadata["choices"]:
        raise InputError(f"{name} {value!r}: choose {', '.join(metadata['choices'])}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = metadata["low"], metadata["high"]
        above = low is None or (value > low if metadata["open_low"] else value >= low)
        below = high is None or (value < high if metadata["open_high"] else value <= high)
        if not (math.isfinite(value) and above and below):
            raise InputError(
                f"{name} {value:g}: give a number {'above' if metadata['open_low'] else 'of at least'} {low:.12g}"
                f" and {'below' if metadata['open_high'] else 'at most'} {high:.12g}"
            )
    return value


def parse_setting(name: str) -> Callable[[str], Any]:
    """Return what reads one setting from a word of the command line."""
    annotation = _types()[name]
    kinds = get_args(annotation) or (annotation,)

    def read(word: str) -> Any:
        if type(None) in kinds and word.lower() == "none":
            return None
        for kind in (int, float):
            if kind in kinds:
                return kind(word)
        return word

    read.__name__ = next((kind.__name__ for kind in (int, float) if kind in kinds), "text")
    return read
