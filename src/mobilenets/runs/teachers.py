"""The teachers of a run: models opened to be asked about views, and pictures without labels for them to speak of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from mobilenets.base.notes import log
from mobilenets.base.progress import progress
from mobilenets.base.text import percent
from mobilenets.datasets.listing import names
from mobilenets.datasets.loader import Loader, evenly, in_order
from mobilenets.datasets.prepare import Dataset
from mobilenets.datasets.seen import SeenPictures
from mobilenets.errors import InputError
from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.seen import read_seen
from mobilenets.runs.teacher_model import TOGETHER, TeacherModel, about_teacher, open_teacher
from mobilenets.runs.unlabelled import begin_unlabelled, take_up_unlabelled
from mobilenets.runs.update import Source
from mobilenets.runtime.answers import log_softmax
from mobilenets.runtime.bundle import find_bundle
from mobilenets.runtime.tie import contract_hash
from mobilenets.training.distillation import Lesson
from mobilenets.training.features import COMPUTED_TOGETHER
from mobilenets.training.recipe import Recipe
from mobilenets.training.start import frozen_blocks

Floats = npt.NDArray[np.float32]

# Validation pictures that a teacher is tried on before it teaches.
TRIED = 1000


class Teachers:
    """One model or several, of which the mean of the probabilities counts; see ``mobilenets.datasets.loader.Teacher``.

    Of a model that knows other classes too only those of ``classes`` are asked for, and their probabilities brought to
    a sum of 1. Raises ``InputError`` for one that lacks some.
    """

    def __init__(self, models: Sequence[TeacherModel], classes: Sequence[str]) -> None:
        self._models, self._columns = tuple(models), [_columns(model, classes) for model in models]
        about = [
            [one.sha256, contract_hash(one.predictor.bundle.to_json()), one.on_device, one.features] for one in models
        ]
        self.features = models[0].features
        text = json.dumps([about, list(classes), TOGETHER, onnxruntime.__version__, str(torch.__version__)])
        self.mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def __call__(self, images: Floats, preprocessing: Preprocessing, /) -> Floats:
        """Give the logarithms of their probabilities, N×classes, and behind them the features of the only one."""
        given = [model.logits(model.view(images, preprocessing)) for model in self._models]
        said = [log_softmax(one[:, columns]) for one, columns in zip(given, self._columns, strict=True)]
        mean = said[0] if len(said) == 1 else np.logaddexp.reduce(said) - np.log(len(said))
        if self.features:
            mean = np.concatenate([mean, given[0][:, -self.features :]], axis=1)
        return np.asarray(mean, np.float32)


@dataclass(frozen=True, eq=False)
class Opened:
    """Models that are open, before it is known which classes they are to teach."""

    models: tuple[TeacherModel, ...]

    @property
    def about(self) -> list[dict[str, Any]]:
        """Say which they are, as ``recipe.json`` keeps it."""
        return [about_teacher(model) for model in self.models]

    @cached_property
    def each_saw(self) -> tuple[SeenPictures | None, ...]:
        """What each learned from and held out, None where it is not known."""
        return tuple(read_seen(find_bundle(Path(model.place))) for model in self.models)

    @property
    def seen(self) -> SeenPictures | None:
        """What they learned from and held out, as far as it is known of any."""
        known = list(filter(None, self.each_saw))
        return reduce(SeenPictures.with_earlier, known) if known else None


def with_whole_paths(recipe: Recipe) -> Recipe:
    """Name teachers and pictures without labels by whole paths, so that the run can be repeated anywhere."""
    if recipe.teacher is None:
        return recipe
    more = None if recipe.unlabelled is None else str(Path(recipe.unlabelled).resolve())
    return recipe.replace(teacher=[str(Path(place).resolve()) for place in recipe.teacher], unlabelled=more)


def open_teachers(recipe: Recipe, device: torch.device) -> Opened | None:
    """Open the teachers of a recipe; None where it has none. Raises ``InputError`` for one that cannot teach."""
    if recipe.teacher is None:
        return None
    wanted = recipe.feature_weight > 0
    if wanted and len(recipe.teacher) > 1:
        raise InputError("feature_weight: features are those of one teacher; leave it out, or give one --teacher")
    return Opened(tuple(open_teacher(str(place), device, features=wanted) for place in recipe.teacher))


@dataclass(frozen=True, eq=False)
class Begun:
    """What teaches a run that begins: the ``lesson``, what ``recipe.json`` keeps of it, and notes on it."""

    lesson: Lesson | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def unlabelled(self) -> int:
        """How many pictures without labels there are."""
        return 0 if self.lesson is None else len(self.lesson.unlabelled)

    def seen(self, labelled: SeenPictures) -> SeenPictures:
        """Add the pictures without labels to those with: they are learned from too."""
        contents = () if self.lesson is None else self.lesson.contents.values()
        return SeenPictures(dict.fromkeys(contents, ("", "train"))).with_earlier(labelled)

    def tried(self, recipe: Recipe, validation: Loader) -> Begun:
        """Try the teacher on the validation pictures, and say how good it is on what the student sees."""
        if self.lesson is None:
            return self
        about = {**self.about, "top1": try_teacher(self.lesson, validation)}
        note = note_of(about, recipe, len(validation.samples))
        log.info("%s", note)
        return replace(self, about=about, notes=(*self.notes, note))


def seen_before(source: Source | None, opened: Opened | None) -> SeenPictures | None:
    """Say what the model that a run begins with saw, and what its teachers did: they would tell of what is held out."""
    own, theirs = None if source is None else source.seen, None if opened is None else opened.seen
    return theirs if own is None else own.with_earlier(theirs)


def begin_lesson(opened: Opened | None, recipe: Recipe, dataset: Dataset) -> Begun:
    """Give what teaches a run that begins; nothing where no teacher is ``opened``."""
    if opened is None:
        return Begun()
    teachers = Teachers(opened.models, dataset.classes)
    notes = [_said_of_classes(model, dataset.classes) for model in opened.models]
    for model, saw in zip(opened.models, opened.each_saw, strict=True):
        if saw is None:
            notes.append(
                f"the teacher {Path(model.place).name} does not say which pictures it was trained on: if some of them "
                "are among those measured on, the figures are too high"
            )
    taught = opened.seen
    measured = [dataset.contents[sample.path] for sample in dataset.measured]
    learned = 0 if taught is None else sum(map(taught.learned, measured))
    if learned:
        notes.append(
            f"{learned} of the {len(dataset.measured)} pictures measured on were training pictures of the teacher: the "
            "figures are too high"
        )
    about: dict[str, Any] = {"teachers": opened.about}
    more = begin_unlabelled(recipe, dataset)
    if more.about:
        about["unlabelled"] = more.about
    notes += more.notes
    lesson = Lesson(teachers, more.samples, more.contents)
    return Begun(lesson, about, tuple(filter(None, notes)))


def take_up_lesson(
    recipe: Recipe, about: Mapping[str, Any], classes: Sequence[str], device: torch.device
) -> Lesson | None:
    """Give what teaches a run that goes on; raises ``InputError`` where it is not what it was."""
    opened = open_teachers(recipe, device)
    if opened is None:
        return None
    for now, then in zip(opened.about, about["teachers"], strict=True):
        if (now["sha256"], now["contract"]) != (then["sha256"], then["contract"]):
            raise InputError(
                f"{then['model']}: not the teacher that this run began with; bring that one back, or train again with "
                "another --out"
            )
    more = take_up_unlabelled(recipe, about.get("unlabelled", {}))
    return Lesson(Teachers(opened.models, classes), more.samples, more.contents)


def refuse_other_features(lesson: Lesson | None, network: Network, recipe: Recipe) -> None:
    """Raise ``InputError`` where the teacher's features are to be compared and cannot, or to no effect."""
    if lesson is None or not lesson.teacher.features:
        return
    if lesson.teacher.features != network.features:
        raise InputError(
            f"feature_weight: the teacher has {lesson.teacher.features} features and the network {network.features}: "
            "leave it out, or choose a network with as many"
        )
    lone = frozen_blocks(network, recipe.freeze) == len(network.body) or (recipe.head_epochs or 0) >= recipe.epochs
    if lone and not any(True for _ in network.head.parameters()):
        raise InputError(
            "feature_weight: without effect where only the classifier learns: give --freeze none or more --epochs, or "
            "leave --feature-weight out"
        )


def try_teacher(lesson: Lesson, validation: Loader) -> float | None:
    """Give the teacher's top-1 on the validation pictures as the student sees them, on up to 1,000; None for none."""
    places = evenly(len(validation.samples), TRIED) if validation.samples else []
    if not places:
        return None
    some, right = [validation.samples[place] for place in places], 0
    plan, asked = in_order(len(some), COMPUTED_TOGETHER), Lesson(lesson.teacher).of(validation, Recipe())
    asked = replace(asked, samples=some)
    with progress("asking the teacher", len(some), "pictures") as shown:
        for batch in asked.batches(plan):
            wanted, said = (batch.targets[:, start : start + asked.outputs] for start in (0, asked.outputs))
            right += int((wanted.argmax(1) == said.argmax(1)).sum())
            shown.advance(len(batch))
    return right / len(some)


def note_of(about: Mapping[str, Any], recipe: Recipe, pictures: int) -> str:
    """Say who taught, and how good it is on what the student sees."""
    who = " and ".join(str(one["words"]) for one in about["teachers"])
    more = about.get("unlabelled")
    beside = "" if more is None else f"; {more['pictures']} pictures without labels beside those with"
    worth = ""
    if about.get("top1") is not None:
        verb, half = "are" if len(about["teachers"]) > 1 else "is", f"{min(pictures, TRIED)} validation pictures"
        worth = f", which {verb} right on {percent(about['top1'], 1)} of {half} as the student sees them"
    return f"Taught at {recipe.size} pixels by {who}{worth}{beside}."


def _columns(model: TeacherModel, classes: Sequence[str]) -> list[int]:
    """Give the column of each class among the model's own."""
    places = {name: column for column, name in enumerate(model.predictor.bundle.classes)}
    lacking = [name for name in classes if name not in places]
    if lacking:
        raise InputError(
            f"teacher {model.place}: does not know {names(lacking)} of DATA's classes; it knows {names(list(places))}: "
            "give one that was trained on these classes"
        )
    return [places[name] for name in classes]


def _said_of_classes(model: TeacherModel, classes: Sequence[str]) -> str:
    count = len(model.predictor.bundle.classes)
    if count == len(classes):
        return ""
    note = (
        f"the teacher {Path(model.place).name} knows {count} classes; the probabilities of DATA's {len(classes)} were "
        "brought to a sum of 1"
    )
    log.info("%s", note)
    return note
