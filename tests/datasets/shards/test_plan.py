from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenets.datasets.shards.plan import EpochPlan
from mobilenets.errors import InputError


@st.composite
def plans(draw: Callable[[Any], Any]) -> EpochPlan:
    counts = draw(st.lists(st.integers(0, 30), max_size=9))
    lanes = draw(st.integers(1, 7))
    batch = lanes * draw(st.integers(1, 9))
    return EpochPlan(counts, batch, draw(st.integers(0, 5)), draw(st.integers(0, 3)), draw(st.integers(1, 60)), lanes)


@settings(max_examples=25, deadline=None)
@given(plans())
def test_each_sample_comes_once(plan: EpochPlan) -> None:
    assert sorted(number for step in plan for number in step) == list(range(sum(plan.counts)))
    sizes = [len(step) for step in plan]
    assert all(1 <= size <= plan.batch for size in sizes)
    assert not sizes or max(sizes) - min(sizes[:-1], default=sizes[0]) <= plan.lanes


@settings(max_examples=25, deadline=None)
@given(plans(), st.integers(1, 9), st.randoms())
def test_any_step_and_any_part_of_it_is_known_alone(plan: EpochPlan, ranks: int, random: Any) -> None:
    """Resumed at any step, by another process, with another number of processes: the same samples follow."""
    whole = list(plan)
    steps = list(range(len(plan)))
    random.shuffle(steps)
    again = EpochPlan(plan.counts, plan.batch, plan.seed, plan.epoch, plan.buffer, plan.lanes)
    for step in steps:
        parts = [again.part(step, rank, ranks).tolist() for rank in range(ranks)]
        assert [number for part in parts for number in part] == whole[step] == plan[step:][0] == plan[step - len(plan)]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_reader_goes_forward() -> None:
    """A shard is read within two stretches of its own length, and not again."""
    order = np.concatenate([EpochPlan([50] * 8, 7, seed=2, epoch=1, buffer=50).part(step) for step in range(58)]) // 50
    for shard in range(8):
        places = np.flatnonzero(order == shard)
        assert len(places) == 50 and places[-1] - places[0] < 50
    whole = EpochPlan([50] * 8, 7, seed=2, epoch=1, buffer=75)
    order = np.array([number for step in whole for number in step]) // 50
    assert all(len({*order[start : start + 75].tolist()}) <= 3 for start in range(0, 400, 75))


def test_processes_read_different_shards() -> None:
    """With as many lanes as processes, each of which has its own part of the drawn order."""
    plan = EpochPlan([100] * 24, batch=48, seed=3, epoch=0, buffer=64, lanes=8)
    for ranks in (1, 2, 4, 8):
        shards = [
            {shard for step in range(len(plan)) for shard in (plan.part(step, rank, ranks) // 100).tolist()}
            for rank in range(ranks)
        ]
        assert sum(map(len, shards)) == 24


def test_the_order_is_drawn_anew() -> None:
    def order(seed: int, epoch: int, buffer: int = 50) -> list[int]:
        return [number for step in EpochPlan([40] * 5, 32, seed, epoch, buffer) for number in step]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1) != order(1, 1)
    # Shards in a drawn order, and within a stretch as good as any: not one sample stays beside its neighbour for long.
    pairs = list(zip(order(0, 0), order(0, 0)[1:], strict=False))
    assert sum(after - before == 1 for before, after in pairs) < 20
    # One stretch for all is a full shuffle: samples go far.
    assert np.abs(np.asarray(order(0, 0, 200)) - np.arange(200)).mean() > 40


def test_the_order_stays_what_it_is() -> None:
    """A checkpoint of an earlier version goes on with it."""
    assert list(EpochPlan([3, 2, 4], batch=4, seed=1, epoch=2, buffer=4, lanes=2)) == [[4, 2], [3, 6, 0, 8], [5, 7, 1]]


def test_memory_is_of_shards_and_stretches_alone() -> None:
    """10⁹ samples in 10⁵ shards: a step in the middle takes no list of samples."""
    tracemalloc = pytest.importorskip("tracemalloc")
    tracemalloc.start()
    plan = EpochPlan(np.full(100_000, 10_000), batch=4096, seed=0, epoch=0, buffer=4096, lanes=64)
    step = plan.part(len(plan) // 2, 5, 64)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert plan.samples == 10**9 and len(plan) == 244_141 and len(step) in (63, 64)
    assert most < 12e6


@pytest.mark.parametrize(("batch", "buffer", "lanes"), [(0, 1, 1), (4, 0, 1), (4, 1, 0), (4, 1, 3)])
def test_numbers_that_cannot_be(batch: int, buffer: int, lanes: int) -> None:
    with pytest.raises(InputError, match="divides the batch"):
        EpochPlan([3], batch, 0, 0, buffer, lanes)
    with pytest.raises(InputError, match="pack"):
        EpochPlan([3, -1], 4, 0, 0)
    with pytest.raises(IndexError):
        EpochPlan([3], 4, 0, 0)[1]
