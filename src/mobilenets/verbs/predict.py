"""``predict`` and ``Predictor``: what is on a picture, by a model's own ``model.json``."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilenets.base.extras import how_to_install
from mobilenets.datasets.folder import pictures_below
from mobilenets.datasets.listing import has_pictures
from mobilenets.datasets.loader import default_workers
from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.pictures.decode import decode
from mobilenets.pictures.inputs import Picture, Source, is_one, source_of
from mobilenets.runtime.bundle import DESCRIPTION, Bundle, find_bundle, read_bundle
from mobilenets.runtime.engines import open_engine
from mobilenets.runtime.exported import Exported
from mobilenets.runtime.predictor import Engine, EnginePredictor, Prepared, check_top, naming

if TYPE_CHECKING:
    from mobilenets.models.network import Network
    from mobilenets.verbs.drawn import Drawn

BATCH = 32


class Predictor(EnginePredictor):
    """A model ready to answer: ``Predictor("run")("photo.jpg")`` gives the most probable classes.

    ``model`` is a run folder, a bundle, or an exported file beside its ``model.json``; the last runs without torch, in
    ``runtime`` (by default the fastest installed one) on ``threads`` threads (by default one per core). ``device`` is
    where a run folder or bundle runs. Raises ``InputError`` for a model that cannot be used.
    """

    def __init__(
        self, model: str | Path, device: str = "auto", *, runtime: str | None = None, threads: int | None = None
    ) -> None:
        path = Path(model)
        folder = find_bundle(path)
        self._network: Network | None = None
        bundle = read_bundle(folder)
        engine: Engine
        if bundle.export is not None:
            _check_exported(path, bundle.export, device)
            engine = open_engine(folder, bundle.export, runtime, threads)
            _try(engine, bundle, folder / bundle.export.file)
        else:
            if runtime not in (None, "torch"):
                raise InputError(f"{model}: a run folder or bundle runs in PyTorch; to use {runtime}, export it first")
            bundle, engine, self._network = _torch_engine(path, device, threads)
        super().__init__(bundle, engine)

    def explain(self, picture: Picture, label: str | None = None, *, caption: str | None = None) -> Image.Image:
        """Draw what the network looked at for a class, by default the most probable (Grad-CAM).

        Returns the picture as the network saw it, in grey under colours: the lighter, the more that place spoke for
        the class; with ``caption`` below it. Raises ``UnreadablePicture``, or ``InputError`` for an unknown class or a
        network that cannot tell places apart.
        """
        from mobilenets.drawing.explain import explain_picture

        network = self.check_explainable()
        if label is not None and label not in self.classes:
            raise InputError(f"class {label!r} is unknown to this model; it knows {', '.join(self.classes[:20])}")
        with naming(picture):
            image = decode(source_of(picture), self.surplus)
        index = None if label is None else self.classes.index(label)
        return explain_picture(network, self.bundle.preprocessing, image, index, caption)

    def check_explainable(self) -> Network:
        """Return the network; raises ``InputError`` where ``explain`` has nothing to show: a last map of one cell."""
        if self._network is None:
            raise InputError("an exported file cannot be explained; give the run folder it was made from")
        from mobilenets.drawing.explain import has_places

        if not has_places(self._network.architecture):
            raise InputError(
                "this network's last feature map is 1 × 1, so it cannot show where it looked: train "
                "with a larger --size"
            )
        return self._network


def predict(
    model: str | Path | EnginePredictor,
    pictures: Iterable[Picture | tuple[str, Picture]] | Mapping[str, Picture] | Picture,
    *,
    top: int = 5,
    language: str | None = None,
    explain: str | Path | None = None,
    sheet: str | Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Predict pictures one after another.

    ``pictures`` is one or several of these: files, folders (searched at any depth), patterns such as ``photos/*.jpg``,
    the bytes of files, open files, Pillow images, and arrays (uint8, H×W×3 RGB, H×W×4 RGB with alpha, H×W grey; several
    as N×H×W×3), each perhaps as a pair with the name to call it by, or in a dictionary by that name. Gives the objects
    of ``predict --json``, in order: ``image`` and ``predictions``, or ``image`` and ``error`` for one that cannot be
    read; ``language`` chooses among the names that a model's labels give its classes.

    ``explain`` is a folder to draw what the network looked at into, a PNG a picture, whose name is the answer's
    ``explanation``. ``sheet`` is a PNG that shows every picture with its answer, written when all are answered. Neither
    may lie below a folder of ``pictures``, and no file is replaced but by a newer one of the same making.

    Raises ``InputError`` for a model that cannot be used, for a folder without pictures if nothing else was given, or
    for a place not to draw to.
    """
    check_top(top)
    predictor = model if isinstance(model, EnginePredictor) else Predictor(model)
    _check_language(predictor.bundle, language)
    if is_one(pictures):
        pictures = [cast(Picture, pictures)]
    elif isinstance(pictures, Mapping):
        pictures = list(pictures.items())
    elif not isinstance(pictures, Iterable):
        raise InputError(f"pictures: give files, folders, images or arrays, not {type(pictures).__name__}")
    several = cast("Iterable[Picture | tuple[str, Picture]]", pictures)
    if isinstance(several, Sequence) and len(several) == 1 and isinstance(several[0], (str, os.PathLike)):
        only = Path(several[0])
        if several[0] != "" and only.is_dir() and not has_pictures(only, deep=True):
            pictures_below(only)  # raises, because there is nothing else to answer for
    return _answers(predictor, several, top, language, _drawn(predictor, explain, sheet, language))


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
    drawn: Drawn | None,
) -> Iterator[dict[str, Any]]:
    with ThreadPoolExecutor(default_workers()) as pool:
        files = _files(pictures, drawn)
        while group := list(islice(files, predictor.at_once(BATCH))):
            prepared = list(pool.map(lambda one: _prepared(predictor, one[1]), group))
            good = [one for one in prepared if not isinstance(one, str)]
            answers = iter(predictor.answers(good, top, language))
            for (name, picture), one in zip(group, prepared, strict=True):
                answer = {"image": name, "error": one} if isinstance(one, str) else {"image": name, **next(answers)}
                yield answer if drawn is None else drawn.add(answer, picture)
    if drawn is not None:
        drawn.close()


def _drawn(
    predictor: EnginePredictor, explain: str | Path | None, sheet: str | Path | None, language: str | None
) -> Drawn | None:
    """Prepare what is to be drawn; imported here, because it needs matplotlib."""
    if explain is None and sheet is None:
        return None
    from mobilenets.verbs.drawn import Drawn

    if not isinstance(predictor, Predictor):
        raise InputError("an exported file cannot be explained or drawn: give the run folder that it was made from")
    return Drawn(
        predictor, None if explain is None else Path(explain), None if sheet is None else Path(sheet), language
    )


def _files(
    pictures: Iterable[Picture | tuple[str, Picture]], drawn: Drawn | None
) -> Iterator[tuple[str, Source | UnreadablePicture]]:
    """Name every picture, going into folders; one that is none is named with the reason."""
    for number, picture in enumerate(pictures, start=1):
        if isinstance(picture, tuple) and len(picture) == 2 and isinstance(picture[0], str):
            yield picture[0], _source(picture[1])
        elif isinstance(picture, (str, os.PathLike)):
            yield from _below(os.fspath(picture), drawn)
        else:
            yield f"picture {number}", _source(cast(Picture, picture))


def _below(name: str, drawn: Drawn | None) -> Iterator[tuple[str, Source | UnreadablePicture]]:
    """Give the file of that name, those in the folder of that name, or those that fit the pattern."""
    source = _source(name)
    if isinstance(source, Path) and source.is_dir():
        if drawn is not None:
            drawn.keep_out_of(source)
        try:
            found = pictures_below(source)
        except InputError as error:  # one bad folder is no reason to leave the others unanswered
            yield name, UnreadablePicture(str(error).removeprefix(f"{source} "))
        else:
            yield from ((str(file), file) for file in found)
        return
    if isinstance(source, Path) and glob.has_magic(name) and not source.exists():
        fitting = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - absolute ones too
        for one in fitting:
            yield from _below(one, drawn)
        if not fitting:
            yield name, UnreadablePicture("no file fits this pattern")
        return
    if isinstance(source, Path) and drawn is not None:
        drawn.keep_apart(source)
    yield name, source


def _source(picture: Picture) -> Source | UnreadablePicture:
    try:
        return source_of(picture)
    except UnreadablePicture as error:
        return error


def _prepared(predictor: EnginePredictor, source: Source | UnreadablePicture) -> Prepared | str:
    try:
        if isinstance(source, UnreadablePicture):
            raise source
        return predictor.prepare(source)
    except UnreadablePicture as error:
        return str(error)


def _check_exported(model: Path, exported: Exported, device: str) -> None:
    if model.is_file() and model.name not in (DESCRIPTION, *exported.sha256):
        raise InputError(f"{model}: the model.json beside it describes {exported.file}; give that file")
    if device not in ("auto", "cpu"):
        raise InputError(f"device {device!r}: an exported file runs on the CPU here; choose auto or cpu")


def _try(engine: Engine, bundle: Bundle, file: Path) -> None:
    """Run the file once: whether it takes and gives what ``model.json`` says is seen here, not at the first picture."""
    assert bundle.export is not None
    size = bundle.preprocessing.size
    kind = np.uint8 if bundle.export.input == "uint8" else np.float32
    sides = (size + 1, size + 2) if bundle.export.geometry == "inside" else (size, size)
    try:
        scores = engine(np.zeros((1, *sides, 3), kind))
    except Exception as error:  # each runtime raises classes of its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{file}: does not take the input that model.json describes: {reason}") from error
    if scores.shape != (1, len(bundle.classes)):
        raise InputError(
            f"{file}: outputs {scores.shape[-1]} scores, but model.json names {len(bundle.classes)} classes"
        )
    if not np.isfinite(scores).all():
        raise InputError(f"{file}: outputs numbers that are not finite; export the model again")
    if bundle.export.output == "probabilities" and (scores.min() < -0.01 or abs(float(scores.sum()) - 1) > 0.1):
        raise InputError(f"{file}: does not output probabilities, though model.json says so; export the model again")


def _torch_engine(model: Path, device: str, threads: int | None) -> tuple[Bundle, Engine, Network]:
    """Load a run folder or bundle into PyTorch; imported here, so that other engines need no torch."""
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{model}: a run folder or bundle runs in PyTorch, which is not installed: give an exported file, or "
            f"install it: {how_to_install('train')}"
        ) from error

    from mobilenets.base import fork
    from mobilenets.bench.hardware import pick_device
    from mobilenets.measure.evaluate import to_tensor
    from mobilenets.models.saved import load_classifier

    saved = load_classifier(model)
    place = pick_device(device)
    if threads is not None:
        if threads < 1:
            raise InputError(f"threads {threads}: give a number of at least 1")
        torch.set_num_threads(1 if fork.forked() else threads)
    network: Network = saved.network.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            logits: npt.NDArray[np.float32] = network(to_tensor(images, place)).float().cpu().numpy()
        return logits

    return saved.bundle, run, network
