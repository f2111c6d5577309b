"""The public names, held against reality."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

import mobilenets

SOURCE = Path(mobilenets.__file__)


@pytest.mark.parametrize("name", mobilenets.__all__)
def test_every_public_name_loads(name: str) -> None:
    value = getattr(mobilenets, name)
    if name != "__version__":
        assert value.__name__ == name
        assert inspect.getdoc(value)


def test_the_names_are_those_promised() -> None:
    assert set(mobilenets.__all__) == {
        *("__version__", "FaultFound", "InputError", "MobilenetsError", "Predictor", "Recipe", "create_model"),
        *("load_model", "predict_many", "register_task"),
        *("demo", "evaluate", "fetch", "import_weights", "predict", "published_weights", "serve", "summary", "train"),
        *("audit", "benchmark", "check", "compare", "compare_models", "export", "pack", "prune", "quantize", "shrink"),
        *("sparsify", "tune"),
    }
    assert dir(mobilenets) == sorted(mobilenets.__all__)


def test_the_type_checker_sees_the_same_names() -> None:
    block = next(node for node in ast.parse(SOURCE.read_text("utf-8")).body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == mobilenets._HOMES


def test_what_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'mobilenets' has no attribute 'paint'"):
        mobilenets.paint  # noqa: B018
    assert not hasattr(mobilenets, "np")


def test_import_costs_nothing() -> None:
    program = """
import sys
import mobilenets
assert not {"torch", "numpy", "PIL", "matplotlib"} & set(sys.modules), "import mobilenets"
mobilenets.Recipe
assert not {"torch", "numpy", "PIL", "matplotlib"} & set(sys.modules), "Recipe"
mobilenets.Predictor, mobilenets.predict, mobilenets.summary, mobilenets.fetch, mobilenets.InputError
mobilenets.benchmark
mobilenets.summary("mobilenet_v2")
assert not {"torch", "matplotlib", "sklearn"} & set(sys.modules), "Predictor"
"""
    environment = os.environ | {"PYTHONPATH": str(SOURCE.parents[1])}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)


def test_create_model_is_a_plain_module() -> None:
    import torch

    network = mobilenets.create_model("mobilenet_v2", classes=10, width=0.35).eval()
    assert isinstance(network, torch.nn.Module)
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 10)


OPENS = "import sys; sys.path.insert(0, sys.argv[1])\n"


@pytest.mark.parametrize(
    ("place", "program"),
    [
        ("", "import mobilenets, onnxruntime"),
        ("bench", "import latency; latency._open_onnx(sys.argv[2], 1)"),
        ("exports/use/device", "import predict; predict.open_file(sys.argv[2], 'onnx')"),
    ],
)
def test_nothing_is_reported_to_the_maker_of_onnx_runtime(place: str, program: str, tmp_path: Path) -> None:
    model = tmp_path / "one.onnx"
    entry = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3])
    leave = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 3])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "one", [entry], [leave])
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)]), model)

    def left(code: str, home: Path) -> list[Path]:
        home.mkdir()
        kept = {
            name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "PYTHONPATH")
        }
        where = SOURCE.parent / place if place else SOURCE.parents[1]
        command = [sys.executable, "-c", OPENS + code, str(where), str(model)]
        subprocess.run(command, env=kept | {"HOME": str(home), "XDG_CACHE_HOME": str(home)}, check=True)
        return list(home.rglob("*deviceid*"))

    if not left("import onnxruntime", tmp_path / "control"):
        pytest.skip("this ONNX Runtime reports nothing by itself")
    assert left(program, tmp_path / "ours") == []
