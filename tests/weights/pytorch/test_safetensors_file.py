from __future__ import annotations

import json
import runpy
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from mobilenets.weights import layers
from mobilenets.weights.pytorch.safetensors_file import bfloat16, read

REFUSING = runpy.run_path(str(Path(__file__).parents[1] / "refusing.py"))
refused, read_or_refused = (partial(REFUSING[name], read) for name in ("refused", "read_or_refused"))


def pack(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(shape: list[int], begin: int, end: int, kind: str = "F32") -> dict[str, object]:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


def small() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return {
        "features.0.0.weight": torch.randn(4, 3, 3, 3, generator=random),
        "features.0.1.running_mean": torch.randn(4, generator=random),
        "features.0.1.running_var": torch.rand(4, generator=random),
        "features.0.1.num_batches_tracked": torch.tensor(7),
        "features.1.conv.0.0.weight": torch.randn(4, 1, 3, 3, generator=random),
        "classifier.1.weight": torch.randn(2, 4, generator=random),
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_values_of_every_type(file: Path, kind: torch.dtype) -> None:
    state = {name: value.to(kind) if value.is_floating_point() else value for name, value in small().items()}
    save_file(state, file, {"format": "pt"})
    foreign = read(file)
    assert foreign.format == "safetensors of torchvision"
    assert foreign.ignored == ("features.0.1.num_batches_tracked",)
    assert [layer.name for layer in foreign.layers] == [
        "features.0.0",
        "features.0.1",
        "features.1.conv.0.0",
        "classifier.1",
    ]
    for layer in foreign.layers:
        for part, array in layer.arrays.items():
            if f"{layer.name}.{part}" in state:
                assert array.dtype == np.float32
                np.testing.assert_array_equal(array, state[f"{layer.name}.{part}"].float())


def test_bfloat16_of_every_pattern() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    expected = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(bfloat16(bits).view(np.uint32), expected.view(np.uint32))


TWO = {"a.weight": entry([1, 1], 0, 4), "b.weight": entry([1, 1], 4, 8)}
EIGHT = bytes(8)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a complete"),
    "short": (b"\x10\0\0", "not a complete"),
    "length 2^60": (pack({}, length=1 << 60), "a header of 1152921504606846976 bytes"),
    "length 2^64": (pack({}, length=(1 << 64) - 1), "a header of"),
    "length beyond the file": (pack(TWO, EIGHT, length=5000), "not a complete"),
    "not JSON": (pack(b"{'a': 1}"), "not a complete"),
    "not UTF-8": (pack(b'{"\xff": 1}'), "not a complete"),
    "a list": (pack([1]), "not a complete"),
    "nested": (pack(b"[" * 1_000_000), "not a complete"),
    "no entries": (pack({}), "no layer weights"),
    "same name twice": (
        pack(
            b'{"a":' + json.dumps(entry([1], 0, 4)).encode() + b',"a":' + json.dumps(entry([1], 4, 8)).encode() + b"}",
            EIGHT,
        ),
        "not a complete",
    ),
    "overlap": (pack({**TWO, "c.weight": entry([1, 1], 4, 8)}, EIGHT), "not a complete"),
    "gap": (pack({"a.weight": entry([1, 1], 0, 4), "b.weight": entry([1, 1], 8, 12)}, bytes(12)), "not a complete"),
    "beyond the end": (pack(TWO, EIGHT[:4]), "not a complete"),
    "rest": (pack(TWO, bytes(12)), "not a complete"),
    "backwards": (pack({"a.weight": entry([1], 4, 0)}, EIGHT), "not a complete"),
    "negative": (pack({"a.weight": entry([1], -4, 0)}, EIGHT), "not a complete"),
    "shape and bytes differ": (pack({"a.weight": entry([3], 0, 8)}, EIGHT), "not a complete"),
    "shape overflows": (pack({"a.weight": entry([1 << 40, 1 << 40], 0, 8)}, EIGHT), "not a complete"),
    "negative shape": (pack({"a.weight": entry([-1, -2], 0, 8)}, EIGHT), "not a complete"),
    "empty array": (pack({"a.weight": entry([0, 1 << 60], 0, 0)}), "shape (0, "),
    "small empty array": (pack({"a.weight": entry([0, 4], 0, 0)}), "shape (0, 4)"),
    "many dimensions": (pack({"a.weight": entry([1] * 100, 0, 4)}, EIGHT[:4]), "not a complete"),
    "unknown type": (pack({"a.weight": entry([1], 0, 4, "F31")}, EIGHT[:4]), "not a complete"),
    "unusual type": (pack({"a.weight": entry([2, 2], 0, 4, "F8_E4M3")}, EIGHT[:4]), "F8_E4M3; save the weights as"),
    "complex": (pack({"a.weight": entry([1, 1], 0, 8, "C64")}, EIGHT), "save the weights as"),
    "metadata that is no text": (pack({"__metadata__": {"a": 1}, **TWO}, EIGHT), "not a complete"),
    "whole numbers": (pack({"a.weight": entry([1, 1], 0, 8, "I64")}, EIGHT), "int64"),
    "NaN": (pack({"a.weight": entry([1, 1], 0, 4)}, struct.pack("<f", float("nan"))), "not finite"),
    "infinite bfloat16": (pack({"a.weight": entry([1, 1], 0, 2, "BF16")}, b"\x80\x7f"), "not finite"),
    "infinite half": (pack({"a.weight": entry([1, 1], 0, 2, "F16")}, b"\x00\x7c"), "not finite"),
    "name with a line break": (pack({"../../a\nb": entry([1, 1], 0, 4)}, EIGHT[:4]), r"'../../a\nb' is not part"),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_files(file: Path, attack: str) -> None:
    content, reason = HOSTILE[attack]
    file.write_bytes(content)
    before = set(file.parent.iterdir())
    assert reason in refused(file)
    assert set(file.parent.iterdir()) == before


def test_a_hundred_thousand_entries(file: Path) -> None:
    header = {f"{i}.weight": entry([1, 1], 4 * i, 4 * i + 4) for i in range(100_000)}
    file.write_bytes(pack(header, bytes(400_000)))
    assert "100000 arrays" in refused(file)


def test_more_bytes_than_any_mobilenet(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"a.weight": torch.ones(100, 100, dtype=torch.float16)}, file)
    monkeypatch.setattr(layers, "MAX_BYTES", 30_000)
    assert "40000 bytes" in refused(file)  # as float32
    monkeypatch.setattr(layers, "MAX_BYTES", 10_000)
    assert f"{file.stat().st_size} bytes" in refused(file)


def test_files_that_are_not_there(file: Path) -> None:
    assert "No such file" in refused(file)
    assert "Is a directory" in refused(file.parent)


def test_cut_anywhere(file: Path) -> None:
    save_file(small(), file)
    content = file.read_bytes()
    assert not any(read_or_refused(file, content[:end]) for end in range(0, len(content), 7))


def test_flipped_bits(file: Path) -> None:
    save_file(small(), file)
    content = file.read_bytes()
    random = np.random.default_rng(0)
    passed = 0
    for _ in range(1000):
        damaged = bytearray(content)
        damaged[random.integers(len(content))] ^= 1 << int(random.integers(8))
        passed += read_or_refused(file, bytes(damaged))
    assert 0 < passed < 1000  # weights carry no checksum


KINDS = st.sampled_from(["F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E5M2", "X", ""])
NUMBERS = st.one_of(st.integers(-2, 40), st.sampled_from([1 << 31, 1 << 60, 1 << 64, 1.5, None, True]))
ENTRIES = st.fixed_dictionaries(
    {"dtype": KINDS, "shape": st.lists(NUMBERS, max_size=5), "data_offsets": st.lists(NUMBERS, min_size=1, max_size=3)}
)
NAMES = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["a.weight", "a.bias", "a.running_mean", "a.running_var", "a.gamma", "__metadata__", "conv_stem.weight"]
    ),
)
ANYTHING = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=st.dictionaries(NAMES, st.one_of(ENTRIES, ANYTHING), max_size=5), data=st.binary(max_size=64))
def test_any_header(file: Path, header: dict[str, Any], data: bytes) -> None:
    read_or_refused(file, pack(header, data))
