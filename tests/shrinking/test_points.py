"""The lines that are added one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilenets.errors import InputError
from mobilenets.shrinking.points import Lines


def test_a_line_that_was_cut_off_is_none_and_the_next_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl"
    lines = Lines(path)
    lines.add("point", {"name": "größer"})
    lines.add("rung", {"rung": 0})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind": "point", "na')
    again = Lines(path)
    assert again.of("point") == [{"name": "größer"}] and again.of("rung") == [{"rung": 0}]
    again.add("point", {"name": "next"})
    assert path.read_bytes().startswith(whole) and path.read_bytes().count(b"\n") == 3
    assert [line["name"] for line in Lines(path).of("point")] == ["größer", "next"]
    assert Lines(tmp_path / "none").of("point") == []


@pytest.mark.parametrize("line", [b"\x00\x00\x00\n", b"null\n", b"{}\n"])
def test_a_damaged_line_is_refused(tmp_path: Path, line: bytes) -> None:
    """Such as a disk leaves that lost its power."""
    path = tmp_path / "points.jsonl"
    path.write_bytes(b'{"kind": "rung"}\n' + line)
    with pytest.raises(InputError, match="damaged; remove "):
        Lines(path)
    assert path.read_bytes().endswith(line)
