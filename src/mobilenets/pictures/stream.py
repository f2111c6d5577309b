"""The one place where pictures are made ready ahead of who uses them, by threads.

Threads serve, and not processes: Pillow decodes and resizes outside Python's lock, nothing is copied between
processes, and Ctrl-C stops them at once on every system.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from mobilenets.base.cores import beside, cores
from mobilenets.errors import UnreadablePicture

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_WORKERS = 16


def default_workers() -> int:
    """Give the number of decoding threads: one per core that this process may use, up to 16."""
    return min(cores(), MOST_WORKERS)


def shared_workers() -> int:
    """Give the number of decoding threads where all processes of a training decode at once: its part of the cores."""
    return min(max(1, cores() // beside()), MOST_WORKERS)


def decoding_threads(workers: int | None = None) -> ThreadPoolExecutor:
    """Give a pool of decoding threads, by default ``default_workers()`` of them, for work that comes in no order."""
    return ThreadPoolExecutor(workers or default_workers(), thread_name_prefix="decode")


def stream(
    make: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    ahead: int | None = None,
    together: int = 1,
) -> Generator[tuple[Item, Result | UnreadablePicture]]:
    """Make something of every item, in threads, ahead of the reader.

    - ``make``: what is done with an item: decode and preprocess a picture, or a batch of them. It runs in several
      threads.
    - ``items``: taken up one by one as the reader goes on, in the reader's thread.
    - ``workers``: threads, by default ``default_workers()``.
    - ``ahead``: how many items may be under way or made and not yet read: what bounds the memory. By default one more
      than there are workers.
    - ``together``: how many items a thread takes at a time: where one takes less time than its hand-over between
      threads. There may be so many times as many under way.

    Yields each item with its result, in the order of the items. Where ``make`` raises ``UnreadablePicture``, that
    exception stands in the result's place; any other one is raised here. When the reader stops, what is not begun is
    dropped.

    >>> list(stream(len, ["a", "bb", "ccc"], workers=2))
    [('a', 1), ('bb', 2), ('ccc', 3)]
    """
    workers = workers or default_workers()
    room = ahead or workers + 1
    pending: deque[Future[list[tuple[Item, Result | UnreadablePicture]]]] = deque()
    pool = decoding_threads(workers)

    def each(some: list[Item]) -> list[tuple[Item, Result | UnreadablePicture]]:
        made: list[tuple[Item, Result | UnreadablePicture]] = []
        for item in some:
            try:
                made.append((item, make(item)))
            except UnreadablePicture as error:
                made.append((item, error))
        return made

    try:
        for some in grouped(items, together):
            pending.append(pool.submit(each, some))
            if len(pending) >= room:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def checked(made: Iterable[tuple[Item, Result | UnreadablePicture]]) -> Iterator[Result]:
    """Give the results of ``stream`` alone; raises the first ``UnreadablePicture`` among them."""
    for _, result in made:
        if isinstance(result, UnreadablePicture):
            raise result
        yield result


def grouped(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Give lists of ``size`` items, the last perhaps shorter.

    >>> list(grouped("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]

    """
    left = iter(items)
    while group := list(islice(left, size)):
        yield group
