"""What zeros are worth: MobileNetV2 1.0 at 224 with 50, 75 and 90 % of them and with 2:4, in bytes and milliseconds.

    python benchmarks/sparsity.py --threads 1 --seconds 8

The network of `runtimes.py` loses its smallest weights layer by layer, as `sparsify` takes them, without training:
neither bytes nor milliseconds ask how right it is. It is exported as always to ONNX, for ONNX Runtime and OpenVINO,
and to LiteRT; and of LiteRT's file there is a second form, whose 1×1 convolutions hold their weights as TensorFlow
Lite's sparse tensors (compressed rows, each behind a DENSIFY operator). That is what makes LiteRT ask XNNPACK for its
sparse kernels; where XNNPACK does not use them, the weights are unpacked when the file is opened. `--check` compares
the answers of the two forms. All files of a runtime take turns in rounds of an order drawn anew, in one process. Prints
machine, versions and a table in markdown. `--skip onnxruntime openvino` leaves some out; `--keep DIR` keeps the files.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import runtimes
from report import arguments, heads, machine, row, versions
from runtimes import SIZE, export, settled

from mobilenets.bench.networks import medians
from mobilenets.training.sparsity import kept, prunable

# Name, share of zeros, pattern.
KINDS = (
    ("dense", 0.0, "none"),
    ("50 %", 0.5, "none"),
    ("2:4", 0.5, "2:4"),
    ("75 %", 0.75, "none"),
    ("90 %", 0.9, "none"),
)
DENSIFY = 124
# XNNPACK takes the sparse way where at least this share of the weights of 1×1 convolutions is 0.
LEAST = 2 / 3


def sparse(network: Any, share: float, pattern: str) -> Any:
    """Give a copy without the smallest weights."""
    import torch

    network = copy.deepcopy(network)
    with torch.no_grad():
        for _, layer, _ in prunable(network):
            layer.weight.masked_fill_(~kept(layer.weight, share, pattern), 0)
    return network


def encoded(content: bytes) -> bytes:
    """Give a TensorFlow Lite file with the weights of its 1×1 convolutions as sparse tensors."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content))
    [graph] = model.subgraphs
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = DENSIFY
    code.version = 1
    model.operatorCodes.append(code)
    convolutions = [place for place, one in enumerate(model.operatorCodes) if one.builtinCode == 3]  # CONV_2D
    unpacked = []
    for operator in [one for one in graph.operators if one.opcodeIndex in convolutions]:
        dense = graph.tensors[operator.inputs[1]]
        rows, height, width, columns = dense.shape
        raw = model.buffers[dense.buffer].data
        if (height, width) != (1, 1) or raw is None or dense.type != schema.TensorType.FLOAT32:
            continue
        values = np.frombuffer(np.asarray(raw, np.uint8).tobytes(), np.float32).reshape(rows, columns)
        place, buffer = copy.copy(dense), schema.BufferT()
        buffer.data = np.frombuffer(values[values != 0].tobytes(), np.uint8)
        place.buffer, place.sparsity, place.name = len(model.buffers), _rows(schema, values), dense.name + b"_sparse"
        model.buffers.append(buffer)
        graph.tensors.append(place)
        dense.buffer = 0
        operation = schema.OperatorT()
        operation.opcodeIndex = len(model.operatorCodes) - 1
        operation.inputs, operation.outputs = [len(graph.tensors) - 1], [operator.inputs[1]]
        unpacked.append(operation)
    graph.operators = unpacked + list(graph.operators)
    used = {tensor.buffer for tensor in graph.tensors} | {entry.buffer for entry in model.metadata or []}
    for number, one in enumerate(model.buffers):
        if number not in used:
            one.data = None
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _rows(schema: Any, values: Any) -> Any:
    """Describe rows×columns as compressed rows of a 1×1 convolution's weights."""
    rows = len(values)
    wide = schema.SparseIndexVector
    segments, indices = schema.Int32VectorT(), schema.Uint16VectorT()
    segments.values = np.concatenate([[0], np.cumsum((values != 0).sum(1))]).astype(np.int32)
    indices.values = np.nonzero(values)[1].astype(np.uint16)
    found = schema.SparsityParametersT()
    found.traversalOrder, found.dimMetadata = [0, 1, 2, 3], []
    for size in (rows, 1, 1):
        one = schema.DimensionMetadataT()
        one.format, one.denseSize = schema.DimensionType.DENSE, size
        found.dimMetadata.append(one)
    last = schema.DimensionMetadataT()
    last.format = schema.DimensionType.SPARSE_CSR
    last.arraySegmentsType, last.arraySegments = wide.Int32Vector, segments
    last.arrayIndicesType, last.arrayIndices = wide.Uint16Vector, indices
    found.dimMetadata.append(last)
    return found


def litert(path: Path, threads: int) -> Callable[[], Any]:
    """Give a run of one picture in LiteRT's interpreter, on the CPU by XNNPACK."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    [source], [result] = interpreter.get_input_details(), interpreter.get_output_details()
    picture = np.random.default_rng(0).standard_normal(source["shape"], np.float32)

    def run() -> Any:
        interpreter.set_tensor(source["index"], picture)
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])

    return run


def of_runtime(place: Path, threads: int) -> dict[str, Callable[[], Any]]:
    """Give the bare loops of ONNX Runtime and OpenVINO for what is in ``place``."""
    names = {runtimes.BARE: "onnxruntime", "OpenVINO, bare loop": "openvino"}
    return {names[name]: run for name, run in runtimes.bare(place, threads).items() if name in names}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each figure (default: 8)")
    parser.add_argument("--skip", nargs="*", default=[], choices=("litert", "onnxruntime", "openvino"))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = options.keep or Path(temporary)
        place.mkdir(exist_ok=True)
        measure(place, options)


def measure(place: Path, options: argparse.Namespace) -> None:
    """Write the files of every kind, measure them, print the table."""
    whole = settled()
    rows: dict[str, dict[str, Any]] = {}
    runs: dict[str, dict[str, Callable[[], Any]]] = {}
    for number, (name, share, pattern) in enumerate(KINDS):
        here = place / str(number)
        if not here.is_dir():
            here.mkdir()
            network = sparse(whole, share, pattern)
            export(network, here / "onnx", "onnx")
            if "litert" not in options.skip:
                export(network, here / "litert", "litert")
        rows[name] = {"onnx": (here / "onnx/model.onnx").read_bytes()}
        for runtime, run in of_runtime(here, options.threads).items():
            runs.setdefault(runtime, {})[name] = run
        if "litert" not in options.skip:
            file, other = here / "litert/model.tflite", here / "sparse.tflite"
            other.write_bytes(encoded(file.read_bytes()))
            rows[name] |= {"litert": file.read_bytes(), "litert, sparse file": other.read_bytes()}
            for kind, path in (("litert", file), ("litert, sparse file", other)):
                runs.setdefault(kind, {})[name] = litert(path, options.threads)
            if options.check:
                one, two = runs["litert"][name](), runs["litert, sparse file"][name]()
                print(f"{name}: largest difference {np.abs(one - two).max():.2g} of {np.abs(one).max():.2g}")
    times = {
        runtime: dict(zip(of, medians([*of.values()], options.seconds, lambda _: None), strict=True))
        for runtime, of in runs.items()
        if runtime not in options.skip
    }
    say(rows, times, options.threads)


def say(rows: dict[str, dict[str, bytes]], times: dict[str, dict[str, float]], threads: int) -> None:
    """Print the machine, the versions and the table: milliseconds, and the share of what the dense network takes."""
    print(f"{machine()}; {threads} thread(s)")
    print(versions("onnxruntime", "openvino", "ai-edge-litert", "torch"))
    print(f"MobileNetV2 1.0 at {SIZE}, batch 1, float32; medians, in brackets the share of the dense network's\n")
    forms = [form for form in ("onnx", "litert", "litert, sparse file") if form in next(iter(rows.values()))]
    print(heads("zeros", *(f"{form}: MB, zipped" for form in forms), *(f"{runtime}: ms" for runtime in times)))
    for name, files in rows.items():
        sizes = [f"{len(files[form]) / 1e6:.2f}, {len(zlib.compress(files[form], 9)) / 1e6:.2f}" for form in forms]
        figures = [f"{of[name]:.2f} ({100 * of[name] / of['dense']:.0f} %)" for of in times.values()]
        print(row(name, *sizes, *figures))


if __name__ == "__main__":
    main()
