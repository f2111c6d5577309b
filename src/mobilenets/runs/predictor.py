"""A finished model, ready to answer: by its exported file, by the ONNX file beside its weights, or by PyTorch."""

from __future__ import annotations

import tempfile
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from mobilenets.base.extras import how_to_install
from mobilenets.base.notes import log
from mobilenets.errors import InputError
from mobilenets.pictures.decode import decode
from mobilenets.pictures.inputs import Picture, source_of
from mobilenets.runtime.answers import find_answers
from mobilenets.runtime.bundle import DESCRIPTION, WEIGHTS, Bundle, check_weights, find_bundle, read_bundle
from mobilenets.runtime.engines import open_engine
from mobilenets.runtime.exported import Exported, file_hash
from mobilenets.runtime.predictor import Engine, EnginePredictor, naming

ONNX = "onnxruntime"
TORCH = "torch"


class Predictor(EnginePredictor):
    """A model ready to answer: ``Predictor("run")("photo.jpg")`` gives the most probable classes.

    Parameters
    ----------
    model:
        A run folder, a bundle, or an exported file beside its ``model.json``.
    device:
        ``auto`` and ``cpu`` run the model's file without PyTorch; ``cuda`` and others run a run folder in it.
    runtime:
        By default the fastest installed one that runs the file; ``torch`` runs a run folder in PyTorch.
    threads:
        By default one per core.

    A run folder or bundle of an earlier release, which holds no ONNX file, runs in PyTorch. Raises ``InputError`` for a
    model that cannot be used.

    >>> predictor = mobilenets.Predictor("run")
    >>> best, *others = predictor("photo.jpg")
    >>> best.label, best.probability > 0.5
    ('dog', True)

    """

    def __init__(
        self, model: str | Path, device: str = "auto", *, runtime: str | None = None, threads: int | None = None
    ) -> None:
        path = Path(model)
        if threads is not None and threads < 1:
            raise InputError(f"threads {threads}: give a number of at least 1")
        self._folder, self._threads = find_bundle(path), threads
        bundle = read_bundle(self._folder)
        check_weights(self._folder, bundle)
        file, stale = bundle.export, False
        if file is None and device in ("auto", "cpu") and runtime != TORCH:
            file = _own_file(self._folder, bundle)
            stale = file is None and bundle.graph is not None
        if file is None:
            if runtime not in (None, TORCH):
                raise InputError(_why_only_torch(model, device, runtime))
            super().__init__(bundle, _torch_engine(path, device, threads))
            if stale:
                log.warning("%s: model.onnx is missing or was made of other weights; answering by PyTorch", path)
            if device == "auto" and runtime is None and bundle.graph is None:
                _say_how_to_add(self._folder)
            return
        if path.is_file() and path.name not in (DESCRIPTION, WEIGHTS if bundle.export is None else "", *file.sha256):
            if bundle.export is None:
                raise InputError(f"{model}: no file of a model; give the folder {self._folder}")
            raise InputError(f"{model}: the model.json beside it describes {file.file}; give that file")
        if device not in ("auto", "cpu"):
            raise InputError(f"device {device!r}: an exported file runs on the CPU here; choose auto or cpu")
        engine = open_engine(self._folder, file, runtime, threads)
        _try(engine, bundle, file, self._folder / file.file)
        super().__init__(bundle, engine, file)

    def __repr__(self) -> str:
        return f"<Predictor of {self._folder}, {len(self.classes)} classes>"

    def explain(self, picture: Picture, label: str | None = None, *, caption: str | None = None) -> Image.Image:
        """Draw what the network looked at for a class, by default the most probable (Grad-CAM).

        Returns the picture as the network saw it, in grey under colours: the lighter, the more that place spoke for
        the class; with ``caption`` below it. Raises ``UnreadablePicture``, or ``InputError`` for an unknown class or a
        model that cannot tell places apart.
        """
        from mobilenets.drawing.explain import explain_picture

        self.check_explainable()
        if label is not None and label not in self.classes:
            raise InputError(f"class {label!r} is unknown to this model; it knows {', '.join(self.classes[:20])}")
        with naming(picture):
            image = decode(source_of(picture), self.surplus)
        index = None if label is None else self.classes.index(label)
        return explain_picture(self._explaining, image, index, caption)

    def check_explainable(self) -> None:
        """Raise ``InputError`` where ``explain`` has nothing to show, such as a last map of one cell."""
        file = self.bundle.export
        if self.places:
            raise InputError("what a detector looked at is not drawn: its boxes say where things are")
        if file is not None and file.format not in ("onnx", "web"):
            raise InputError(f"a file in {file.format} cannot be explained; give the run folder or an export in onnx")
        found = self._explaining.file
        if found is not None and found.evidence:
            return
        if file is not None:
            raise InputError(
                "this file does not say where the network looked: its last feature map is 1 × 1, or an earlier release "
                "exported it"
            )
        raise InputError(
            "this network's last feature map is 1 × 1, so it cannot show where it looked: train with a larger --size"
        )

    @cached_property
    def _explaining(self) -> EnginePredictor:
        """What gives evidence: this model in ONNX Runtime."""
        file = self.file or _own_file(self._folder, self.bundle)
        if file is not None:
            if self.file is not None and self.engine.runtime == ONNX:  # type: ignore[attr-defined]
                return self
            return EnginePredictor(self.bundle, open_engine(self._folder, file, ONNX, self._threads), file)
        from mobilenets.exports.beside import graph_of
        from mobilenets.models.saved import load_classifier

        with tempfile.TemporaryDirectory() as place:
            file = graph_of(load_classifier(self._folder), Path(place))
            return EnginePredictor(self.bundle, open_engine(Path(place), file, ONNX, self._threads), file)


def _why_only_torch(model: str | Path, device: str, runtime: str | None) -> str:
    if device not in ("auto", "cpu"):
        return f"runtime {runtime!r} runs on the CPU here: choose device auto or cpu, or runtime {TORCH}"
    return f"{model}: without its model.onnx a run folder or bundle runs in PyTorch; to use {runtime}, export it first"


def _own_file(folder: Path, bundle: Bundle) -> Exported | None:
    """Return what describes the ONNX file beside the weights, or None where there is none of these weights."""
    graph = bundle.graph
    if graph is None:
        return None
    weights = folder / WEIGHTS
    # ``check_weights`` has compared the file with what the description says of it.
    found = bundle.weights or (file_hash(weights) if weights.is_file() else graph.about.get("weights"))
    if not (folder / graph.file).is_file() or found != graph.about.get("weights"):
        return None
    return graph


@cache
def _say_how_to_add(folder: Path) -> None:
    finished = (folder / "metrics.json").is_file() or not (folder / "recipe.json").is_file()
    if finished:
        log.info(
            "%s has no model.onnx, so it answers through PyTorch, which takes seconds to start: `mobilenets train DATA "
            "--out %s --resume`, or importing the weights again, adds it",
            folder,
            folder,
        )


def _try(engine: Engine, bundle: Bundle, file: Exported, path: Path) -> None:
    """Run the file once: whether it takes and gives what ``model.json`` says is seen here, not at the first picture."""
    size = bundle.preprocessing.size
    kind = np.uint8 if file.input == "uint8" else np.float32
    sides = (size + 1, size + 2) if file.geometry == "inside" else (size, size)
    try:
        scores = engine(np.zeros((1, *sides, 3), kind))
    except Exception as error:  # each runtime raises classes of its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: does not take the input that model.json describes: {reason}") from error
    fault = find_answers(bundle.task).fault(scores, bundle, file.output != "logits")
    if fault is not None:
        raise InputError(f"{path}: {fault}")


def _torch_engine(model: Path, device: str, threads: int | None) -> Engine:
    """Load a run folder or bundle into PyTorch; imported here, so that other engines need no torch."""
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{model}: a run folder or bundle without model.onnx runs in PyTorch, which is not installed: give an "
            f"exported file, or install it: {how_to_install('train')}"
        ) from error

    from mobilenets.base import fork
    from mobilenets.models.device import pick_device
    from mobilenets.models.engine import NetworkEngine
    from mobilenets.models.saved import load_classifier

    saved = load_classifier(model)
    place = pick_device(device)
    if threads is not None:
        torch.set_num_threads(1 if fork.forked() else threads)
    return NetworkEngine(saved.network, place, space=saved.space)
