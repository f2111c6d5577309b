"""What data are called: the mark of all their pictures, and the name of each below their folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobilenets.datasets.folder import Sample, fingerprint, read_folder, relative
from mobilenets.errors import InputError


def put(root: Path, *names: str) -> Path:
    """Make files that are named as pictures, each of its own content."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def test_the_fingerprint_knows_no_unicode_form(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    one = put(tmp_path / "one", f"{composed}/1.png", "te/1.png")
    two = tmp_path / "two"
    for name, other in ((composed, decomposed), ("te", "te")):
        (two / other).mkdir(parents=True)
        (two / other / "1.png").write_bytes((one / name / "1.png").read_bytes())
    assert fingerprint(read_folder(one).samples, one) == fingerprint(read_folder(two).samples, two)


def test_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    first = put(tmp_path / "one", "cat/1.png", "dog/1.png", "dog/2.png")
    second = put(tmp_path / "two", "dog/2.png", "dog/1.png", "cat/1.png")
    samples, others = read_folder(first).samples, read_folder(second).samples
    mark = fingerprint(samples, first)
    assert len(mark) == 32
    assert fingerprint(tuple(reversed(others)), second, workers=3) == mark
    os.utime(first / "cat/1.png", (0, 0))
    assert fingerprint(samples, first) == mark
    relabelled = (Sample(samples[0].path, 1), *samples[1:])
    content = (second / "dog/1.png").read_bytes()
    (second / "dog/1.png").write_bytes(content[:-1] + b"\0")
    (first / "cat/1.png").rename(first / "cat/renamed.png")
    marks = {
        mark,
        fingerprint(others, second),
        fingerprint(samples[1:], first),
        fingerprint(read_folder(first).samples, first),
    }
    (first / "cat/renamed.png").rename(first / "cat/1.png")
    marks.add(fingerprint(relabelled, first))
    assert len(marks) == 5


def test_fingerprint_needs_its_files(tmp_path: Path) -> None:
    root = put(tmp_path / "data", "cat/1.png")
    with pytest.raises(InputError, match="cannot be read"):
        fingerprint([Sample(root / "cat/2.png", 0)], root)
    with pytest.raises(InputError, match="is not in"):
        fingerprint([Sample(root / "cat/1.png", 0)], root / "dog")


@pytest.mark.parametrize(
    ("path", "root", "name"),
    [("a/b/c.png", "a", "b/c.png"), ("./a/b.png", ".", "a/b.png"), ("/a/b.png", "/", "a/b.png"), ("a", "a", ".")],
)
def test_names_below_a_folder(path: str, root: str, name: str) -> None:
    assert relative(Path(path), Path(root)) == name


@pytest.mark.parametrize(("path", "root"), [("ab/c.png", "a"), ("a/b.png", "a/b"), ("a/b.png", "/a")])
def test_no_name_for_what_lies_elsewhere(path: str, root: str) -> None:
    with pytest.raises(InputError, match="is not in"):
        relative(Path(path), Path(root))
