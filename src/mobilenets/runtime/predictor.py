"""From a picture to named probabilities, by a model's own ``model.json``. NumPy and Pillow only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.pictures.decode import decode
from mobilenets.pictures.inputs import Picture, source_of
from mobilenets.runtime.bundle import Bundle

Prepared: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
Engine: TypeAlias = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]

AT_ONCE = 4


class Prediction(NamedTuple):
    """A class name and its probability, from 0 to 1."""

    label: str
    probability: float


class EnginePredictor:
    """Answers with the most probable classes of a picture.

    ``engine`` takes preprocessed pictures, float32 N×S×S×3, and gives logits, float32 N×classes; that of an exported
    file takes and gives what the bundle's ``export`` says.
    """

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self.bundle = bundle
        self.classes = bundle.classes
        self._pixels = bundle.export is not None and bundle.export.input == "uint8"
        self._planes = bundle.export is not None and bundle.export.layout == "NCHW"
        self._whole = bundle.export is not None and bundle.export.geometry == "inside"
        self._finished = bundle.export is not None and bundle.export.output == "probabilities"
        self.engine = engine

    def __call__(self, picture: Picture, top: int = 5) -> list[Prediction]:
        """Predict one picture: a path, the bytes of a file, an open file, a Pillow image, or a NumPy array.

        A Pillow image is taken as its file would be: turned upright by its EXIF, and laid on white where it is
        transparent. Arrays are uint8, H×W×3 RGB, H×W×4 RGB with alpha, or H×W grey. Raises ``UnreadablePicture`` when
        it does not decode.
        """
        with naming(picture):
            prepared = self.prepare(picture)
        return self.batch([prepared], top)[0]

    def prepare(self, picture: Picture) -> Prepared:
        """Decode and preprocess one picture to S×S×3: float32, or uint8 where the file makes the numbers itself."""
        return self.prepare_image(decode(source_of(picture), self.surplus))

    def surplus(self, width: int, height: int) -> float:
        """Say how many times smaller per side ``decode`` may make a JPEG of width × height for ``prepare_image``."""
        return 1.0 if self._whole else self.bundle.preprocessing.surplus(width, height)

    def prepare_image(self, image: Image.Image) -> Prepared:
        """Preprocess an upright RGB picture, as ``decode`` gives it, to S×S×3; to H×W×3 where the file resizes."""
        if self._whole:
            return np.asarray(image)
        preprocessing = self.bundle.preprocessing
        made: npt.NDArray[Any] = np.asarray(preprocessing.fit(image)) if self._pixels else preprocessing(image)
        # The memory is laid out here as the file takes it, so that a run has nothing to move.
        laid: Prepared = np.ascontiguousarray(made.transpose(2, 0, 1)).transpose(1, 2, 0) if self._planes else made
        return laid

    def at_once(self, batch: int) -> int:
        """Say how many of ``batch`` prepared pictures to hold: few where each is as large as it came."""
        return min(batch, AT_ONCE) if self._whole else batch

    def batch(self, prepared: Sequence[Prepared], top: int = 5) -> list[list[Prediction]]:
        """Predict pictures that ``prepare`` gave, in one run of the engine."""
        check_top(top)
        return [self._best(row, top) for row in self.probabilities(prepared)]

    def answers(self, prepared: Sequence[Prepared], top: int = 5, language: str | None = None) -> list[dict[str, Any]]:
        """Predict pictures that ``prepare`` gave, as the objects of ``predict --json`` without ``image``.

        Where the model has labels, each prediction has its ``name`` in ``language`` (by default the folder's) and its
        ``group``, and ``groups`` has the probability of each, the sum over its classes. Where it has a threshold,
        ``sure`` says whether the best class reaches it.
        """
        check_top(top)
        return [self._answer(row, top, language) for row in self.probabilities(prepared)]

    def probabilities(self, prepared: Sequence[Prepared]) -> npt.NDArray[np.float64]:
        """Give the probabilities of pictures that ``prepare`` gave, N×classes, in one run of the engine."""
        if len(prepared) == 0:
            return np.empty((0, len(self.classes)))
        scores = self._scores(prepared)
        return np.asarray(scores, np.float64) if self._finished else softmax(scores)

    def logits(self, prepared: Sequence[Prepared]) -> npt.NDArray[np.float32]:
        """Give the logits, N×classes; of a file that ends in the softmax their logarithms, which rank the same."""
        scores = self._scores(prepared)
        return np.log(np.maximum(scores, np.finfo(np.float32).tiny)) if self._finished else scores

    def _scores(self, prepared: Sequence[Prepared]) -> npt.NDArray[np.float32]:
        if self._whole:  # each of a size of its own
            return np.concatenate([self.engine(one[None]) for one in prepared])
        return self.engine(self._stacked(prepared))

    def _stacked(self, prepared: Sequence[Prepared]) -> npt.NDArray[Any]:
        """Give N×S×S×3 whose memory is as ``prepare_image`` laid it out; one picture is not copied."""
        if len(prepared) == 1:
            return prepared[0][None]
        if not self._planes:
            return np.stack(prepared)
        return np.stack([one.transpose(2, 0, 1) for one in prepared]).transpose(0, 2, 3, 1)

    def _answer(self, row: npt.NDArray[np.float64], top: int, language: str | None) -> dict[str, Any]:
        labels, threshold = self.bundle.labels, self.bundle.threshold
        best = self._best(row, top)
        answer: dict[str, Any] = {"predictions": [entry._asdict() for entry in best]}
        if labels is not None:
            for entry in answer["predictions"]:
                group = labels.group(entry["label"])
                entry["name"] = labels.name(entry["label"], language)
                if group is not None:
                    entry["group"] = group
            members = labels.members(self.classes)
            if members is not None:
                names, of = members
                sums = np.bincount(of, row, len(names))
                answer["groups"] = [
                    {
                        "label": names[index],
                        "name": labels.group_name(names[index], language),
                        "probability": float(sums[index]),
                    }
                    for index in np.argsort(-sums, kind="stable")
                ]
        if threshold is not None:
            answer["sure"] = bool(best[0].probability >= threshold)
        return answer

    def _best(self, probabilities: npt.NDArray[np.float64], top: int) -> list[Prediction]:
        order = largest(probabilities, top)
        return [Prediction(self.classes[index], float(probabilities[index])) for index in order]


@contextmanager
def naming(picture: Picture) -> Iterator[None]:
    """Have ``UnreadablePicture`` name the file, where the picture is given by its path."""
    try:
        yield
    except UnreadablePicture as error:
        if isinstance(picture, (str, os.PathLike)):
            error.args = (f"{os.fspath(picture)[:200]}: {error}",)
        raise


def largest(values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.intp]:
    """Give the places of the largest values in order, of equals the first; all of a thousand need not be sorted."""
    count = min(count, len(values))
    near = np.flatnonzero(values >= np.partition(values, -count)[-count])
    if len(near) < count:  # NaN is above nothing
        near = np.arange(len(values))
    return near[np.argsort(-values[near], kind="stable")][:count]


def check_top(top: int) -> None:
    """Refuse a number of classes that is none."""
    if top < 1:
        raise InputError(f"top {top}: give a number of at least 1")


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Turn logits N×classes into probabilities."""
    shifted = np.asarray(logits, np.float64)
    exponentials = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    result: npt.NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result
