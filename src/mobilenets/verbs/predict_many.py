"""``predict_many``: answers for millions of pictures, a file a part, and a folder that knows what is done."""

from __future__ import annotations

import hashlib
import importlib.util
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from mobilenets.base.cores import cores
from mobilenets.base.extras import how_to_install, versions
from mobilenets.base.notes import log
from mobilenets.base.progress import progress
from mobilenets.base.text import counted
from mobilenets.bench.latency import describe_machine
from mobilenets.bulk import job as jobs
from mobilenets.bulk.engines import Course
from mobilenets.bulk.parts import PARQUET, Part, parts_of, place_of
from mobilenets.bulk.tables import pick_format
from mobilenets.errors import InputError
from mobilenets.runs.predictor import Predictor
from mobilenets.runtime.bundle import DESCRIPTION, find_bundle
from mobilenets.runtime.found import check_top

ENGINES = ("local", "ray")
PACKAGES = ("mobilenets", "numpy", "pillow", "onnxruntime", "openvino", "pyarrow", "ray")


def predict_many(
    model: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    engine: str = "local",
    format: str | None = None,
    workers: int | None = None,
    threads: int = 1,
    runtime: str | None = None,
    top: int | None = None,
    threshold: float | None = None,
    batch: int = 32,
    part: int = 2000,
    timeout: float = 60.0,
    column: str | None = None,
    ray_address: str | None = None,
) -> dict[str, Any]:
    """Predict every picture of a source, part by part, and keep the answers in a folder.

    Parameters
    ----------
    model:
        A run folder, a bundle, or an exported file beside its ``model.json``; PyTorch is not used.
    source:
        A folder of pictures (at any depth), WebDataset shards (a folder of ``.tar``, or the address of what
        ``mobilenets pack`` wrote), or a list of paths and addresses: Parquet, or text with one a line. Paths in a list
        are below the list's folder unless they are whole.
    out:
        A folder. ``answers/`` in it gets one file for each part, whole or absent; a later call with the same model,
        source and settings does what is missing or changed, and nothing twice. ``summary.json`` is what is returned.
    engine:
        ``local``: processes of this machine. ``ray``: actors on a Ray cluster.
    format:
        ``parquet`` (needs pyarrow) or ``jsonl``, lines as ``predict --json`` prints them. By default Parquet where
        pyarrow is installed.
    workers, threads:
        Processes, or actors, each with so many threads: by default one thread, and as many workers as there are cores.
    runtime, top, threshold:
        As for ``Predictor`` and ``predict``.
    batch, part:
        Pictures in one run of the network, and in one part of a folder or list. A shard is a part.
    timeout:
        Seconds that a picture may take; one that takes longer becomes a row with that reason.
    column:
        The column of a list in Parquet or CSV that has the paths.
    ray_address:
        Of the cluster, ``auto`` for the one that runs here; by default one is started for the call.

    Every picture gives a row, in the order of its part: ``image`` with ``label``, ``probability``, ``predictions``,
    ``known`` and ``distance``, or with ``error``; of a detector ``detections``.

    Returns the counts over all parts: ``pictures bad classes none_of_these parts failed seconds images_per_second`` and
    what they were made with. ``failed`` names parts that nobody could answer for; the next call tries them again.

    Raises ``InputError`` for a model, source or setting that cannot be used, and for a folder that holds the answers of
    another model, source or setting.

    >>> mobilenets.predict_many("run", "photos", "answers", format="jsonl")["bad"]
    0

    """
    _check(engine, workers, threads, batch, part, timeout, top, column, source)
    place, folder = place_of(source), Path(out)
    before = jobs.earlier(folder)
    form = pick_format(format or (before["settings"]["format"] if before else None))
    predictor = Predictor(model, "cpu", runtime=runtime, threads=threads)
    if predictor.file is None:
        raise InputError(f"{model}: without a file of its network it needs PyTorch: export it first")
    if threshold is not None:
        predictor.with_threshold(threshold)
    known: dict[str, Any] = {
        "format": jobs.FORMAT,
        "version": jobs.VERSION,
        "model": {
            "path": str(Path(model).absolute()),
            "sha256": hashlib.sha256((find_bundle(Path(model)) / DESCRIPTION).read_bytes()).hexdigest(),
        },
        "source": {"path": place, "column": column},
        "settings": {
            "runtime": getattr(predictor.engine, "runtime", None),
            "top": top,
            "threshold": threshold,
            "batch": batch,
            "part": part,
            "format": form,
        },
    }
    with jobs.alone(folder):
        job = jobs.Job(folder, known)
        parts = parts_of(place, part, column, job.firsts)
        asked = known["settings"] | {
            "model": known["model"]["path"],
            "threads": threads,
            "limit": timeout,
            "about": f"model.json {known['model']['sha256']}",
        }
        crew = workers or (None if engine == "ray" else max(1, cores() // threads))
        return _carried_out(job, parts, engine, asked, crew, ray_address)


def _check(
    engine: str,
    workers: int | None,
    threads: int,
    batch: int,
    part: int,
    timeout: float,
    top: int | None,
    column: str | None,
    source: str | Path,
) -> None:
    """Refuse settings that mean nothing."""
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r}: choose {' or '.join(ENGINES)}")
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        raise InputError(f"ray is not installed: {how_to_install('ray')}; or use --engine local")
    if Path(source).suffix.lower() in PARQUET and importlib.util.find_spec("pyarrow") is None:
        raise InputError(f"{source}: a list in Parquet needs pyarrow: {how_to_install('bulk')}; or give a text file")
    for name, value in (("workers", workers), ("threads", threads), ("batch", batch), ("part", part)):
        if value is not None and value < 1:
            raise InputError(f"{name} {value}: give a number of at least 1")
    if not timeout > 0:
        raise InputError(f"timeout {timeout:g}: give seconds above 0")
    if top is not None:
        check_top(top)


def _carried_out(
    job: jobs.Job, parts: list[Part], engine: str, asked: dict[str, Any], workers: int | None, address: str | None
) -> dict[str, Any]:
    """Have what is missing answered, keep it as it comes, and add up."""
    begun, failed, fresh = time.monotonic(), dict[str, str](), 0
    missing = job.begin(parts)
    already = sum(line["pictures"] for line in job.done.values())
    total = _total(parts, job)
    if already:
        log.info("%d of %s done already", len(parts) - len(missing), counted(len(parts), "part"))
    if missing:
        if engine == "ray":
            from mobilenets.bulk.engines import ray

            course: Course = ray.answered(missing, asked, workers, address)
        else:
            from mobilenets.bulk.engines import local

            course = local.answered(missing, asked, workers or 1)
        try:
            fresh = _kept(job, course, total, already, failed)
        except KeyboardInterrupt:
            done = f"{len(job.done)} of {counted(len(parts), 'part')} done; run the same command again to go on"
            raise KeyboardInterrupt(f"interrupted: {done}") from None
    seconds = time.monotonic() - begun
    return job.summary(
        failed,
        answered_now=fresh,
        seconds=round(seconds, 3),
        images_per_second=round(fresh / seconds, 1) if fresh else None,
        engine=engine,
        workers=workers,
        threads=asked["threads"],
        machine=describe_machine(),
        versions=versions(PACKAGES),
    )


def _kept(job: jobs.Job, course: Course, total: int | None, already: int, failed: dict[str, str]) -> int:
    """Keep answers as they come; returns for how many pictures, and names the parts that failed in ``failed``."""
    fresh = 0
    with closing(course), progress("predict", total, "pictures", already) as shown:
        for event in course:
            if isinstance(event, int):
                shown.advance(max(0, already + fresh + event - shown.done))
                continue
            part, found = event
            if isinstance(found, jobs.Failed):
                failed[part.name] = found.reason
                log.warning("%s failed: %s", part.name, found.reason)
                continue
            job.keep(part, found)
            fresh += found.counts["pictures"]
    return fresh


def _total(parts: Iterable[Part], job: jobs.Job) -> int | None:
    """Count the pictures of all parts; None where a part has never been looked into."""
    total = 0
    for part in parts:
        count = job.done.get(part.name, {}).get("pictures", part.count)
        if count is None:
            return None
        total += count
    return total
