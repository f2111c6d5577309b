"""The teachers of a run: models opened to be asked about views, and pictures without labels for them to speak of."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from PIL import Image

from mobilenets.base.notes import log
from mobilenets.base.progress import progress
from mobilenets.base.text import percent
from mobilenets.datasets.listing import names
from mobilenets.datasets.loader import Loader, evenly, in_order
from mobilenets.datasets.prepare import Dataset
from mobilenets.datasets.seen import SeenPictures
from mobilenets.errors import InputError
from mobilenets.exports.beside import graph_of
from mobilenets.models.engine import NetworkEngine
from mobilenets.models.saved import load_classifier
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.predictor import ONNX
from mobilenets.runs.seen import read_seen
from mobilenets.runs.unlabelled import begin_unlabelled, take_up_unlabelled
from mobilenets.runs.update import Source
from mobilenets.runtime.answers import log_softmax
from mobilenets.runtime.bundle import CLASSIFICATION, WEIGHTS, Bundle, find_bundle, read_bundle
from mobilenets.runtime.engines import open_engine
from mobilenets.runtime.exported import file_hash
from mobilenets.runtime.predictor import EnginePredictor
from mobilenets.runtime.tie import contract_hash
from mobilenets.training.distillation import Lesson
from mobilenets.training.features import COMPUTED_TOGETHER
from mobilenets.training.recipe import Recipe

Floats = npt.NDArray[np.float32]

# Pictures a run, always: else the last bits of an answer would depend on how many others were asked about with it.
TOGETHER = 4
# Validation pictures that a teacher is tried on before it teaches.
TRIED = 1000


@dataclass(frozen=True, eq=False)
class _Model:
    """One opened teacher: ``place`` as it was given, and the hash of its weights, or of the file."""

    place: str
    predictor: EnginePredictor
    sha256: str
    on_device: bool

    def view(self, images: Floats, preprocessing: Preprocessing) -> npt.NDArray[Any]:
        """Bring what ``preprocessing`` made, N×S×S×3, to this model's own size and numbers."""
        own, pixels_wanted = self.predictor.bundle.preprocessing, self._wants_pixels
        same = ("size", "mean", "std", "scale")
        if not pixels_wanted and all(getattr(own, name) == getattr(preprocessing, name) for name in same):
            return images
        mean, std = (np.array(values, np.float32) for values in (preprocessing.mean, preprocessing.std))
        pixels = (images * std + mean) / np.float32(preprocessing.scale)
        if own.size != preprocessing.size:
            pixels = _resized(pixels, own.size)
        if pixels_wanted:
            whole: npt.NDArray[np.uint8] = np.clip(np.floor(pixels + 0.5), 0, 255).astype(np.uint8)
            return whole
        numbers = pixels * np.float32(own.scale) - np.array(own.mean, np.float32)
        return np.asarray(numbers / np.array(own.std, np.float32), np.float32)

    @property
    def _wants_pixels(self) -> bool:
        return self.predictor.file is not None and self.predictor.file.input == "uint8"

    def logits(self, views: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Give the logits, or the logarithms of the probabilities, N×classes of its own."""
        predictor = self.predictor
        finished = predictor.file is not None and predictor.file.output != "logits"
        together, parts = (len(views) if self.on_device else TOGETHER), []
        for start in range(0, len(views), max(1, together)):
            part = views[start : start + together]
            if len(part) < together:
                part = np.concatenate([part, np.zeros((together - len(part), *part.shape[1:]), part.dtype)])
            given = predictor.engine(part)[: min(together, len(views) - start)]
            parts.append(predictor.reading.outputs(given) if finished else given)
        return np.concatenate(parts).astype(np.float64)


class Teachers:
    """One model or several, of which the mean of the probabilities counts; see ``mobilenets.datasets.loader.Teacher``.

    Of a model that knows other classes too only those of ``classes`` are asked for, and their probabilities brought to
    a sum of 1. Raises ``InputError`` for one that lacks some.
    """

    def __init__(self, models: Sequence[_Model], classes: Sequence[str]) -> None:
        self._models, self._columns = tuple(models), [_columns(model, classes) for model in models]
        about = [[one.sha256, contract_hash(one.predictor.bundle.to_json()), one.on_device] for one in models]
        text = json.dumps([about, list(classes), TOGETHER, onnxruntime.__version__, str(torch.__version__)])
        self.mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def __call__(self, images: Floats, preprocessing: Preprocessing, /) -> Floats:
        """Give the logarithms of their probabilities, N×classes."""
        said = [
            log_softmax(model.logits(model.view(images, preprocessing))[:, columns])
            for model, columns in zip(self._models, self._columns, strict=True)
        ]
        mean = said[0] if len(said) == 1 else np.logaddexp.reduce(said) - np.log(len(said))
        return np.asarray(mean, np.float32)


@dataclass(frozen=True, eq=False)
class Opened:
    """Models that are open, before it is known which classes they are to teach."""

    models: tuple[_Model, ...]

    @property
    def about(self) -> list[dict[str, Any]]:
        """Say which they are, as ``recipe.json`` keeps it."""
        return [_about(model) for model in self.models]

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
    return Opened(tuple(_opened(str(place), device) for place in recipe.teacher))


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
            wanted, said = batch.targets[:, : asked.outputs], batch.targets[:, asked.outputs :]
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


def _opened(place: str, device: torch.device) -> _Model:
    path = Path(place)
    folder = find_bundle(path)
    bundle = read_bundle(folder)
    if bundle.task != CLASSIFICATION or bundle.outputs is not None or not bundle.classes:
        raise InputError(f"teacher {place}: not a model that tells classes apart; give a classifier")
    file = bundle.export
    if file is not None:
        if file.geometry == "inside":
            raise InputError(
                f"teacher {place}: a file that resizes pictures itself; give the run that it was made from"
            )
        engine = open_engine(folder, file, None, 1)
        return _Model(place, EnginePredictor(bundle, engine, file), file.sha256[file.file], on_device=False)
    saved, mark = load_classifier(path), file_hash(folder / WEIGHTS)
    if device.type != "cpu":
        return _Model(place, EnginePredictor(bundle, NetworkEngine(saved.network, device)), mark, on_device=True)
    with tempfile.TemporaryDirectory(prefix="mobilenets-") as aside:
        # Written anew, because the file beside the weights may be of others, or missing.
        written = graph_of(saved, Path(aside))
        engine = open_engine(Path(aside), written, ONNX, 1)
    return _Model(place, EnginePredictor(bundle, engine, written), mark, on_device=False)


def _about(model: _Model) -> dict[str, Any]:
    bundle = model.predictor.bundle
    return {
        "model": model.place,
        "sha256": model.sha256,
        "contract": contract_hash(bundle.to_json()),
        "classes": len(bundle.classes),
        "words": f"{Path(model.place).name} ({_network(bundle)})",
    }


def _network(bundle: Bundle) -> str:
    described = bundle.architecture
    return f"{described['name']} {described['width']:g} at {bundle.preprocessing.size} pixels"


def _columns(model: _Model, classes: Sequence[str]) -> list[int]:
    """Give the column of each class among the model's own."""
    places = {name: column for column, name in enumerate(model.predictor.bundle.classes)}
    lacking = [name for name in classes if name not in places]
    if lacking:
        raise InputError(
            f"teacher {model.place}: does not know {names(lacking)} of DATA's classes; it knows {names(list(places))}: "
            "give one that was trained on these classes"
        )
    return [places[name] for name in classes]


def _said_of_classes(model: _Model, classes: Sequence[str]) -> str:
    count = len(model.predictor.bundle.classes)
    if count == len(classes):
        return ""
    note = (
        f"the teacher {Path(model.place).name} knows {count} classes; the probabilities of DATA's {len(classes)} were "
        "brought to a sum of 1"
    )
    log.info("%s", note)
    return note


def _resized(pixels: Floats, size: int) -> Floats:
    """Resize N×S×S×3 channel by channel, bilinear with antialiasing, without rounding."""
    out = np.empty((len(pixels), size, size, 3), np.float32)
    for picture, row in zip(pixels, out, strict=True):
        for channel in range(3):
            plane = Image.fromarray(np.ascontiguousarray(picture[..., channel]))
            row[..., channel] = np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR))
    return out
