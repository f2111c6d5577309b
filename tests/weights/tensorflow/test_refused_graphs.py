"""Frozen graphs that are malformed, hostile or of other networks, most of them made here."""

from __future__ import annotations

import os
import random
import runpy
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.weights.convert import convert
from mobilenets.weights.tensorflow.graph import read

REFUSING = runpy.run_path(str(Path(__file__).parents[1] / "refusing.py"))
refused = partial(REFUSING["refused"], convert)
FILES = Path(__file__).parents[2] / "fixtures" / "tensorflow"
SHARED: Any = runpy.run_path(str(Path(__file__).with_name("shared.py")))
Graph, whole, field, varint, shape_proto = (
    SHARED[name] for name in ("Graph", "whole", "field", "varint", "shape_proto")
)


def refuse(folder: Path, data: bytes, match: str) -> None:
    path = folder / "graph.pb"
    path.write_bytes(data)
    refused(path, match)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "it has no nodes"),
        (b"hello", "not a frozen graph"),
        (b'node {\n  name: "input"\n}\n', "not a frozen graph"),
        (b"\x08\x01\x12\x02\x0a\x00", "SavedModel"),
        (b"\x0a" + varint(1 << 60), "claims 1152921504606846976 bytes"),
        (field(1, field(1, b"\xff")), "not UTF-8"),
        (field(1, field(1, "a")) * 2, "two nodes named 'a'"),
        (b"".join(field(1, field(1, f"n{i}") + field(2, "NoOp")) for i in range(100_000)), "more than 10000 nodes"),
        (b"\x12\x00" * 300_000, "more fields"),
        (field(1, field(1, "a") + field(2, "Placeholder") + field(5, field(1, "shape") + field(2, b"\xff"))), "number"),
    ],
)
def test_malformed_graphs_are_refused(tmp_path, data, match):
    refuse(tmp_path, data, match)


def test_other_kinds_of_files_are_refused(tmp_path):
    refused(tmp_path / "none.pb", "cannot be read")
    refused(tmp_path, "no file")
    path = tmp_path / "huge.pb"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    refused(path, "more than any MobileNet")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.pb")
        refused(tmp_path / "pipe.pb", "no file")
        with pytest.raises(InputError, match="not a file"):
            read(tmp_path / "pipe.pb")


def between(op: str, *constants: object, **attributes: bytes) -> bytes:
    """A graph with one node more between its first layer and the rest."""
    graph = Graph()
    graph.picture()
    given = [graph.const(f"c{i}", value) for i, value in enumerate(constants)]
    graph.head(graph.block(graph.add("odd\nnode", op, graph.stem(), *given, **attributes)))
    return graph.bytes()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (between("PyFunc"), r"unknown operation 'PyFunc' at node 'odd\\nnode'"),
        (between("Sigmoid"), "comes after the probabilities"),
        (between("Switch"), "freeze it for inference first"),
        (between("x" * 10_000), "unknown operation 'xxx"),
        (between("Minimum", 5.0), "it has a clip to 0 … 5 .*: no network here has that"),
        (between("Softmax"), "comes after the probabilities"),
        (between("Mul", 2.0), "'odd node' is a Affine, where"),
        (between("Add", np.zeros(100_000)), "not one number a channel"),
        (between("Pad", np.int32([[0, 0], [1, 1], [1, 1], [0, 0]])), "pads what is padded"),
        (between("Mean", np.int32([3])), "unknown operation 'Mean'"),
        (between("FusedBatchNorm"), "takes its statistics from the pictures"),
    ],
)
def test_unknown_operations_are_named_and_refused(tmp_path, data, match):
    refuse(tmp_path, data, match)


def changed(old: bytes, new: bytes) -> bytes:
    data = whole().bytes()
    assert old in data
    assert len(old) == len(new)
    return data.replace(old, new)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (changed(b"\x1a\tblock/act", b"\x1a\tblock/bct"), "not in the file"),
        (changed(b"\x05Relu6", b"\x05Relu7"), "unknown operation 'Relu7'"),
        (changed(b"SAME", b"SOME"), "padding 'SOME'"),
        (changed(struct.pack("<f", 0.001), struct.pack("<f", np.nan)), "not finite|below 0"),
        (whole().bytes() + field(1, field(1, "a") + field(2, "Add") + field(3, "a") + field(3, "a")), "form a cycle"),
    ],
)
def test_changed_graphs_are_refused(tmp_path, data, match):
    refuse(tmp_path, data, match)


def built(make: object) -> bytes:
    graph = Graph()
    graph.picture()
    make(graph)  # type: ignore[operator]
    return graph.bytes()


def unfrozen(graph: Graph) -> None:
    graph.conv("stem", "input", graph.add("w", "VariableV2"))


def training(graph: Graph) -> None:
    net = graph.conv("stem", "input", graph.numbers("w", 3, 3, 3, 4))
    graph.head(graph.block(graph.norm("norm", net, 4, training=True)))


def without_activation(graph: Graph) -> None:
    graph.head(graph.block(graph.stem(act="Identity")))


def with_relu(graph: Graph) -> None:
    graph.head(graph.block(graph.stem(act="Relu")))


def with_shortcut(graph: Graph) -> None:
    net = graph.stem()
    graph.head(graph.add("sum", "AddV2", net, graph.block(net)))


def not_a_number(graph: Graph) -> None:
    kernel = np.zeros((3, 3, 3, 4))
    kernel[0, 0, 0, 0] = np.nan
    graph.head(graph.block(graph.add("act", "Relu6", graph.conv("stem", "input", graph.const("w", kernel)))))


def wide_stride(graph: Graph) -> None:
    graph.conv("stem", "input", graph.numbers("w", 3, 3, 3, 4), stride=3)


def bomb(graph: Graph, *sides: int, values: int = 1) -> str:
    content = field(1, 1) + field(2, shape_proto(*sides)) + b"".join(field(5, 1.0) for _ in range(values))
    graph.seed += 1
    return graph.add(f"bomb{graph.seed}", "Const", value=field(8, content))


def huge_constant(graph: Graph) -> None:
    bomb(graph, 1 << 40, 1 << 40)


def many_large_kernels(graph: Graph) -> None:
    net = "input"
    for i in range(6):
        net = graph.add(f"act{i}", "Relu6", graph.conv(f"conv{i}", net, bomb(graph, 1, 1, 4000, 4000)))


def many_large_lists(graph: Graph) -> None:
    for _ in range(6):
        bomb(graph, 1 << 24, values=2)


def large_arithmetic(graph: Graph) -> None:
    graph.add("sum", "Add", bomb(graph, 1, 60_000), bomb(graph, 60_000, 1))


def two_ways(graph: Graph) -> None:
    net = graph.conv("stem", "input", graph.numbers("w", 3, 3, 3, 4))
    graph.add("one", "Relu6", graph.add("a", "BiasAdd", net, graph.numbers("b", 4)))
    graph.add("two", "Relu6", graph.add("c", "BiasAdd", net, graph.numbers("d", 4)))


def many_sums(graph: Graph) -> None:
    net, value = graph.conv("stem", "input", graph.numbers("w", 3, 3, 3, 4)), graph.numbers("b", 4)
    for i in range(5000):
        net = graph.add(f"sum{i}", "Add" if i else "Mul", net, value)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda graph: None, "no convolution follows"),
        (unfrozen, "weights of 'Conv2D' at node 'stem' are not in the file"),
        (training, "takes its statistics from the pictures"),
        (without_activation, "with no activation, where the network that its weights fit has .* with ReLU6"),
        (with_relu, "with ReLU, where the network that its weights fit has .* with ReLU6"),
        (with_shortcut, "'sum' .Add. takes a map from inside the body"),
        (not_a_number, "not finite"),
        (wide_stride, r"has strides \[1, 3, 3, 1\]"),
        (huge_constant, "claims 1208925819614629174706176 numbers"),
        (many_large_kernels, "claims 320000000 bytes"),
        (many_large_lists, "larger arrays"),
        (large_arithmetic, "larger arrays"),
        (two_ways, "ends in 'Relu6' at node 'one', too"),
        (many_sums, "unlike any MobileNet"),
    ],
)
def test_other_networks_and_bombs_are_refused(tmp_path, make, match):
    refuse(tmp_path, built(make), match)


def test_long_chains_are_no_danger(tmp_path):
    graph = Graph()
    net = graph.picture()
    for i in range(9000):
        net = graph.add(f"same{i}", "Identity", net)
    graph.head(graph.block(graph.stem(net)))
    assert len(graph.read(tmp_path).layers) == 7


def test_large_constants_take_little_memory(tmp_path):
    """60 million numbers out of a few bytes stay within 1 GiB, and are let through where shapes allow them."""
    graph = Graph()
    net = graph.add("act", "Relu6", graph.conv("stem", graph.picture(), bomb(graph, 3, 3, 3, 2_000_000)))
    graph.head(net)
    path = tmp_path / "graph.pb"
    path.write_bytes(graph.bytes())
    code = (
        "import resource, sys; from pathlib import Path; from mobilenets.weights.tensorflow.graph import read\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "print(read(Path(sys.argv[1])).layers[0].arrays['weight'].shape)"
    )
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "(2000000, 3, 3, 3)"


def outcome(path: Path) -> bool:
    try:
        return bool(read(path).layers)
    except InputError as error:
        assert "\n" not in str(error)
        return False


def test_cut_and_flipped_graphs_are_read_or_refused(tmp_path):
    path = tmp_path / "graph.pb"
    data = (FILES / "v1_retrained.pb").read_bytes()
    for i in range(100):
        path.write_bytes(data[: len(data) * i // 100])
        outcome(path)
    # Whole nodes missing at the end leave a graph that ends earlier; a cut within one is seen.
    path.write_bytes(data[:-7])
    assert not outcome(path)
    data = whole().bytes()
    rng = random.Random(0)
    for _ in range(400):
        flipped = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        outcome(path)
