from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "average_precision.py"


@pytest.fixture(scope="session")
def benchmark() -> ModuleType:
    """Give ``benchmarks/average_precision.py``, which makes cases and asks pycocotools."""
    spec = importlib.util.spec_from_file_location("average_precision_benchmark", BENCHMARK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
