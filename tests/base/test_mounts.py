from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mobilenets.base import mounts


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A file ``a/b`` that is mounted at ``top``."""
    told: list[Any] = []
    monkeypatch.setattr(mounts, "_trees", {})
    tree = SimpleNamespace(
        find=lambda name: 7 if name == "a/b" else None,
        read=lambda number: b"content",
        size=lambda number: 7,
        content=lambda number: b"hash",
        has_folder=lambda name: name in ("", "a"),
        listed=lambda folder: {"": [("a", True)], "a": [("b", False)]}[folder],
        shards=lambda numbers: numbers // 2,
        expect=told.append,
        told=told,
    )
    mounts.mount(Path("top"), tree)
    yield tree


def test_what_lies_in_it(tree: SimpleNamespace) -> None:
    path = Path("top/a/b")
    assert mounts.is_file(path) and not mounts.is_file(path.parent) and mounts.is_folder(path.parent)
    assert mounts.open_file(path).read() == mounts.read_file(path) == b"content"
    assert (mounts.file_size(path), mounts.version(path), mounts.known_content(path)) == (7, b"hash", b"hash")
    [entry] = mounts.scan(Path("top"))
    assert (entry.name, entry.path, entry.is_dir(), entry.is_file(), entry.is_symlink()) == (
        *("a", str(Path("top/a")), True),
        *(False, False),
    )
    with pytest.raises(FileNotFoundError, match="top"):
        mounts.read_file(Path("top/a/c"))
    mounts.expect([path])
    assert tree.told == [[3]]


def test_what_lies_on_the_disk(tree: SimpleNamespace, tmp_path: Path) -> None:
    for path in (tmp_path / "top", Path("top-2/a/b"), Path("to")):
        assert mounts.mounted(path) is None
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    assert mounts.numbers_of([file]) is mounts.numbers_of([]) is mounts.known_content(file) is None
    assert mounts.numbers_of([Path("top/a/b"), file]) is None
    assert (mounts.read_file(file), mounts.file_size(file), mounts.is_file(file)) == (b"abc", 3, True)
    before = mounts.version(file)
    file.write_bytes(b"abcd")
    assert mounts.version(file) != before


def test_once() -> None:
    assert mounts.once(np.array([5, 5, 2, 5, 9, 2])) == [5, 2, 9]
