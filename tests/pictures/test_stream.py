"""Order, memory, mistakes and the end of what is made ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from mobilenets.errors import InputError, UnreadablePicture
from mobilenets.pictures.stream import MOST_WORKERS, checked, grouped, shared_workers, stream


def slow_when_even(number: int) -> int:
    time.sleep(0.01 * (number % 2 == 0))
    return number * number


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("ahead", [None, 1, 3, 50])
def test_in_order_whatever_finishes_first(workers: int, ahead: int | None) -> None:
    found = list(stream(slow_when_even, range(20), workers=workers, ahead=ahead))
    assert found == [(number, number * number) for number in range(20)]


@pytest.mark.parametrize("together", [1, 3, 50])
def test_several_at_a_time_are_told_apart(together: int) -> None:
    def make(number: int) -> int:
        if number % 5 == 3:
            raise UnreadablePicture(f"no {number}")
        return -number

    made = list(stream(make, range(20), workers=2, together=together))
    assert [number for number, _ in made] == list(range(20))
    assert [str(one) for _, one in made] == [f"no {n}" if n % 5 == 3 else str(-n) for n in range(20)]


@pytest.mark.parametrize("ahead", [1, 3, 7])
def test_no_more_is_taken_up_than_fits(ahead: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(30):
            taken.append(number)
            yield number

    for place, (number, _) in enumerate(stream(slow_when_even, items(), workers=2, ahead=ahead)):
        assert number == place
        assert len(taken) <= place + ahead


def test_a_bad_one_is_named_and_stops_nothing() -> None:
    def make(number: int) -> int:
        if number == 3:
            raise UnreadablePicture("no picture")
        return number

    made = list(stream(make, range(6), workers=2))
    assert [item for item, _ in made] == list(range(6))
    assert [str(result) for _, result in made if isinstance(result, Exception)] == ["no picture"]
    good = checked(made)
    assert [next(good) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UnreadablePicture, match="no picture"):
        next(good)


def test_any_other_mistake_is_raised_in_its_turn() -> None:
    def make(number: int) -> int:
        if number == 3:
            raise InputError("gone")
        return number

    made = stream(make, range(6), workers=2)
    assert [next(made)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match="gone"):
        next(made)
    assert not any(thread.name.startswith("decode") for thread in threading.enumerate())


def test_who_stops_reading_leaves_no_thread() -> None:
    begun: list[int] = []
    with closing(stream(lambda number: begun.append(number), range(1000), workers=2)) as made:
        next(made)
        assert any(thread.name.startswith("decode") for thread in threading.enumerate())
    assert not any(thread.name.startswith("decode") for thread in threading.enumerate())
    assert len(begun) <= 3


@pytest.mark.parametrize(("processes", "expected"), [("4", 2), ("1", 8), ("99", 1), ("0", 8), ("many", 8), (None, 8)])
def test_processes_of_one_machine_share_its_cores(
    processes: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobilenets.pictures.stream.cores", lambda: 8)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert shared_workers() == expected <= MOST_WORKERS


def test_groups() -> None:
    assert list(grouped(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(grouped((), 3)) == []
