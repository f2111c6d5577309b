from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenets.weights.tensorflow.crc32c import crc32c, mask
from mobilenets.weights.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    MAX_PACKED,
    VARINT,
    Budget,
    WireError,
    blob,
    fields,
    number,
    signed,
    text,
    varints,
)


def encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def test_each_kind_of_field():
    data = b"\x08\x96\x01\x12\x02hi\x1d\x01\x02\x03\x04\x21\x01\x02\x03\x04\x05\x06\x07\x08"
    assert [(n, kind, v if isinstance(v, int) else bytes(v)) for n, kind, v in fields(data)] == [
        (1, VARINT, 150),
        (2, BYTES, b"hi"),
        (3, FIXED32, b"\x01\x02\x03\x04"),
        (4, FIXED64, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x08", "ends within a number"),
        (b"\x08\x80", "ends within a number"),
        (b"\x08" + b"\xff" * 10, "longer than 64 bits"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "longer than 64 bits"),
        (b"\x12\x05hi", "claims 5 bytes where 2 are left"),
        (b"\x12" + b"\xff" * 9 + b"\x01", "claims 18446744073709551615 bytes"),
        (b"\x0d\x01\x02", "claims 4 bytes where 2 are left"),
        (b"\x00\x00", "field number 0"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x0f", "wire type 7"),
    ],
)
def test_malformed_is_refused(data, reason):
    with pytest.raises(WireError, match=reason):
        list(fields(data))


def test_a_budget_is_shared_and_ends():
    budget = Budget(left=3, room=10)
    list(fields(b"\x08\x01\x08\x01", budget))
    with pytest.raises(WireError, match="more fields"):
        list(fields(b"\x08\x01\x08\x01", budget))
    budget.take(10)
    with pytest.raises(WireError, match="larger arrays"):
        budget.take(1)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    for read in (fields, varints):
        with contextlib.suppress(WireError):
            list(read(data))


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_packed_numbers(values):
    assert varints(b"".join(map(encoded, values))).tolist() == values


@pytest.mark.parametrize("data", [b"\x80", b"\x01\xff", b"\xff" * 10 + b"\x01", b"\xff" * 9 + b"\x02"])
def test_malformed_packed_numbers_are_refused(data):
    with pytest.raises(WireError, match="number"):
        varints(data)


def test_a_packed_array_beyond_any_weights_is_refused():
    with pytest.raises(WireError, match="longer than any"):
        varints(memoryview(bytes(MAX_PACKED + 1)))


def test_values_are_taken_as_their_schema_means():
    assert signed(2**64 - 1) == -1
    assert signed(5) == 5
    assert text(memoryview("ä".encode())) == "ä"
    assert number(3) == 3
    for take, value in ((text, memoryview(b"\xff")), (text, 3), (blob, 3), (number, memoryview(b"3"))):
        with pytest.raises(WireError):
            take(value)


def test_checksums_are_those_of_rfc_3720():
    for data, expected in (
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ):
        assert crc32c(data) == expected
    # LevelDB's mask: rotated right by 15, plus a constant.
    assert mask(0) == 0xA282EAD8
    assert mask(1 << 15) == 0xA282EAD9
