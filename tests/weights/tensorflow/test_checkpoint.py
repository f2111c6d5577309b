"""Against files that TensorFlow wrote (tests/fixtures/make_tensorflow.py), and tables made here to be hostile."""

from __future__ import annotations

import os
import random
import runpy
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.weights.layers import Layer, of_kind
from mobilenets.weights.tensorflow.checkpoint import read
from mobilenets.weights.tensorflow.sstable import TableError, read_table

SHARED: Any = runpy.run_path(str(Path(__file__).with_name("shared.py")))
varint, field, sealed, block, table, entry, write, digests, recorded = (
    SHARED[name] for name in ("varint", "field", "sealed", "block", "table", "entry", "write", "digests", "recorded")
)
REFUSING = runpy.run_path(str(Path(__file__).parents[1] / "refusing.py"))
refused = partial(REFUSING["refused"], read)
FILES = Path(__file__).parents[2] / "fixtures" / "tensorflow"


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def small() -> dict[str, np.ndarray]:
    return {
        "Net/Conv2d_0/weights": numbers(3, 3, 3, 4),
        "Net/Conv2d_1_depthwise/depthwise_weights": numbers(3, 3, 4, 1),
        "Net/Conv2d_1_pointwise/weights": numbers(1, 1, 4, 8),
    }


# --- TensorFlow's own files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["v1_average.ckpt", "v2.ckpt"])
def test_what_tensorflow_wrote_comes_back_in_forward_order(name):
    foreign = read(FILES / name)
    assert digests(foreign) == recorded(name)
    assert (foreign.padding, foreign.epsilon, foreign.size, foreign.strides) == ("same", 1e-3, None, None)
    assert foreign.preprocessing["mean"] == (0.5, 0.5, 0.5)


def test_averages_are_preferred_and_the_rest_ignored():
    foreign = read(FILES / "v1_average.ckpt.index")
    assert "moving averages" in foreign.notes[0]
    ignored = set(foreign.ignored)
    assert {"global_step", "MobilenetV1/Conv2d_0/weights", "MobilenetV1/Conv2d_0/weights/RMSProp_1"} <= ignored
    assert not any(name.endswith("ExponentialMovingAverage") for name in ignored)
    assert foreign.layers[0].name == "MobilenetV1/Conv2d_0"


def test_norms_of_a_block_come_as_expand_depthwise_project():
    norms = [layer.name for layer in of_kind(read(FILES / "v2.ckpt").layers, "norm")]
    assert norms[:6] == [
        "MobilenetV2/Conv/BatchNorm",
        "MobilenetV2/expanded_conv/depthwise/BatchNorm",
        "MobilenetV2/expanded_conv/project/BatchNorm",
        "MobilenetV2/expanded_conv_1/expand/BatchNorm",
        "MobilenetV2/expanded_conv_1/depthwise/BatchNorm",
        "MobilenetV2/expanded_conv_1/project/BatchNorm",
    ]
    assert norms[-2:] == ["MobilenetV2/expanded_conv_16/project/BatchNorm", "MobilenetV2/Conv_1/BatchNorm"]


@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00002", ".data-00001-of-00002"])
def test_any_of_its_files_names_a_checkpoint(ending):
    assert len(read(FILES / f"v2.ckpt{ending}").layers) == 105


# --- files made here --------------------------------------------------------------------------------------------------


def test_a_small_checkpoint(tmp_path):
    arrays = small()
    arrays["Net/Conv2d_1_pointwise/biases"] = numbers(8)
    arrays["global_step"] = np.array(3, np.int64)
    foreign = read(write(tmp_path, arrays))
    assert [layer.kind for layer in foreign.layers] == ["conv", "depthwise", "conv"]
    np.testing.assert_array_equal(foreign.layers[2].arrays["bias"], arrays["Net/Conv2d_1_pointwise/biases"])
    assert foreign.ignored == ("global_step",)


def test_keras_objects_come_in_the_order_of_their_numbers(tmp_path):
    end = "/.ATTRIBUTES/VARIABLE_VALUE"
    arrays = {f"layer_with_weights-{i}/kernel{end}": numbers(1, 1, 3, 4 + i) for i in range(12)}
    arrays["layer_with_weights-12/depthwise_kernel" + end] = numbers(3, 3, 15, 1)
    arrays["layer_with_weights-13/kernel" + end] = numbers(15, 2)
    arrays[f"layer_with_weights-13/kernel/.OPTIMIZER_SLOT/optimizer/m{end}"] = numbers(15, 2)
    arrays["optimizer/learning_rate" + end] = np.float32([0.1])
    foreign = read(write(tmp_path, arrays))
    assert [layer.arrays["weight"].shape[0] for layer in of_kind(foreign.layers, "conv")] == list(range(4, 16))
    assert foreign.layers[-1].arrays["weight"].shape == (2, 15)
    # More convolutions than a V1 has for its depthwise layers, so V2's habit.
    assert foreign.padding == "same"
    assert len(foreign.ignored) == 2


def test_objects_without_an_order_are_refused(tmp_path):
    arrays = {"model/variables/0/kernel/.ATTRIBUTES/VARIABLE_VALUE": numbers(1, 1, 3, 4)}
    refused(write(tmp_path, arrays), "order of its variables does not follow from their names")


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"a/weights": np.float32([[np.nan]])}, "not finite"),
        ({"a/weights": np.float32([[np.inf]])}, "not finite"),
        ({"a/other": numbers(3)}, "without convolutions"),
        ({"../../x\n/weights": numbers(2, 3, 3, 3)}, "not a square convolution"),
        ({"a/weights": numbers(1, 1, 3, 4), "a/biases": numbers(5)}, "a bias of shape"),
        ({"a/weights": numbers(3, 4), "a/BatchNorm/gamma": numbers(4)}, "has no statistics"),
        ({"a/weights": numbers(3, 4), "a/BatchNorm/moving_mean": numbers(4)}, "lacks part"),
        ({"a/weights": numbers(3, 4), "a/kernel": numbers(3, 4)}, "holds weights and kernel"),
    ],
)
def test_wrong_contents_are_refused(tmp_path, arrays, match):
    refused(write(tmp_path, arrays), match)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"offset": 8}, "overlap"),
        ({"offset": 1 << 40}, "ends before"),
        ({"offset": -8}, "claims 64 bytes at -8"),
        ({"size": 60}, "claims 60 bytes"),
        ({"shape": (1 << 40, 1 << 40)}, "claims 64 bytes"),
        ({"shape": (1 << 20, 1 << 20), "size": 1 << 42}, "more than any MobileNet"),
        ({"shape": (-1, 4)}, "open shape"),
        ({"shape": (1,) * 17, "size": 4}, "shape is malformed"),
        ({"shard": 1}, "data file 1 of 1"),
        ({"shard": -1}, "data file -1 of 1"),
        ({"wrong": True}, "checksum"),
    ],
)
def test_entries_that_lie_are_refused(tmp_path, changes, match):
    array = numbers(4, 4)
    offset = changes.pop("offset", 16 * 27)
    value = entry(array + 1 if changes.pop("wrong", False) else array, offset, **changes)
    arrays = {"Net/Conv2d_0/weights": numbers(3, 3, 3, 4), "b/other": array}
    refused(write(tmp_path, arrays, extra={"z/kernel": value}), match)


def test_a_partitioned_variable_is_refused(tmp_path):
    extra = {"Net/Conv2d_2/weights": entry(numbers(1, 1, 3, 4), 0) + field(7, b"")}
    refused(write(tmp_path, small(), extra=extra), "partitioned")


@pytest.mark.parametrize(
    ("items", "match"),
    [
        ([(b"a", b"")], "no header"),
        ([(b"", field(1, 0))], "claims 0 data files"),
        ([(b"", field(1, 1 << 60))], "data files"),
        ([(b"", field(2, 1))], "big-endian"),
        ([(b"", b""), (b"b", b""), (b"a", b"")], "not in order"),
        ([(b"", b""), (b"a" * 5000, b"")], "a name of 5000 bytes"),
        ([(b"", b""), (b"a/weights", b"\xff")], "ends within a number"),
        ([(b"", b""), (b"a/weights", field(1, b"x"))], "bytes stand where a number"),
        ([(b"", b""), *((b"%06d" % i, b"") for i in range(100_000))], "more than 10000 entries"),
    ],
)
def test_tables_that_lie_are_refused(tmp_path, items, match):
    path = tmp_path / "x.index"
    path.write_bytes(table(items))
    refused(path, match)


def test_damaged_tables_are_refused():
    good = table([(b"", b""), (b"a", b"b")])
    assert read_table(good) == {b"": b"", b"a": b"b"}
    with pytest.raises(TableError, match="snappy"):
        read_table(table([(b"", b"")], compression=1))
    with pytest.raises(TableError, match="compression 7"):
        read_table(table([(b"", b"")], compression=7))
    with pytest.raises(TableError, match="checksum"):
        read_table(b"\x01" + good[1:])
    twice = block([(key, varint(0) + varint(len(block([])))) for key in (b"a", b"b")])
    data = sealed(block([]))
    footer = (varint(0) * 2 + varint(len(data)) + varint(len(twice))).ljust(40, b"\0") + good[-8:]
    with pytest.raises(TableError, match="overlap"):
        read_table(data + sealed(twice) + footer)


def test_missing_files_are_named(tmp_path):
    refused(tmp_path / "none.ckpt", "none.ckpt.index")
    prefix = write(tmp_path, small())
    shutil.move(f"{prefix}.data-00000-of-00001", tmp_path / "elsewhere")
    refused(prefix, "model.ckpt.data-00000-of-00001")
    if hasattr(os, "mkfifo"):
        os.mkfifo(f"{prefix}.data-00000-of-00001")
        refused(prefix, "model.ckpt.data-00000-of-00001")


def test_a_huge_index_is_not_read(tmp_path):
    path = tmp_path / "x.index"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    refused(path, "does not belong to a MobileNet")


def outcome(path: Path) -> tuple[Layer, ...] | None:
    try:
        return read(path).layers
    except InputError as error:
        assert "\n" not in str(error)
        return None


def test_cut_and_flipped_files_are_refused(tmp_path):
    for part in FILES.glob("v1_average.ckpt.*"):
        shutil.copy(part, tmp_path)
    index, data = tmp_path / "v1_average.ckpt.index", tmp_path / "v1_average.ckpt.data-00000-of-00001"
    rng = random.Random(0)
    whole = index.read_bytes()
    for i in range(60):
        index.write_bytes(whole[: len(whole) * i // 60])
        assert outcome(index) is None
    for _ in range(60):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        index.write_bytes(flipped)
        outcome(index)  # the padding of the footer has no checksum
    index.write_bytes(whole)
    whole = data.read_bytes()
    for i in range(20):
        data.write_bytes(whole[: len(whole) * i // 20])
        assert outcome(index) is None
    good = [
        {part: array.tobytes() for part, array in layer.arrays.items()}
        for layer in read(FILES / "v1_average.ckpt").layers
    ]
    for _ in range(40):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        data.write_bytes(flipped)
        # Either the flip is in what is not read, or the checksum shows it.
        layers = outcome(index)
        assert layers is None or good == [
            {part: array.tobytes() for part, array in layer.arrays.items()} for layer in layers
        ]
