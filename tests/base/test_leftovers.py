"""What killed processes leave, and that the work of living ones is not taken for it."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mobilenets.base import lock
from mobilenets.base.drafts import drafting, publish
from mobilenets.base.files import staying, write_text, writing
from mobilenets.base.leftovers import UNFINISHED, clear_leftovers, filling, occupants
from mobilenets.base.lock import holding
from mobilenets.errors import InputError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows goes by age")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed(code: str) -> None:
    """Run code in a process that is killed where it says so."""
    done = subprocess.run([sys.executable, "-c", f"import os, signal\nfrom pathlib import Path\n{code}"], timeout=60)
    assert done.returncode == -9


DIE = "os.kill(os.getpid(), signal.SIGKILL)"


def test_of_a_killed_process(tmp_path: Path) -> None:
    killed(
        "from mobilenets.base.files import writing\nfrom mobilenets.base.drafts import drafting\n"
        f"with drafting(Path({str(tmp_path)!r}, 'export')) as draft, writing(draft / 'a'), "
        f"writing(Path({str(tmp_path)!r}, 'b.json')):\n    {DIE}"
    )
    assert len(names(tmp_path)) == 2 and occupants(tmp_path) == []
    with drafting(tmp_path / "export") as draft:
        assert len(names(tmp_path)) == 1
        write_text(draft / "a", "new")
        publish(draft, tmp_path / "export", "a")
    assert names(tmp_path) == ["export"] and names(tmp_path / "export") == ["a"]


def test_whoever_writes_there_next_clears_it(tmp_path: Path) -> None:
    (tmp_path / ".writing-x.json").touch()
    write_text(tmp_path / "file", "")
    assert names(tmp_path) == ["file"]


def test_of_a_living_process(tmp_path: Path) -> None:
    with drafting(tmp_path / "export") as draft, writing(tmp_path / "file") as aside:
        clear_leftovers(tmp_path, below=True)
        assert aside.exists() and draft.exists()
    assert names(tmp_path) == ["file"]


def test_where_locks_are_unknown_it_goes_by_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("leftovers", "files", "lock"):
        monkeypatch.setattr(f"mobilenets.base.{module}.try_lock", lambda _: None)
    (tmp_path / ".writing-new").touch()
    (tmp_path / ".writing-old").touch()
    (tmp_path / ".writing-folder").mkdir()
    for name in (".writing-old", ".writing-folder"):
        os.utime(tmp_path / name, (time.time() - 1e5,) * 2)
    clear_leftovers(tmp_path)
    assert names(tmp_path) == [".writing-new"]
    with holding(tmp_path / "lock") as first, holding(tmp_path / "lock") as second:
        assert first and second  # nothing can be told, so nothing stands in the way


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    with holding(tmp_path / "lock") as mine, holding(tmp_path / "lock") as second:
        assert mine and not second
    killed(
        f"from mobilenets.base.lock import holding\nwith holding(Path({str(tmp_path / 'lock')!r})) as got:\n"
        f"    assert got\n    {DIE}"
    )
    with holding(tmp_path / "lock") as got:
        assert got


def test_a_lock_file_that_was_removed_meanwhile_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real, calls = tmp_path / "lock", lock.try_lock, []

    def removed(descriptor: int) -> bool | None:
        if not calls:
            path.unlink()  # by the one who held it, between our opening and our locking
        calls.append(descriptor)
        return real(descriptor)

    monkeypatch.setattr(lock, "try_lock", removed)
    with holding(path) as got:
        monkeypatch.undo()
        assert got and len(calls) == 2
        with holding(path) as other:
            assert not other


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_is_published_whole(tmp_path: Path, there: bool) -> None:
    out = tmp_path / "out"
    if there:
        (out / "use").mkdir(parents=True)
        (out / "use" / "stale.py").touch()
        (out / "mine.txt").touch()
    with drafting(out) as draft:
        for name in ("model.json", "model.onnx", "use/new.py"):
            write_text(draft / name, name)
        publish(draft, out, "model.json")
    expected = ["mine.txt"] * there + ["model.json", "model.onnx", "use"]
    assert names(out) == expected and names(out / "use") == ["new.py"] and names(tmp_path) == ["out"]
    assert (out.stat().st_mode & 0o777) == 0o777 & ~_umask()


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_one_that_was_cut_short_counts_as_empty(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), filling(tmp_path / "run"):
        (tmp_path / "run" / "half").touch()
        raise KeyboardInterrupt
    assert names(tmp_path / "run") == [UNFINISHED, "half"] and occupants(tmp_path / "run") == []
    clear_leftovers(tmp_path, below=True)
    with filling(tmp_path / "run"):
        (tmp_path / "run" / "whole").touch()
    assert occupants(tmp_path / "run") == names(tmp_path / "run") == ["half", "whole"]


def test_a_folder_that_was_removed_does_not_come_back(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with staying(run):
        write_text(run / "deep" / "file", "")
        run.rename(tmp_path / "away")
        for again in (False, True):
            if again:
                run.mkdir()
            with pytest.raises(InputError, match=r"file: not written, because the folder .* was removed or replaced"):
                write_text(run / "deep" / "file", "")
        write_text(tmp_path / "elsewhere", "")
    write_text(run / "file", "")
    assert names(run) == ["file"]


def test_of_a_forked_child_the_lock_stays_with_the_parent(tmp_path: Path) -> None:
    with holding(tmp_path / "lock"):
        child = multiprocessing.get_context("fork").Process(target=os._exit, args=(0,))
        child.start()
        child.join()
        with holding(tmp_path / "lock") as got:
            assert not got
