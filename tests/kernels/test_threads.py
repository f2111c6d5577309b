from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from mobilenets.kernels.compile import kernel
from mobilenets.kernels.threads import Team, split


@kernel
def add_range(out, first, last):  # type: ignore[no-untyped-def]
    for place in range(first, last):
        out[place] += 1


@kernel
def add_rows(out, first, last):  # type: ignore[no-untyped-def]
    for row in range(first, last):
        for column in range(out.shape[1]):
            out[row, column] += 1


def test_every_part_is_run_and_the_first_by_the_caller() -> None:
    ran: dict[int, str] = {}

    def note(part: int) -> None:
        ran[part] = threading.current_thread().name

    Team().run(note, [(0,), (1,), (2,)])
    assert sorted(ran) == [0, 1, 2]
    assert ran[0] == threading.current_thread().name
    assert ran[1] == ran[2] == "mobilenets-kernels"


@pytest.mark.parametrize("failing", [0, 1])
def test_an_exception_comes_back_and_the_team_goes_on(failing: int) -> None:
    team, ran = Team(), []

    def fail(part: int) -> None:
        if part == failing:
            raise ValueError("as it should")
        ran.append(part)

    with pytest.raises(ValueError, match="as it should"):
        team.run(fail, [(0,), (1,)])
    assert ran == [1 - failing]
    team.run(ran.append, [(5,), (6,)])
    assert sorted(ran[1:]) == [5, 6]


def test_a_team_asked_within_its_own_work_does_not_wait_for_itself() -> None:
    team, ran = Team(), []
    team.run(lambda part: team.run(ran.append, [(part,), (part + 10,)]), [(0,), (1,)])
    assert sorted(ran) == [0, 1, 10, 11]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    from mobilenets.kernels import threads

    ran: list[int] = []
    threads.run(ran.append, [(0,), (1,)])
    child = os.fork()
    if child == 0:
        found: list[int] = []
        threads.run(found.append, [(0,), (1,)])
        os._exit(0 if sorted(found) == [0, 1] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_ranges_follow_one_another() -> None:
    assert split(100, 3, step=16) == [(0, 48), (48, 96), (96, 100)]
    assert split(100, 3, least=60) == [(0, 100)]
    assert split(1, 3) == [(0, 1)]
    for count in range(1, 200, 7):
        for parts in (1, 2, 3, 5):
            found = split(count, parts, 1, 4)
            assert [first for first, _ in found] == [0, *(last for _, last in found[:-1])]
            assert found[-1][1] == count
            assert len(found) <= parts


@pytest.mark.parametrize("asleep", [True, False])
def test_parts_of_a_kernel_are_all_computed(monkeypatch: pytest.MonkeyPatch, asleep: bool) -> None:
    from mobilenets.kernels import threads

    if asleep:  # and nobody wakes it: whoever asks computes all parts
        monkeypatch.setattr(threads._Worker, "wake", lambda worker: None)
    team, out = Team(), np.zeros(30)
    for _ in range(50):
        team.run(add_range, [(out, 0, 10), (out, 10, 20), (out, 20, 30)])
    np.testing.assert_array_equal(out, 50)


def test_kernels_on_a_team_take_each_type() -> None:
    team = Team()
    for dtype in (np.float32, np.float64):
        out = np.zeros(20, dtype)
        team.run(add_range, [(out, 0, 10), (out, 10, 20)])
        np.testing.assert_array_equal(out, 1)


def test_kernels_on_a_team_take_each_layout() -> None:
    team, whole = Team(), np.zeros((8, 8))
    for out in (np.zeros((4, 4), order="F"), whole[::2, ::2], np.zeros((4, 4))):
        team.run(add_rows, [(out, 0, 2), (out, 2, 4)])
        np.testing.assert_array_equal(out, 1)
    assert whole.sum() == 16
