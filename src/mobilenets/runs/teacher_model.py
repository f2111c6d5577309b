"""One model that teaches, opened: what it says of views that were made for another network."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from mobilenets.errors import InputError
from mobilenets.exports.beside import graph_of
from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.graph.part import part_of
from mobilenets.exports.job import Options
from mobilenets.models.engine import NetworkEngine
from mobilenets.models.saved import SavedModel, load_classifier
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.predictor import ONNX
from mobilenets.runtime.bundle import CLASSIFICATION, WEIGHTS, Bundle, find_bundle, read_bundle
from mobilenets.runtime.engines import open_engine
from mobilenets.runtime.engines.ort import open_session
from mobilenets.runtime.exported import file_hash
from mobilenets.runtime.predictor import EnginePredictor
from mobilenets.runtime.tie import contract_hash

Floats = npt.NDArray[np.float32]

# Pictures a run, always: else the last bits of an answer would depend on how many others were asked about with it.
TOGETHER = 4


@dataclass(frozen=True, eq=False)
class TeacherModel:
    """One opened teacher: ``place`` as it was given, and the hash of its weights, or of the file.

    ``both``, where ``features`` are wanted, runs it in place of its predictor's engine: these follow the logits.
    """

    place: str
    predictor: EnginePredictor
    sha256: str
    on_device: bool
    features: int = 0
    both: Callable[[Floats], Floats] | None = None

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
        """Give the logits, or the logarithms of the probabilities, N×classes of its own, and behind them features."""
        predictor, run = self.predictor, self.both or self.predictor.engine
        finished = predictor.file is not None and predictor.file.output != "logits"
        together, parts = (len(views) if self.on_device else TOGETHER), []
        for start in range(0, len(views), max(1, together)):
            part = views[start : start + together]
            if len(part) < together:
                part = np.concatenate([part, np.zeros((together - len(part), *part.shape[1:]), part.dtype)])
            given = run(part)[: min(together, len(views) - start)]
            parts.append(predictor.reading.outputs(given) if finished else given)
        return np.concatenate(parts).astype(np.float64)


def open_teacher(place: str, device: torch.device, features: bool) -> TeacherModel:
    """Open a run folder, an imported model or an exported file; raises ``InputError`` for one that cannot teach."""
    path = Path(place)
    folder = find_bundle(path)
    bundle = read_bundle(folder)
    if bundle.task != CLASSIFICATION or bundle.outputs is not None or not bundle.classes:
        raise InputError(f"teacher {place}: not a model that tells classes apart; give a classifier")
    file = bundle.export
    if file is not None and features:
        raise InputError(f"teacher {place}: an exported file gives no features: give the run that it was made from")
    if file is not None:
        if file.geometry == "inside":
            raise InputError(
                f"teacher {place}: a file that resizes pictures itself; give the run that it was made from"
            )
        engine = open_engine(folder, file, None, 1)
        return TeacherModel(place, EnginePredictor(bundle, engine, file), file.sha256[file.file], on_device=False)
    saved, mark = load_classifier(path), file_hash(folder / WEIGHTS)
    on_device = device.type != "cpu"
    if features or on_device:
        in_torch = NetworkEngine(saved.network, device)
        predictor = EnginePredictor(bundle, in_torch)
        if not features:
            return TeacherModel(place, predictor, mark, on_device)
        both = partial(_both, in_torch) if on_device else _both_in_onnx(saved)
        return TeacherModel(place, predictor, mark, on_device, saved.network.features, both)
    with tempfile.TemporaryDirectory(prefix="mobilenets-") as aside:
        # Written anew, because the file beside the weights may be of others, or missing.
        written = graph_of(saved, Path(aside))
        engine = open_engine(Path(aside), written, ONNX, 1)
    return TeacherModel(place, EnginePredictor(bundle, engine, written), mark, on_device=False)


def _both(engine: NetworkEngine, views: Floats) -> Floats:
    """Give logits and features, N×(classes + features)."""
    features, logits = engine.features(views)
    return np.concatenate([logits, features], axis=1)


def _both_in_onnx(saved: SavedModel) -> Callable[[Floats], Floats]:
    """Give what ``_both`` does in ONNX Runtime."""
    network = saved.network
    classifier = network.plan.classifier
    assert classifier is not None
    model = onnx_model(network, saved.bundle.preprocessing, Options("onnx"))
    leaves = ["logits", *classifier.inputs]
    session = open_session(part_of(model, "images", network.plan.images.shape, leaves).SerializeToString(), 1)

    def run(views: Floats) -> Floats:
        given = session.run(leaves, {"images": np.ascontiguousarray(views.transpose(0, 3, 1, 2))})
        return np.concatenate([one.reshape(len(views), -1) for one in given], axis=1)

    return run


def about_teacher(model: TeacherModel) -> dict[str, Any]:
    """Say which it is, as ``recipe.json`` keeps it."""
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


def _resized(pixels: Floats, size: int) -> Floats:
    """Resize N×S×S×3 channel by channel, bilinear with antialiasing, without rounding."""
    out = np.empty((len(pixels), size, size, 3), np.float32)
    for picture, row in zip(pixels, out, strict=True):
        for channel in range(3):
            plane = Image.fromarray(np.ascontiguousarray(picture[..., channel]))
            row[..., channel] = np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR))
    return out
