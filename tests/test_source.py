"""How the source is written, where no linter looks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import mobilenets

SOURCE = Path(mobilenets.__file__).parent
LONGEST = 60
LONGEST_KERNEL = 75  # one pass over a map, which Numba compiles as a whole
LONGEST_FILE = 375
LONGER = {"bench/latency.py": 400}  # which is copied to other devices, and so has to be one file


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function without its docstring."""
    first = function.body[0]
    said = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    docstring = first.end_lineno - first.lineno + 1 if said and first.end_lineno else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def functions() -> Iterator[tuple[str, int]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{path.relative_to(SOURCE).as_posix()} {node.name}", lines(node)


def test_no_function_is_long() -> None:
    assert not {
        name for name, length in functions() if length >= (LONGEST_KERNEL if name.startswith("kernels/") else LONGEST)
    }


def test_no_file_is_long() -> None:
    files = {path.relative_to(SOURCE).as_posix(): path.read_text("utf-8") for path in SOURCE.rglob("*.py")}
    assert not {name for name, text in files.items() if text.count("\n") > LONGER.get(name, LONGEST_FILE)}


def test_no_name_is_given_to_four_files() -> None:
    stems = [path.stem for path in SOURCE.rglob("*.py") if path.stem != "__init__"]
    assert not {stem for stem in stems if stems.count(stem) > 3}
