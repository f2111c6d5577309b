"""``benchmark``: how fast a model runs here, and what it needs, by runtime, threads and batch."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import math
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mobilenets.base.cores import cores
from mobilenets.base.files import write_json, write_text
from mobilenets.base.progress import progress
from mobilenets.bench import latency
from mobilenets.bench.latency import ROUNDS, Subject, Unusable, measure
from mobilenets.errors import InputError
from mobilenets.runs.folder import check_folder
from mobilenets.runtime.bundle import WEIGHTS, Bundle, find_bundle, read_bundle
from mobilenets.runtime.engines import RUNTIMES, present
from mobilenets.runtime.exported import MAX_BATCH

log = logging.getLogger("mobilenets")

TORCH = "torch"
MAX_THREADS = 1024
CHILD = """
import runpy, sys
sys.path.append(sys.argv.pop(1))
runpy.run_module("mobilenets.verbs.bench_child", run_name="__main__")
"""


def benchmark(
    models: str | Path | Sequence[str | Path],
    *,
    runtimes: Sequence[str] | None = None,
    threads: Sequence[int] | None = None,
    batches: Sequence[int] = (1, 8, 32),
    seconds: float = 2.0,
    out: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Measure models on this machine's processor.

    Parameters
    ----------
    models:
        Run folders, which run in PyTorch as they are, and exported files, which need no torch.
    runtimes:
        Those to measure in (``torch``, ``onnxruntime``, ``openvino``, …); by default every installed one.
    threads:
        Numbers of threads; by default one per core.
    batches:
        Pictures a run.
    seconds:
        How long to measure for each figure.
    out:
        A folder to write ``benchmark.json`` and, where matplotlib is installed, ``benchmark.png`` to.

    Returns the list of ``benchmark --json``, a row for every model, runtime, number of threads and batch: latencies of
    a run in milliseconds (``p50_ms p95_ms p99_ms``), ``images_per_second``, ``peak_rss_mb`` of the process,
    ``load_ms``, ``bytes`` of the file. What is measured how: ``mobilenets.bench.latency`` and
    ``mobilenets.verbs.bench_child``. Raises ``InputError`` for a model or a setting that cannot be used.

    """
    paths = [Path(model) for model in ([models] if isinstance(models, (str, Path)) else models)]
    if not paths:
        raise InputError("no model to measure: give a run folder or an export folder")
    counts = _numbers("threads", [cores()] if threads is None else threads, MAX_THREADS)
    sizes = _numbers("batch", batches, MAX_BATCH)
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"seconds {seconds:g}: give a number above 0")
    places = [(path, runtime, count) for path in paths for runtime in _runtimes(path, runtimes) for count in counts]
    folder = None if out is None else check_folder(Path(out))
    turns = len(places) * len(sizes) * (ROUNDS + 1)
    try:
        with ExitStack() as running, progress("measuring", turns, "turns") as shown:
            subjects = []
            # One after the other, so that no load time is that of several at once.
            for path, runtime, count in places:
                subject = _start(path, runtime, count)
                running.callback(subject.close)
                subject.about["bytes"] = _bytes(path)
                subjects.append(subject)
            rows = measure(subjects, sizes, seconds, shown.advance)
    except Unusable as error:
        raise InputError(str(error)) from error
    if folder is not None:
        write_json(folder / "benchmark.json", rows)
        _draw(rows, folder / "benchmark.png")
    return rows


def write_device_script(path: str | Path) -> Path:
    """Write one Python file that measures exported files the same way on another device, without mobilenets.

    There it needs NumPy and onnxruntime, or ai-edge-litert for .tflite: ``python FILE.py model.onnx``. Raises
    ``InputError`` where the name is not that of a Python file, or something else stands there.
    """
    target = Path(path)
    if target.suffix != ".py":
        raise InputError(f"{target}: give a file that ends in .py")
    script = inspect.getsource(latency)
    if target.exists() and not (target.is_file() and target.read_bytes() == script.encode()):
        raise InputError(f"{target} already exists: give another name")
    write_text(target, script)
    return target


def _start(path: Path, runtime: str, threads: int) -> Subject:
    # Where Python finds the package in this process, it must find it in that one.
    home = str(Path(__file__).parents[2])
    words = [str(path), runtime, str(threads)]
    return Subject([sys.executable, "-P", "-c", CHILD, home, *words])


def _bundle(path: Path) -> Bundle:
    return read_bundle(find_bundle(path))


def _runtimes(path: Path, wishes: Sequence[str] | None) -> list[str]:
    """Name the runtimes to measure a model in, of those wished for or else of those installed."""
    exported = _bundle(path).export
    known = [TORCH] if exported is None else list(RUNTIMES.get(exported.format, {}))
    if wishes is None:
        return [TORCH] if exported is None else present(exported.format) or known[:1]
    every = {TORCH, *(name for names in RUNTIMES.values() for name in names)}
    for wish in wishes:
        if wish not in every:
            raise InputError(f"runtime {wish!r}: choose {', '.join(sorted(every))}")
    chosen = [name for name in known if name in wishes]
    if not chosen:
        form = "a run folder" if exported is None else exported.format
        raise InputError(f"{path}: {form} runs in {' or '.join(known)}, not in {', '.join(wishes)}")
    return chosen


def _bytes(path: Path) -> int:
    folder = find_bundle(path)
    exported = _bundle(path).export
    names = [WEIGHTS] if exported is None else list(exported.sha256)
    return sum((folder / name).stat().st_size for name in names)


def _numbers(what: str, numbers: Sequence[int], most: int) -> list[int]:
    for number in numbers:
        if not 1 <= number <= most:
            raise InputError(f"{what} {number}: give a number from 1 to {most}")
    if not numbers:
        raise InputError(f"no {what}: give a number from 1 to {most}")
    return sorted(set(numbers))


def _draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        log.warning("no plot was drawn, because matplotlib is not installed: pip install matplotlib")
        return
    from mobilenets.drawing.benchmark import draw_benchmark

    draw_benchmark(rows, path)
