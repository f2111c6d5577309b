"""From a picture to an answer, by a model's own ``model.json``. NumPy and Pillow only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any, Self, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilenets.errors import FaultFound, InputError, UnreadablePicture
from mobilenets.pictures.decode import decode_scaled
from mobilenets.pictures.inputs import Picture, source_of
from mobilenets.runtime.answers import find_answers
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.detections import Detections
from mobilenets.runtime.exported import Exported

Pixels: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
Engine: TypeAlias = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]

AT_ONCE = 4


class Placed(np.ndarray[Any, Any]):
    """Pixels that know the width and height of the upright picture that they were made of: boxes go back to it."""

    upright: tuple[int, int]


class EnginePredictor:
    """Answers with the most probable classes of a picture.

    ``engine`` takes preprocessed pictures, float32 N×S×S×3, and gives logits, float32 N×classes; that of a file takes
    and gives what ``file`` says, which is by default the bundle's ``export``.
    """

    def __init__(self, bundle: Bundle, engine: Engine, file: Exported | None = None) -> None:
        self.bundle = bundle
        self.classes = bundle.classes
        self.reading = find_answers(bundle.task)
        self.engine = engine
        self.file = file = file or bundle.export
        self._pixels = file is not None and file.input == "uint8"
        self._planes = file is not None and file.layout == "NCHW"
        self._whole = file is not None and file.geometry == "inside"
        self._finished = file is not None and file.output != "logits"
        self.places = hasattr(self.reading, "read")
        gives = file.distance if file is not None else getattr(engine, "gives_distance", False)
        # Without it a model answers as one that never learned what is none of its classes.
        self.tells_unknown = bundle.none_of_these is not None and gives

    def __call__(self, picture: Picture, top: int | None = None) -> Any:
        """Predict one picture: a path, the bytes of a file, an open file, a Pillow image, or a NumPy array.

        A Pillow image is taken as its file would be: turned upright by its EXIF, and laid on white where it is
        transparent. Arrays are uint8, H×W×3 RGB, H×W×4 RGB with alpha, or H×W grey. Raises ``UnreadablePicture`` when
        it does not decode.

        Returns the ``top`` most probable classes, by default 5, as ``Prediction``; of a detector the boxes as ``Box``,
        by default all whose score reaches the model's threshold; or what another task gives in their place.
        """
        with naming(picture):
            prepared = self.prepare(picture)
        return self.batch([prepared], top)[0]

    def with_threshold(self, threshold: float) -> Self:
        """Return this predictor with another threshold: the score from which a detector's boxes are shown, or the
        probability below which a classifier is not sure. Raises ``InputError`` for one that is not from 0 to 1.
        """
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold {threshold}: give a number from 0 to 1")
        other = copy(self)
        other.bundle = replace(self.bundle, threshold=float(threshold))
        return other

    def prepare(self, picture: Picture) -> Pixels:
        """Decode and preprocess one picture to S×S×3: float32, or uint8 where the file makes the numbers itself."""
        decoded = decode_scaled(source_of(picture), self.surplus)
        return self.prepare_image(decoded.image, decoded.whole)

    def surplus(self, width: int, height: int) -> float:
        """Say how many times smaller per side ``decode`` may make a JPEG of width × height for ``prepare_image``."""
        return 1.0 if self._whole else self.bundle.preprocessing.surplus(width, height)

    def prepare_image(self, image: Image.Image, whole: tuple[int, int] | None = None) -> Pixels:
        """Preprocess an upright RGB picture, as ``decode`` gives it, to S×S×3; to H×W×3 where the file resizes.

        ``whole`` is the width and height that it has when it is decoded whole, by default its own.
        """
        preprocessing = self.bundle.preprocessing
        made: npt.NDArray[Any]
        if self._whole:
            made = np.asarray(image)
        else:
            made = np.asarray(preprocessing.fit(image)) if self._pixels else preprocessing(image)
            if self._planes:  # the memory is laid out here as the file takes it, so that a run has nothing to move
                made = np.ascontiguousarray(made.transpose(2, 0, 1)).transpose(1, 2, 0)
        if self.places:
            placed = made.view(Placed)
            placed.upright = whole or image.size
            return placed
        return made

    def at_once(self, batch: int) -> int:
        """Say how many of ``batch`` prepared pictures to hold: few where each is as large as it came."""
        return min(batch, AT_ONCE) if self._whole else batch

    def batch(self, prepared: Sequence[Pixels], top: int | None = None) -> list[Any]:
        """Predict pictures that ``prepare`` gave, in one run of the engine."""
        rows = self._read(prepared, self.probabilities(prepared))
        return [self.reading.brief(_sound(row), self.bundle, top) for row in rows]

    def detections(self, prepared: Sequence[Pixels]) -> list[Detections]:
        """Give all boxes that a detector finds in pictures that ``prepare`` gave, however low their score.

        Raises ``FaultFound`` where an output is not finite.
        """
        assert self.places
        return [_sound(row) for row in self._read(prepared, self.probabilities(prepared))]

    def answers(
        self, prepared: Sequence[Pixels], top: int | None = None, language: str | None = None
    ) -> list[dict[str, Any]]:
        """Predict pictures that ``prepare`` gave, as the objects of ``predict --json`` without ``image``."""
        return [self.answer(row, top, language, far) for row, far in zip(*self.asked(prepared), strict=True)]

    def answer(
        self,
        probabilities: Any,
        top: int | None = None,
        language: str | None = None,
        distance: float | None = None,
    ) -> dict[str, Any]:
        """Give the object of ``predict --json`` without ``image``, from what ``asked`` gave for one picture."""
        answer = self.reading.answer(_sound(probabilities), self.bundle, top, language)
        bar = self.bundle.none_of_these
        if bar is not None and distance is not None:
            answer |= {"known": bar.knows(distance), "distance": distance}
        return answer

    def asked(self, prepared: Sequence[Pixels]) -> tuple[Sequence[Any], list[float | None]]:
        """Give the probabilities of pictures that ``prepare`` gave, N×classes, and the distance of each.

        One run of the engine gives both. The distances are None where the model or its file gives none. A detector
        gives ``Detections`` in place of probabilities, or the ``FaultFound`` of a picture.
        """
        scores, distances = self._scores(prepared, True)
        return self._read(prepared, scores), [None] * len(prepared) if distances is None else distances.tolist()

    def outputs(self, prepared: Sequence[Pixels]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """Give what ``logits`` gives, and the distance of each picture, float32 N, where there is one."""
        given, distances = self._run(prepared, True)
        return self.reading.outputs(given) if self._finished else given, distances

    def probabilities(self, prepared: Sequence[Pixels]) -> npt.NDArray[np.float64]:
        """Give the probabilities of pictures that ``prepare`` gave, N×classes, in one run of the engine.

        Of a model for another task than classification they are its scores, N×….
        """
        return self._scores(prepared, False)[0]

    def logits(self, prepared: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        """Give the outputs of the network, N×classes; of a file that ends in the softmax what ranks the same."""
        given, _ = self._run(prepared, False)
        return self.reading.outputs(given) if self._finished else given

    def _read(self, prepared: Sequence[Pixels], rows: npt.NDArray[Any]) -> Sequence[Any]:
        """Turn rows of scores into what the task makes of them, where it needs the size of each picture for that."""
        if not self.places:
            return cast("Sequence[Any]", rows)
        read, found = cast(Any, self.reading).read, list[Any]()
        for one, row in zip(prepared, rows, strict=True):
            try:
                found.append(read(row, self.bundle, cast(Placed, one).upright, self._finished))
            except FaultFound as fault:  # it is for whoever asked about this picture, not for those beside it
                found.append(fault)
        return found

    def _scores(
        self, prepared: Sequence[Pixels], distance: bool
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32] | None]:
        if len(prepared) == 0:
            return np.empty((0, len(self.classes))), None
        given, distances = self._run(prepared, distance)
        return np.asarray(given, np.float64) if self._finished else self.reading.scores(given), distances

    def _run(
        self, prepared: Sequence[Pixels], distance: bool
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """Run the engine; gives the distances, too, where they are asked for and there are any."""
        # Those of a file that resizes itself are each of a size of their own.
        groups = [one[None] for one in prepared] if self._whole else [self._stacked(prepared)]
        if not (distance and self.tells_unknown):
            return np.concatenate([self.engine(group) for group in groups]), None
        scores, distances = zip(*(cast(Any, self.engine).with_distance(group) for group in groups), strict=True)
        return np.concatenate(scores), np.concatenate(distances)

    def _stacked(self, prepared: Sequence[Pixels]) -> npt.NDArray[Any]:
        """Give N×S×S×3 whose memory is as ``prepare_image`` laid it out; one picture is not copied."""
        if len(prepared) == 1:
            return prepared[0][None]
        if not self._planes:
            return np.stack(prepared)
        return np.stack([one.transpose(2, 0, 1) for one in prepared]).transpose(0, 2, 3, 1)


def _sound(row: Any) -> Any:
    if isinstance(row, FaultFound):
        raise row
    return row


@contextmanager
def naming(picture: Picture) -> Iterator[None]:
    """Have ``UnreadablePicture`` name the file, where the picture is given by its path."""
    try:
        yield
    except UnreadablePicture as error:
        if isinstance(picture, (str, os.PathLike)):
            error.args = (f"{os.fspath(picture)[:200]}: {error}",)
        raise
