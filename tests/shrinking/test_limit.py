"""``--within``."""

from __future__ import annotations

import pytest

from mobilenets.errors import InputError
from mobilenets.shrinking.limit import parse_limit


@pytest.mark.parametrize(
    ("text", "what", "most"),
    [
        ("15ms", "ms", 15.0),
        (" 0.5 S ", "ms", 500.0),
        ("2MB", "bytes", 2e6),
        ("1.5 MiB", "bytes", 1.5 * 2**20),
        ("300kB", "bytes", 3e5),
        ("60MMACs", "macs", 6e7),
        ("0.3 gmac", "macs", 3e8),
    ],
)
def test_a_time_a_size_or_a_count(text: str, what: str, most: float) -> None:
    limit = parse_limit(text)
    assert (limit.what, limit.most, limit.words) == (what, most, text.strip())


@pytest.mark.parametrize("text", ["", "15", "ms", "15m", "-1ms", "0ms", "1.2.3MB", "nanms", "1e999ms", "15 ms please"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="such as 15ms, 2MB or 60MMACs"):
        parse_limit(text)
