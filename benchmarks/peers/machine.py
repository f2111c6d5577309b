"""What this machine can do at most: copied bytes a second and float32 operations a second in a product of matrices.

It takes turns with the peers, so that whatever disturbs them disturbs it too. Bytes are those read and those written;
what the processor reads because it is about to be overwritten is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from protocol import Turn, answer_turns, options

MAPS = 64 << 20  # values of float32, 256 MB: far more than any cache holds
SIDE = 1536


def main() -> None:
    import json

    given = options()
    torch.set_num_threads(given.threads)
    source, target = torch.ones(MAPS), torch.zeros(MAPS)
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    product = torch.empty(SIDE, SIDE)

    def take(seconds: float) -> Turn:
        cpu = time.process_time()
        copied = 2 * 4 * MAPS / best(lambda: target.copy_(source), seconds / 2)
        multiplied = 2 * SIDE**3 / best(lambda: torch.mm(left, right, out=product), seconds / 2)
        more = {"bytes_per_second": copied, "operations_per_second": multiplied}
        return Turn([seconds], time.process_time() - cpu, more)

    print(json.dumps({"threads": given.threads, "versions": {"torch": torch.__version__}}), flush=True)
    answer_turns(take, given.case.batch, lambda answer: print(json.dumps(answer), flush=True))


def best(work: Callable[[], object], seconds: float) -> float:
    """Give the shortest time of some work that is repeated for so long, at least three times."""
    times: list[float] = []
    work()
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
