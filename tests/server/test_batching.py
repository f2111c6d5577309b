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
from mobilenets.runtime.labels import Label, Labels
from mobilenets.runtime.predictor import AT_ONCE, EnginePredictor
from mobilenets.server.batching import Batcher, _Job
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

    def asked(self, prepared: Any) -> Any:
        found = super().asked(prepared)
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


def test_each_job_of_a_batch_is_answered_as_it_asks() -> None:
    """Jobs that wait together have each their own ``top`` and language."""
    labels = Labels({"dark": Label({"zh": "暗", "de": "dunkel"}, None), "bright": Label({"zh": "亮"}, None)})
    bundle = Bundle({}, ("dark", "bright", "blue"), Preprocessing(8), labels=labels)

    def engine(images: Any) -> Any:
        return np.stack([[1 - image.mean(), image.mean(), 0.3] for image in images]).astype(np.float32)

    predictor = EnginePredictor(bundle, engine)
    batcher = Batcher(predictor, None, Limits(), Metrics(), 1)
    loop = asyncio.new_event_loop()
    try:
        asked = [(1, None, "white"), (3, "zh", "black"), (2, "de", "white"), (1, "zh", "white")]
        jobs = [
            _Job(predictor.prepare(Image.new("RGB", (8, 8), colour)), top, language, loop.create_future())
            for top, language, colour in asked
        ]
        answers = batcher._answers(jobs)
    finally:
        loop.close()
    assert [len(answer["predictions"]) for answer in answers] == [1, 3, 2, 1]
    assert [answer["predictions"][0]["name"] for answer in answers] == ["bright", "暗", "bright", "亮"]
    alone = [predictor.answers([job.pixels], job.top, job.language)[0] for job in jobs]
    assert answers == alone


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
