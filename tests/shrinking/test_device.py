"""Times of another device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mobilenets.errors import InputError
from mobilenets.models.prune import Group
from mobilenets.shrinking.device import Device, read_times

HERE = {("run-96", "float32"): 2.0, ("v2-0.5-96", "float32"): 1.0, ("run-96", "int8"): 1.0}


def written(path: Path, *rows: dict[str, Any]) -> Path:
    usual = {"model": "model.onnx", "precision": None, "threads": 1, "batch": 1, "p50_ms": 20.0}
    path.write_text(json.dumps([usual | row for row in rows]))
    return path


def read_device(path: Path, here: dict[tuple[str, str], float], run: str, threads: int) -> Device:
    return read_times(path, threads).beside(here, run)


def test_what_was_timed_there_counts_and_the_rest_is_as_much_slower(tmp_path: Path) -> None:
    rows = [{"model": "there/run-96.onnx"}, {"model": r"C:\there\run-96-int8.onnx", "p50_ms": 3.0}]
    rows += [
        {"model": "run-96.onnx", "batch": 8, "p50_ms": 100.0},
        {"model": "run-96.onnx", "threads": 4, "p50_ms": 7.0},
    ]
    device = read_device(written(tmp_path / "pi.json", *rows), HERE, "run-96", 1)
    assert device.ms("run-96", "float32", 2.0) == (20.0, False)
    assert device.ms("run-96", "int8", 1.0) == (3.0, False)
    assert device.ms("v2-0.5-96", "float32", 1.0) == (10.0, True)
    assert device.ms("v2-0.5-96", "int8", 0.5) == (1.5, True)
    assert read_device(tmp_path / "pi.json", HERE, "run-96", 4).ms("run-96", "float32", 2.0) == (7.0, False)
    assert read_device(tmp_path / "pi.json", HERE, "run-96", 2).threads == 1  # none of two: the fewest there are


def test_one_file_of_another_name_is_taken_for_the_run(tmp_path: Path) -> None:
    device = read_device(written(tmp_path / "pi.json", {"model": "exported-onnx/model.onnx"}), HERE, "run-96", 1)
    assert device.ms("run-96", "float32", 2.0) == (20.0, False) and device.known == "run-96"
    assert device.ms("v2-0.5-96", "int8", 0.5) == (5.0, True)  # int8 was not timed there: as float32


def test_the_layers_of_the_run_tell_what_a_channel_takes(tmp_path: Path) -> None:
    """They sum up to what the whole took, though to time them takes time itself."""
    layers = {"body.a.expand": 8.0, "body.a.depthwise.conv": 16.0, "body.a.project": 4.0, "logits": 12.0}
    found = read_device(written(tmp_path / "pi.json", {"layers": layers}), HERE, "run-96", 1).layers
    assert found is not None and found.whole == 20.0
    group = Group("body.a.expand", 28, ("body.a.depthwise",), ("body.a.project",), 0, "expanded")
    assert found.a_channel([group]) == {"body.a.expand": pytest.approx(0.5)}
    assert found.without([group], {"body.a.expand": 16}) == pytest.approx(14.0)
    named = [{"model": "there/run-96.onnx", "layers": layers}, {"model": "v2-0.5-96.onnx", "layers": {"other": 1.0}}]
    found = read_device(written(tmp_path / "pi.json", *named), HERE, "run-96", 1).layers
    assert found is not None and "logits" in found.parts
    assert read_device(written(tmp_path / "pi.json", {}), HERE, "run-96", 1).layers is None


def test_a_layer_that_two_groups_share_keeps_both_shares(tmp_path: Path) -> None:
    """V1 has no other: each pointwise layer reads the channels of one group and makes those of the next."""
    layers = {"a": 4.0, "b": 8.0, "logits": 8.0}
    found = read_device(written(tmp_path / "pi.json", {"layers": layers}), HERE, "run-96", 1).layers
    assert found is not None
    chain = [Group("a", 16, (), ("b",), 0, "channels"), Group("b", 32, (), ("classifier",), 1, "channels")]
    assert found.without(chain, {"a": 8, "b": 16}) == pytest.approx(2.0 + 2.0 + 4.0)
    found.refuse_others(chain, tmp_path)
    with pytest.raises(InputError, match=r"no time of c \(1 of 4 are missing\), so they are another network's"):
        found.refuse_others([*chain, Group("c", 8, (), ("b",), 2, "channels")], tmp_path)


def test_times_of_another_network_by_the_same_name_are_refused(tmp_path: Path) -> None:
    """A file of the device may be of an earlier run: names tell the size of pictures only."""
    key, other = ("run-96", "float32"), tmp_path / "pi.json"
    for name, size, message in [
        ("run-96.onnx", 8_900_000, "the file of run-96 has 8.9 MB there and 2.8 MB here, so it is another network"),
        ("exported/model.onnx", 1_400_000, "the file of exported has 1.4 MB there and 2.8 MB here"),
        ("run-96.onnx", 2_810_000, ""),
        ("exported/model.onnx", 3_400_000, ""),
    ]:
        times = read_times(written(other, {"model": name, "bytes": size}), 1)
        if message:
            with pytest.raises(InputError, match=message):
                times.beside(HERE, "run-96", {key: 2_800_000})
        else:
            assert times.beside(HERE, "run-96", {key: 2_800_000}).timed == {key: 20.0}


def test_only_times_in_onnx_runtime_count(tmp_path: Path) -> None:
    rows = [{"model": "run-96.onnx", "runtime": "onnxruntime"}]
    rows += [{"model": "run-96.tflite", "runtime": "litert", "p50_ms": 1.0}]
    assert read_device(written(tmp_path / "pi.json", *rows), HERE, "run-96", 1).timed == {("run-96", "float32"): 20.0}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"model": "a.onnx"}, {"model": "b.onnx"}], "times a, b, which is none of what is tried"),
        ([{"batch": 8}], "has no time of a single picture"),
        ([{"p50_ms": 0.0}], "a time is not above 0"),
        ([{"layers": {"a": -1.0}}], "a time is not above 0"),
        ([{"layers": [1.0]}], "not the times of a device"),
        ([{"p50_ms": "fast"}], "not the times of a device"),
        ([{"model": None}], "not the times of a device"),
        ([{"batch": float("inf")}], "not the times of a device"),
        ([{"p50_ms": 10**400}], "not the times of a device"),
        ([{"p50_ms": float("nan")}], "a time is not above 0"),
        ([{"layers": {"a": float("nan")}}], "a time is not above 0"),
        ([{"layers": None}], "not the times of a device"),
        ([{"runtime": "litert"}], "has no time of a single picture in ONNX Runtime"),
        ([{"model": "run-96.onnx"}, {"model": "old/run-96.onnx"}], "times run-96 more than once"),
        ([], "has no time of a single picture"),
    ],
)
def test_what_is_no_device_is_refused(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_device(written(tmp_path / "pi.json", *rows), HERE, "run-96", 1)
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(InputError, match="not the times of a device"):
        read_device(tmp_path / "other.json", HERE, "run-96", 1)
