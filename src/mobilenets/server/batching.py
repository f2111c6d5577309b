"""Pictures of all requests, a few at a time: decoded side by side, answered together in one run of the engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import Image

from mobilenets.base.notes import log
from mobilenets.errors import FaultFound, UnreadablePicture
from mobilenets.pictures.stream import decoding_threads
from mobilenets.runtime.predictor import EnginePredictor, Pixels
from mobilenets.server.limits import Limits, busy, check_size
from mobilenets.server.metrics import Metrics

Answer = dict[str, Any]


@dataclass(frozen=True)
class _Job:
    pixels: Pixels
    top: int | None
    language: str | None
    answer: asyncio.Future[Answer]


class Batcher:
    """Answers pictures of requests that come at the same time; lives in one event loop.

    ``explain`` draws what the network looked at: the bytes of a picture to those of a PNG.
    """

    def __init__(
        self,
        predictor: EnginePredictor,
        explain: Callable[[bytes], bytes] | None,
        limits: Limits,
        metrics: Metrics,
        workers: int,
    ) -> None:
        self.predictor = predictor
        self.answered = False
        self._explain = explain
        self._limits = limits
        self._metrics = metrics
        self._workers = workers
        self._held = 0
        self._decoding = 0
        self._waiting: deque[_Job] = deque()
        self._came = asyncio.Event()
        # Where pictures are kept as large as they came, few at a time.
        self._kept = asyncio.Semaphore(predictor.at_once(limits.queue))

    async def start(self) -> None:
        """Begin to work; ``answered`` turns true when the model has answered once, which ``warm`` waits for."""
        self._decoders = decoding_threads(self._workers)
        # One thread, for an engine need not be safe in several.
        self._engine = ThreadPoolExecutor(1, "engine")
        self.warm = asyncio.create_task(self._warm_up())
        self._tasks = [asyncio.create_task(self._work()), self.warm]

    async def stop(self) -> None:
        """End; whoever still waits is dropped."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for pool in (self._decoders, self._engine):
            pool.shutdown(wait=False, cancel_futures=True)

    async def free(self) -> None:
        """Wait until the engine's thread is between two runs."""
        await asyncio.get_running_loop().run_in_executor(self._engine, int)

    @property
    def full(self) -> bool:
        """Whether not one more picture fits."""
        return self._held >= self._limits.queue

    async def answers(
        self, pictures: Sequence[bytes], top: int | None, language: str | None
    ) -> list[Answer | UnreadablePicture]:
        """Answer pictures in order, as ``EnginePredictor.answers`` does; for an unreadable one, why it is.

        Raises ``Refused`` with 503 when the queue is full or the time is up.
        """
        async with self._room(len(pictures)):
            return await asyncio.gather(*(self._answer(picture, top, language) for picture in pictures))

    async def explanation(self, picture: bytes) -> bytes:
        """Draw what the network looked at; raises ``UnreadablePicture``, and ``Refused`` as ``answers`` does."""
        explain = self._explain
        assert explain is not None

        def run() -> bytes:
            check_size(picture, self._limits.pixels)
            return explain(picture)

        async with self._room(1):
            return await asyncio.get_running_loop().run_in_executor(self._engine, run)

    @contextlib.asynccontextmanager
    async def _room(self, pictures: int) -> Any:
        if self._held + pictures > self._limits.queue:
            raise busy("too many pictures are waiting")
        self._hold(pictures)
        try:
            async with asyncio.timeout(self._limits.answer):
                yield
        except TimeoutError:
            raise busy(f"no answer within {self._limits.answer:g} seconds", "late") from None
        finally:
            self._hold(-pictures)

    def _hold(self, pictures: int) -> None:
        self._held += pictures
        self._metrics.waiting.set(self._held)

    async def _answer(self, picture: bytes, top: int | None, language: str | None) -> Answer | UnreadablePicture:
        loop = asyncio.get_running_loop()
        async with self._kept:
            self._decoding += 1
            try:
                pixels = await loop.run_in_executor(self._decoders, self._prepare, picture)
            except UnreadablePicture as error:
                return error
            finally:
                self._decoding -= 1
            return await self._ask(pixels, top, language)

    def _prepare(self, picture: bytes) -> Pixels:
        check_size(picture, self._limits.pixels)
        return self.predictor.prepare(picture)

    async def _ask(self, pixels: Pixels, top: int | None, language: str | None) -> Answer:
        job = _Job(pixels, top, language, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._came.set()
        return await job.answer

    async def _work(self) -> None:
        """Run the engine on what waits, for ever."""
        while True:
            await self._came.wait()
            if self._decoding and len(self._waiting) < self._limits.batch:
                await asyncio.sleep(self._limits.gather)
            jobs = [self._waiting.popleft() for _ in range(min(self._limits.batch, len(self._waiting)))]
            if not self._waiting:
                self._came.clear()
            # Those whose time was up are left out.
            jobs = [job for job in jobs if not job.answer.done()]
            if jobs:
                await self._run(jobs)

    async def _run(self, jobs: list[_Job]) -> None:
        self._metrics.batch.observe(len(jobs))
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._engine, self._answers, jobs)
        except Exception as error:  # whatever an engine raises is for those who asked, not the end of the server
            for job in jobs:
                if not job.answer.done():
                    job.answer.set_exception(error)
            return
        self.answered = True
        for job, answer in zip(jobs, answers, strict=True):
            if job.answer.done():
                continue
            if isinstance(answer, FaultFound):
                job.answer.set_exception(answer)
            else:
                job.answer.set_result(answer)

    def _answers(self, jobs: list[_Job]) -> list[Answer | FaultFound]:
        asked = zip(*self.predictor.asked([job.pixels for job in jobs]), jobs, strict=True)
        return [self._one(row, far, job) for row, far, job in asked]

    def _one(self, row: Any, far: float | None, job: _Job) -> Answer | FaultFound:
        """Answer one picture; a fault is for whoever asked about it, not for those beside it."""
        try:
            return self.predictor.answer(row, job.top, job.language, far)
        except FaultFound as fault:
            return fault

    async def _warm_up(self) -> None:
        side = self.predictor.bundle.preprocessing.size
        try:
            await self._ask(self.predictor.prepare(Image.new("RGB", (side, side))), 1, None)
        except Exception as error:
            log.error("the model failed: %s", error)
