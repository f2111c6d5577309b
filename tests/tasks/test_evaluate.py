from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mobilenets.datasets.folder import Sample
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.exported import Exported
from mobilenets.runtime.predictor import EnginePredictor
from mobilenets.tasks import evaluate
from mobilenets.tasks.classification.task import classified

PICTURES = 60


@pytest.mark.parametrize(("geometry", "most"), [("outside", 16 * 2 + 2), ("inside", 4 * 2 + 2)])
def test_pictures_are_decoded_a_few_batches_ahead(
    geometry: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer where they are kept as large as they came; each is answered once, in order."""
    samples = []
    for number in range(PICTURES):
        path = tmp_path / f"{number:02}.png"
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
        samples.append(Sample(path, number % 2))
    decoded, waiting = 0, []

    def decode(*given: Any) -> Any:
        nonlocal decoded
        decoded += 1
        return original(*given)

    def engine(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        nonlocal answered
        waiting.append(decoded - answered)
        answered += len(images)
        return images[:, 0, 0, :2].astype(np.float32)

    original, answered = evaluate.decode_scaled, 0
    monkeypatch.setattr(evaluate, "decode_scaled", decode)
    monkeypatch.setattr(evaluate, "default_workers", lambda: 2)
    exported = Exported("m.onnx", "onnx", "float32", {"m.onnx": "0" * 64}, "uint8", "NHWC", geometry=geometry)
    bundle = Bundle({}, ("cat", "dog"), Preprocessing(8, crop_fraction=1), export=exported)
    [found] = evaluate.evaluate_predictors([EnginePredictor(bundle, engine)], samples, tmp_path)
    assert classified(found).logits[:, 0].tolist() == list(range(PICTURES))
    assert max(waiting) <= most
