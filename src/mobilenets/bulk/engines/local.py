"""Parts by processes of this machine."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

from mobilenets.bulk.engines import LOOK, Course
from mobilenets.bulk.job import Answered, Failed
from mobilenets.bulk.parts import Part
from mobilenets.bulk.worker import Worker


def answered(parts: Sequence[Part], asked: dict[str, Any], workers: int) -> Course:
    """Have parts answered by ``workers`` processes; gives each as it is done.

    They end with the generator, whatever they do then. Raises ``InputError`` where they cannot open the model.
    """
    crew = [Worker(asked) for _ in range(min(workers, len(parts)))]
    free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    for worker in crew:
        free.put(worker)

    def answer(part: Part) -> Answered | Failed:
        worker = free.get()
        try:
            return worker.answer(part)
        finally:
            free.put(worker)

    pool = ThreadPoolExecutor(len(crew) or 1, thread_name_prefix="bulk")
    try:
        waiting = {pool.submit(answer, part): part for part in parts}
        while waiting:
            done, _ = wait(waiting, LOOK, FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()
            yield sum(worker.done() for worker in crew)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in crew:
            worker.close()
        pool.shutdown()
