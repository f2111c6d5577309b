from __future__ import annotations

import asyncio
import io
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.errors import FaultFound
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.exported import Exported
from mobilenets.runtime.predictor import AT_ONCE, EnginePredictor
from mobilenets.server.batching import Batcher
from mobilenets.server.limits import Limits
from mobilenets.server.metrics import Metrics


class Counting(EnginePredictor):
    """Counts the prepared pictures that are held."""

    held, most, lock = 0, 0, threading.Lock()

    def prepare(self, picture: Any) -> Any:
        with self.lock:
            self.held += 1
            self.most = max(self.most, self.held)
        return super().prepare(picture)

    def probabilities(self, prepared: Any) -> Any:
        found = super().probabilities(prepared)
        with self.lock:
            self.held -= len(prepared)
        return found


@pytest.mark.parametrize("geometry", ["inside", "outside"])
def test_pictures_that_stay_large_are_held_a_few_at_a_time(geometry: str) -> None:
    exported = Exported("model.onnx", "onnx", "float32", {}, "uint8", "NHWC", batch=1, geometry=geometry)
    bundle = Bundle({}, ("dark", "bright"), Preprocessing(8), export=exported)
    predictor = Counting(bundle, lambda images: np.stack([[0, image.mean()] for image in images]).astype(np.float32))
    stream = io.BytesIO()
    Image.new("RGB", (30, 20), "white").save(stream, "PNG")

    async def ask() -> list[Any]:
        batcher = Batcher(predictor, None, Limits(), Metrics(), 8)
        await batcher.start()
        try:
            return await batcher.answers([stream.getvalue()] * 24, 1, None)
        finally:
            await batcher.stop()

    answers = asyncio.run(ask())
    assert [answer["predictions"][0]["label"] for answer in answers] == ["bright"] * 24
    # One more: the server asks itself once when it begins.
    if geometry == "inside":
        assert predictor.most <= AT_ONCE + 1
    else:
        assert predictor.most > AT_ONCE + 1


def test_a_picture_without_an_answer_spoils_none_beside_it() -> None:
    def engine(images: Any) -> Any:
        bright = images.mean((1, 2, 3)) > 0
        return np.where(bright[:, None], np.inf, np.array([1.0, 0.0])).astype(np.float32)

    predictor = EnginePredictor(Bundle({}, ("dark", "bright"), Preprocessing(8)), engine)
    files = []
    for color in ("white", "black"):
        stream = io.BytesIO()
        Image.new("RGB", (8, 8), color).save(stream, "PNG")
        files.append(stream.getvalue())

    async def ask() -> list[Any]:
        batcher = Batcher(predictor, None, Limits(), Metrics(), 1)
        await batcher.start()
        try:
            asked = (batcher.answers([file], 1, None) for file in files)
            return await asyncio.gather(*asked, return_exceptions=True)
        finally:
            await batcher.stop()

    broken, [good] = asyncio.run(ask())
    assert isinstance(broken, FaultFound)
    assert good["predictions"][0]["label"] == "dark"
