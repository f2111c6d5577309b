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


def test_threads_that_ask_while_the_team_is_at_work_do_not_wait_for_it() -> None:
    team, out = Team(), np.zeros((4, 20))

    def ask(row: np.ndarray) -> None:
        for _ in range(100):
            team.run(add_range, [(row, 0, 10), (row, 10, 20)])

    threads = [threading.Thread(target=ask, args=(row,)) for row in out]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(out, 100)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    from mobilenets.kernels import threads

    out = np.zeros(20)
    parts = [(out, 0, 10), (out, 10, 20)]
    threads.run(add_range, parts)
    child = os.fork()
    if child == 0:
        threads.run(add_range, parts)
        os._exit(0 if (out == 2).all() else 1)
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
