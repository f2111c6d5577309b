"""``predict`` and ``Predictor``: what is on a picture, by a model's own ``model.json``."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mobilenets.base.mounts import mounted
from mobilenets.datasets.folder import pictures_below
from mobilenets.datasets.listing import has_pictures
from mobilenets.datasets.shards.open import open_data
from mobilenets.errors import FaultFound, InputError, UnreadablePicture
from mobilenets.pictures.inputs import Picture, Source, is_one, source_of
from mobilenets.pictures.stream import default_workers, grouped, stream
from mobilenets.runs.predictor import Predictor
from mobilenets.runs.shown import Answers
from mobilenets.runtime.bundle import CLASSIFICATION
from mobilenets.runtime.found import check_top
from mobilenets.runtime.predictor import EnginePredictor, Pixels

if TYPE_CHECKING:
    from mobilenets.runs.drawings import BoxedCopies, Drawings

BATCH = 32


def predict(
    model: str | Path | EnginePredictor,
    pictures: Iterable[Picture | tuple[str, Picture]] | Mapping[str, Picture] | Picture,
    *,
    top: int | None = None,
    language: str | None = None,
    threshold: float | None = None,
    explain: str | Path | None = None,
    sheet: str | Path | None = None,
    out: str | Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Predict pictures one after another.

    ``pictures`` is one or several of these: files, folders (searched at any depth), patterns such as ``photos/*.jpg``,
    the bytes of files, open files, Pillow images, and arrays (uint8, H×W×3 RGB, H×W×4 RGB with alpha, H×W grey; several
    as N×H×W×3), each perhaps as a pair with the name to call it by, or in a dictionary by that name. Gives the objects
    of ``predict --json``, in order: ``image`` and ``predictions``, or ``image`` and ``error`` for one that cannot be
    read, or that the network gives no number for (its ``code`` is ``fault``); ``language`` chooses among the names that
    a model's labels give its classes, and ``top`` is how many classes to name, by default 5.

    Of a detector the answers have ``detections`` in place of ``predictions``, the surest first: ``label``, ``score``
    and ``box``, x0, y0, x1, y1 in pixels of the upright picture. They are those with a score of at least ``threshold``,
    by default the model's own or 0.5, and at most ``top``. For a classifier ``threshold`` is the probability below
    which it is not sure.

    ``explain`` is a folder to draw what the network looked at into, a PNG a picture, whose name is the answer's
    ``explanation``. ``sheet`` is a PNG that shows every picture with its answer, written when all are answered. ``out``
    is a folder for copies of the pictures with a detector's boxes in them, JPEG; ``drawing`` names the file. None of
    them may lie below a folder of ``pictures``, and no file is replaced but by a newer one of the same making.

    Raises ``InputError`` for a model that cannot be used, for a folder without pictures if nothing else was given, or
    for a place not to draw to.

    >>> [answer] = mobilenets.predict("run", "photo.jpg", top=1)
    >>> answer["image"], answer["predictions"][0]["label"]
    ('photo.jpg', 'dog')
    """
    if top is not None:
        check_top(top)
    predictor = model if isinstance(model, EnginePredictor) else Predictor(model)
    if threshold is not None:
        predictor = predictor.with_threshold(threshold)
    _check_language(predictor, language)
    if is_one(pictures):
        pictures = [cast(Picture, pictures)]
    elif isinstance(pictures, Mapping):
        pictures = list(pictures.items())
    elif not isinstance(pictures, Iterable):
        raise InputError(f"pictures: give files, folders, images or arrays, not {type(pictures).__name__}")
    several = cast("Iterable[Picture | tuple[str, Picture]]", pictures)
    if isinstance(several, Sequence) and len(several) == 1 and isinstance(several[0], (str, os.PathLike)):
        only = Path(several[0])
        if several[0] != "" and only.is_dir() and not has_pictures(open_data(only), deep=True):
            pictures_below(only)  # raises, because there is nothing else to answer for
    return Answers(_answers(predictor, several, top, language, _drawings(predictor, explain, sheet, out, language)))


def _check_language(predictor: EnginePredictor, language: str | None) -> None:
    known = predictor.reading.about(predictor.bundle).get("languages", [])
    if language is not None and language not in known:
        there = f"its classes have names in {', '.join(known)}" if known else "its classes have no names by language"
        raise InputError(f"language {language!r}: {there}")


def _answers(
    predictor: EnginePredictor,
    pictures: Iterable[Picture | tuple[str, Picture]],
    top: int | None,
    language: str | None,
    drawings: Drawings | BoxedCopies | None,
) -> Iterator[dict[str, Any]]:
    def prepared(file: tuple[str, Source | UnreadablePicture]) -> Pixels:
        _, picture = file
        if isinstance(picture, UnreadablePicture):
            raise picture
        return predictor.prepare(picture)

    size = predictor.at_once(BATCH)
    with closing(stream(prepared, _files(pictures, drawings), ahead=size + default_workers())) as made:
        for group in grouped(made, size):
            good = [one for _, one in group if not isinstance(one, UnreadablePicture)]
            rows = iter(zip(*predictor.asked(good), strict=True))
            for (name, picture), one in group:
                said = {"error": str(one)}
                if not isinstance(one, UnreadablePicture):
                    said = _answer(predictor, *next(rows), top, language)
                answer = {"image": name, **said}
                yield answer if drawings is None else drawings.add(answer, picture)
    if drawings is not None:
        drawings.close()


def _answer(
    predictor: EnginePredictor, row: Any, far: float | None, top: int | None, language: str | None
) -> dict[str, Any]:
    """Answer for one picture; where the network gives no number for it, say so in the answer's place."""
    try:
        return predictor.answer(row, top, language, far)
    except FaultFound as fault:
        return {"error": str(fault), "code": "fault"}


def _drawings(
    predictor: EnginePredictor,
    explain: str | Path | None,
    sheet: str | Path | None,
    out: str | Path | None,
    language: str | None,
) -> Drawings | BoxedCopies | None:
    """Prepare what is to be drawn; imported here, because it needs matplotlib."""
    if explain is None and sheet is None and out is None:
        return None
    if out is not None and not predictor.places:
        raise InputError(
            "--out is for the boxes of a detector: use --explain or --sheet for a model that tells classes apart"
        )
    from mobilenets.runs.drawings import BoxedCopies, Drawings

    if out is not None and explain is None and sheet is None:
        return BoxedCopies(predictor, Path(out))
    if not isinstance(predictor, Predictor):
        raise InputError("explain and sheet need a model that is given by its folder, or a mobilenets.Predictor")
    if predictor.bundle.task != CLASSIFICATION:
        draw = "; use --out to draw its boxes" if predictor.places else ""
        raise InputError(f"only the answers of a model that tells classes apart can be explained or drawn{draw}")
    return Drawings(
        predictor, None if explain is None else Path(explain), None if sheet is None else Path(sheet), language
    )


def _files(
    pictures: Iterable[Picture | tuple[str, Picture]], drawings: Drawings | BoxedCopies | None
) -> Iterator[tuple[str, Source | UnreadablePicture]]:
    """Name every picture, going into folders; one that is none is named with the reason."""
    for number, picture in enumerate(pictures, start=1):
        if isinstance(picture, tuple) and len(picture) == 2 and isinstance(picture[0], str):
            yield picture[0], _source(picture[1])
        elif isinstance(picture, (str, os.PathLike)):
            yield from _below(os.fspath(picture), drawings)
        else:
            yield f"picture {number}", _source(cast(Picture, picture))


def _below(name: str, drawings: Drawings | BoxedCopies | None) -> Iterator[tuple[str, Source | UnreadablePicture]]:
    """Give the file of that name, those in the folder of that name, or those that fit the pattern."""
    source = _source(name)
    if isinstance(source, Path) and source.is_dir():
        if drawings is not None:
            drawings.files.keep_out_of(source)
        try:
            found = pictures_below(source if mounted(source) else open_data(source))
        except InputError as error:  # one bad folder is no reason to leave the others unanswered
            yield name, UnreadablePicture(str(error).removeprefix(f"{source} "))
        else:
            yield from ((str(file), file) for file in found)
        return
    if isinstance(source, Path) and glob.has_magic(name) and not source.exists():
        fitting = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - absolute ones too
        for one in fitting:
            yield from _below(one, drawings)
        if not fitting:
            yield name, UnreadablePicture("no file fits this pattern")
        return
    if isinstance(source, Path) and drawings is not None:
        drawings.files.keep_apart(source)
    yield name, source


def _source(picture: Picture) -> Source | UnreadablePicture:
    try:
        return source_of(picture)
    except UnreadablePicture as error:
        return error
