"""``benchmark``: how fast a model runs here, and what it needs, by runtime, threads and batch."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobilenets.base.cores import cores
from mobilenets.base.files import write_json
from mobilenets.base.notes import log
from mobilenets.bench.models import Trial, measure_trials, runtimes_of
from mobilenets.bench.settings import check_numbers, check_seconds
from mobilenets.errors import InputError
from mobilenets.runs.folder import check_folder
from mobilenets.runtime.exported import MAX_BATCH


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
    ``mobilenets.bench.child``. Raises ``InputError`` for a model or a setting that cannot be used.

    >>> [row] = mobilenets.benchmark("run", threads=[1], batches=[8], seconds=0.1)
    >>> row["batch"], row["images_per_second"] > 0
    (8, True)

    """
    paths = [Path(model) for model in ([models] if isinstance(models, (str, Path)) else models)]
    if not paths:
        raise InputError("no model to measure: give a run folder or an export folder")
    counts = check_numbers("threads", [cores()] if threads is None else threads)
    sizes = check_numbers("batch", batches, MAX_BATCH)
    check_seconds(seconds)
    trials = [Trial(path, name, count) for path in paths for name in runtimes_of(path, runtimes) for count in counts]
    folder = None if out is None else check_folder(Path(out))
    rows = measure_trials(trials, sizes, seconds)
    if folder is not None:
        write_json(folder / "benchmark.json", rows)
        if importlib.util.find_spec("matplotlib") is None:
            log.warning("no plot was drawn, because matplotlib is not installed: pip install matplotlib")
        else:
            from mobilenets.drawing.benchmark import benchmark_figure
            from mobilenets.drawing.style import save

            save(benchmark_figure(rows), folder / "benchmark.png")
    return rows
