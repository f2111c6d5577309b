"""``predict`` and ``Predictor``: what is on a picture, by a model's own ``model.json``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.data.folder import pictures_below
from mobilenets.data.loader import default_workers
from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.predictor import Engine, EnginePredictor, Picture, check_top

BATCH = 32


class Predictor(EnginePredictor):
    """A model ready to answer: ``Predictor("run")("photo.jpg")`` gives the most probable classes.

    ``model`` is a run folder or a bundle. Raises ``InputError`` for a model that cannot be used.
    """

    def __init__(self, model: str | Path, device: str = "auto") -> None:
        super().__init__(*_torch_engine(Path(model), device))


def predict(
    model: str | Path | EnginePredictor,
    pictures: Iterable[Picture | tuple[str, Picture]] | Picture,
    *,
    top: int = 5,
    language: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Predict pictures one after another.

    ``pictures`` are files, folders (searched at any depth), the bytes of files, or Pillow images, each perhaps as a
    pair with the name to call it by. Gives the objects of ``predict --json``, in order: ``image`` and
    ``predictions``, or ``image`` and ``error`` for one that cannot be read; ``language`` chooses among the names that a
    model's labels give its classes. Raises ``InputError`` for a model that
    cannot be used, or a folder without pictures.
    """
    check_top(top)
    predictor = model if isinstance(model, EnginePredictor) else Predictor(model)
    _check_language(predictor.bundle, language)
    if isinstance(pictures, (str, bytes, Path)) or not isinstance(pictures, Iterable):
        pictures = [pictures]
    return _answers(predictor, pictures, top, language)


def _check_language(bundle: Bundle, language: str | None) -> None:
    known = bundle.labels.languages if bundle.labels is not None else ()
    if language is not None and language not in known:
        there = f"its classes have names in {', '.join(known)}" if known else "its classes have no names by language"
        raise InputError(f"language {language!r}: {there}")


def _answers(
    predictor: EnginePredictor,
    pictures: Iterable[Picture | tuple[str, Picture]],
    top: int,
    language: str | None,
) -> Iterator[dict[str, Any]]:
    with ThreadPoolExecutor(default_workers()) as pool:
        files = _files(pictures)
        while group := list(islice(files, BATCH)):
            prepared = list(pool.map(lambda one: _prepared(predictor, one[1]), group))
            good = [one for one in prepared if not isinstance(one, str)]
            answers = iter(predictor.answers(good, top, language))
            for (name, _), one in zip(group, prepared, strict=True):
                if isinstance(one, str):
                    yield {"image": name, "error": one}
                else:
                    yield {"image": name, **next(answers)}


def _files(pictures: Iterable[Picture | tuple[str, Picture]]) -> Iterator[tuple[str, Picture]]:
    """Name every picture, going into folders."""
    for number, picture in enumerate(pictures, start=1):
        if isinstance(picture, tuple):
            yield picture
        elif isinstance(picture, (str, Path)):
            path = Path(picture)
            if path.is_dir():
                yield from ((str(file), file) for file in pictures_below(path))
            else:
                yield str(picture), path
        else:
            yield f"picture {number}", picture


def _prepared(predictor: EnginePredictor, picture: Picture) -> npt.NDArray[np.float32] | str:
    try:
        return predictor.prepare(picture)
    except UnreadablePicture as error:
        return str(error)


def _torch_engine(model: Path, device: str) -> tuple[Bundle, Engine]:
    """Load a model of ours into PyTorch; imported here, so that other engines need no torch."""
    import torch

    from mobilenets.measure.evaluate import to_tensor
    from mobilenets.measure.hardware import pick_device
    from mobilenets.models.saved import load_classifier

    saved = load_classifier(model)
    place = pick_device(device)
    network = saved.network.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            logits: npt.NDArray[np.float32] = network(to_tensor(images, place)).float().cpu().numpy()
        return logits

    return saved.bundle, run
