"""Which pictures decode: every file opened once before training, so that none stops it later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from mobilenets.datasets.folder import Sample
from mobilenets.datasets.listing import Problem
from mobilenets.errors import UnreadablePicture
from mobilenets.pictures.decode import PictureTooLarge, decode


def check_readable(
    samples: Sequence[Sample], workers: int, progress: Callable[[int, int], None] | None = None
) -> tuple[tuple[Sample, ...], tuple[Problem, ...]]:
    """Decode every picture once, in ``workers`` threads.

    Returns the samples that decode, in their order, and a Problem (``unreadable`` or ``too_large``) for each
    that does not. ``progress`` is called from this thread with the pictures done and their total.
    """
    good: list[Sample] = []
    problems: list[Problem] = []
    batch = 32 * workers
    with ThreadPoolExecutor(workers) as pool:
        # In batches: a hundred thousand waiting futures would cost memory, and delay Ctrl-C.
        for start in range(0, len(samples), batch):
            for sample, problem in zip(
                samples[start : start + batch],
                pool.map(_problem, samples[start : start + batch]),
                strict=True,
            ):
                if problem is None:
                    good.append(sample)
                else:
                    problems.append(problem)
            if progress is not None:
                progress(min(start + batch, len(samples)), len(samples))
    return tuple(good), tuple(problems)


def _problem(sample: Sample) -> Problem | None:
    try:
        decode(sample.path)
    except UnreadablePicture as error:
        kind = "too_large" if isinstance(error, PictureTooLarge) else "unreadable"
        return Problem(kind, str(sample.path), str(error))
    return None
