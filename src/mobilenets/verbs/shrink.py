"""``shrink``: which network, size and precision is the most accurate on these pictures within what a device allows?"""

from __future__ import annotations

import hashlib
import itertools
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mobilenets.base.drafts import drafting, publish
from mobilenets.base.files import read_given, read_json, write_bytes, write_json
from mobilenets.base.notes import log
from mobilenets.bench.models import write_device_script
from mobilenets.bench.settings import check_numbers
from mobilenets.datasets.folder import fingerprint
from mobilenets.datasets.shards.open import open_data
from mobilenets.errors import InputError
from mobilenets.models.prune import groups
from mobilenets.models.saved import SavedModel
from mobilenets.runs.folder import owning
from mobilenets.runs.further import asked_of, begun, folder_beside, further, open_to_go_on, pictures_to_go_on
from mobilenets.runs.record import METRICS, RECIPE
from mobilenets.runtime.bundle import find_bundle
from mobilenets.shrinking.candidates import (
    FLOAT,
    HOPED,
    INT8,
    Candidate,
    Measured,
    architecture_of,
    candidates,
    control_of,
    shortlist,
    whole_of,
)
from mobilenets.shrinking.device import Device, Times, read_times
from mobilenets.shrinking.halving import Budget
from mobilenets.shrinking.judged import judged
from mobilenets.shrinking.latency import onnx_file, time_all
from mobilenets.shrinking.limit import Limit, parse_limit
from mobilenets.shrinking.points import POINTS, Lines
from mobilenets.training.pace import usable
from mobilenets.training.recipe import Recipe
from mobilenets.training.recipes import load_recipe
from mobilenets.training.refused import SOFT
from mobilenets.verbs.shrink_end import RESULT, add_int8, add_run, choose, finish, result_of
from mobilenets.verbs.shrink_train import Search, climb

ASKED = "shrink.json"
MOST = 12
SECONDS = 0.3
# What the run may have been trained with, and its candidates are not.
OTHERS = ("teacher", "unlabelled", *SOFT, "sparsity", "sparsity_pattern")


def shrink(
    model: str | Path,
    data: str | Path,
    *,
    within: str | None = None,
    device: str | Path | None = None,
    minutes: float | None = None,
    out: str | Path | None = None,
    most: int = MOST,
    epochs: int | None = None,
    threads: int = 1,
    write: str | Path | None = None,
) -> dict[str, Any]:
    """Find the smaller and faster model that is the most accurate within what a device allows, and export it.

    Tried are the run's own network at smaller sizes, cut to fewer channels and pruned by measured time, and other
    networks and widths trained anew; in float32 and in int8. Their time is measured first, which needs no training,
    then those that fit are trained by successive halving. All that was found is kept in ``OUT-candidates``: if it is
    stopped, the same call goes on there.

    Parameters
    ----------
    model:
        The run folder of a classifier.
    data:
        The pictures that it was trained on, or others of its classes.
    within:
        What it may take at most: ``15ms`` a picture, ``2MB`` of the file or ``60MMACs`` a picture. By default the
        fastest is taken that is hardly less accurate than the most accurate.
    device:
        The JSON that ``benchmark --device-script`` printed on a device: times are then those of it, in part estimated.
    minutes:
        How long all may take. By default candidates are trained for as many epochs in all as the run was.
    out:
        The folder of the export to write, with ``shrink.json`` and ``front.png``; by default ``MODEL-shrunk``.
    most:
        How many candidates are trained.
    epochs:
        Those of the longest training, without ``minutes``; by default as many as the run's own.
    threads:
        Threads of ONNX Runtime, for the measurement.
    write:
        A folder to write the untrained candidates and ``bench.py`` to, for a device; nothing else is done then.

    Returns the content of ``shrink.json``: ``points``, of which ``chosen`` was taken, ``front`` has the names that no
    other beats in accuracy and time, ``control`` is the plain narrower network and ``compare`` says what was gained and
    lost. Raises ``InputError`` for what cannot be used, or where nothing fits.

    >>> result = mobilenets.shrink("run", "photos", most=1, epochs=1)
    >>> result["out"], result["chosen"]["precision"] in ("float32", "int8")
    ('run-shrunk', True)

    """
    budget = Budget(_seconds(minutes), time.monotonic(), time.monotonic)
    run, pictures = Path(model), open_data(data)
    limit = None if within is None else parse_limit(within)
    check_numbers("threads", [threads])
    check_numbers("candidates", [most], 1000)
    check_numbers("epochs", [1 if epochs is None else epochs], 1_000_000)
    saved = open_to_go_on(run, "shrunk")
    if write is not None:
        for name, given in {"device": device, "minutes": minutes, "out": out, "epochs": epochs}.items():
            if given is not None:
                raise InputError(f"{name}: without effect where candidates are only written; leave it or --write out")
        return _write_candidates(saved, most, limit, Path(write), threads)
    folder = folder_beside(run, out, "shrunk")
    work = folder.with_name(f"{folder.name}-candidates")
    # An export without it is of a call that was stopped before its last lines.
    if (folder / RESULT).exists() or (folder.exists() and not (work / ASKED).exists()):
        raise InputError(f"{folder}: is there already; choose another --out")
    there = None if device is None else read_times(Path(device), threads)
    known = None if there is None else hashlib.sha256(read_given(there.place)).hexdigest()
    pictures_to_go_on(run, pictures, saved.bundle.classes, folder)
    place = str(pictures.resolve())
    asked = asked_of(run, data=place, within=within, device=known, candidates=most, epochs=epochs, threads=threads)
    _with_another_limit(work, asked)
    if not begun(work, ASKED, asked, "shrinking"):
        write_json(work / ASKED, asked)
    with owning(work):
        search = _search(saved, run, pictures, work, limit, there, most, threads)
        search.budget, search.longest = budget, search.whole if epochs is None else epochs
        _refuse_others(search)
        add_run(search)
        whole = whole_of(saved.network.architecture)
        offers = [one for one in _fitting(search.measured, limit) if one.candidate != whole]
        search.control = control_of(offers, saved.network.architecture, _aim(limit, search.run_ms))
        climb(search, shortlist(offers, most, search.control, limited=limit is not None))
        add_int8(search)
        points, chosen = choose(search)
        about = {"model": str(run), "within": within, "threads": threads}
        about |= {"device": None if search.device is None else search.device.known}
        return finish(search, about | result_of(search, points, chosen), chosen, folder)


def _with_another_limit(work: Path, asked: Mapping[str, Any]) -> None:
    """Have what was begun go on within another limit: times stay true, and so do points; before any, with others."""
    if not (work / ASKED).exists():
        return
    before, lines = read_json(work / ASKED, "remove its folder, and begin again"), Lines(work / POINTS)
    trained, pointed = lines.of("rung"), lines.of("point")
    other = ("within",) if trained else ("within", "candidates", "epochs") + (() if pointed else ("device",))
    if before != asked and before | {name: asked[name] for name in other} == asked:
        if trained:
            log.warning(
                "what was tried so far was chosen %s and is kept: to try others, remove %s, or give another --out",
                "without a limit" if before["within"] is None else f"within {before['within']}",
                work,
            )
        write_json(work / ASKED, asked)


def _refuse_others(search: Search) -> None:
    """Refuse to go on where the pictures that points were judged on are others now."""
    judged_on = search.judged
    mark = fingerprint([*judged_on.choosing, *judged_on.reporting], judged_on.root, contents=judged_on.contents)
    known = search.lines.of("judged")
    if not known:
        search.lines.add("judged", {"pictures": mark})
    elif known[0]["pictures"] != mark:
        raise InputError(
            f"{search.data}: the held-out pictures have changed since this began: remove {search.work}, or give "
            "another --out"
        )


def _search(
    saved: SavedModel,
    run: Path,
    pictures: Path,
    work: Path,
    limit: Limit | None,
    device: Times | None,
    most: int,
    threads: int,
) -> Search:
    """Time what can be tried, here and on the device, and gather what trainings need."""
    lines, whole = Lines(work / POINTS), whole_of(saved.network.architecture)
    here = _timed(saved, lines, limit, device, most, threads, work)
    measured, there = _on_device(here, device, whole)
    if device is not None and there is not None and there.layers is not None:
        there.layers.refuse_others(groups(saved.network.architecture, saved.network.plan), device.place)
    _refuse_unfit(measured, limit)
    usual, halves = Recipe(), pictures_to_go_on(run, pictures, saved.bundle.classes, work)
    epochs = _epochs(run)
    return Search(
        run=run,
        data=pictures,
        saved=saved,
        recipe=further(run, None, "auto").replace(**{name: getattr(usual, name) for name in OTHERS}),
        whole=epochs,
        longest=epochs,
        pictures=len(halves.training),
        work=work,
        lines=lines,
        judged=judged(run, pictures, saved.bundle.classes),
        limit=limit,
        threads=threads,
        measured=measured,
        run_ms=measured[whole.name, FLOAT].ms,
        here_ms=here[whole.name, FLOAT].ms,
        taken=[here[whole.name, FLOAT].ms],
        device=there,
    )


def _seconds(minutes: float | None) -> float | None:
    if minutes is None:
        return None
    if not 0 < minutes <= 100_000:
        raise InputError(f"minutes {minutes:g}: give a number above 0, and at most 100000")
    return usable(60 * minutes)


def _aim(limit: Limit | None, run_ms: float) -> float:
    return limit.most if limit is not None and limit.what == "ms" else run_ms / 2


def _epochs(run: Path) -> int:
    """Give the epochs that a run was trained, by its figures or its recipe."""
    metrics = find_bundle(run) / METRICS
    known = read_json(metrics, "train it again").get("epochs") if metrics.is_file() else None
    return int(known or load_recipe(find_bundle(run) / RECIPE).epochs or 8)


def _timed(
    saved: SavedModel, lines: Lines, limit: Limit | None, device: Times | None, most: int, threads: int, work: Path
) -> dict[tuple[str, str], Measured]:
    """Time the candidates here, all in float32, and in int8 those that may fit only so; or read their times."""
    every = candidates(saved.network.architecture)
    whole = every[0]
    _time(saved, [(one, FLOAT) for one in every if one.how != "pruned"], lines, threads, work)
    found, _ = _on_device(_known(lines, every, whole), device, whole)
    fitting = {one.candidate for one in _fitting(found, limit)}
    likely = [one for one in _fitting(found, limit, hoped=True) if one.candidate not in fitting]
    named = shortlist(likely, -(-most // 3), None, limited=True)  # each takes seconds
    if device is not None:
        named = [whole, *named]  # by which int8 is as much slower there
    _time(saved, [(one, INT8) for one in named if one.how != "pruned"], lines, threads, work)
    return _known(lines, every, whole)


def _refuse_unfit(found: Mapping[tuple[str, str], Measured], limit: Limit | None) -> None:
    """Raise ``InputError`` where nothing fits, before anything is trained."""
    if limit is not None and not _fitting(found, limit):
        least = min(getattr(one, limit.what) for one in found.values())
        words = (
            f"{least:.3g} ms"
            if limit.what == "ms"
            else f"{least / 1e6:.3g} {'MB' if limit.what == 'bytes' else 'MMACs'}"
        )
        raise InputError(f"within {limit.words}: nothing that is tried fits; the least is {words}")


def _time(saved: SavedModel, wanted: Sequence[tuple[Candidate, str]], lines: Lines, threads: int, work: Path) -> None:
    """Time those that were not timed before."""
    run, classes = saved.network.architecture, saved.network.classes
    done = {(line["candidate"]["name"], line["precision"]) for line in lines.of("timed")}
    missing = [(one, precision) for one, precision in wanted if (one.name, precision) not in done]
    if not missing:
        return
    described = [(architecture_of(one, run, classes), precision) for one, precision in missing]
    with tempfile.TemporaryDirectory(dir=work) as folder:
        found = time_all(run, described, classes, threads, SECONDS, Path(folder))[1:]
    for (one, precision), (architecture, _), timed in zip(missing, described, found, strict=True):
        macs = architecture.plan(classes).macs
        about = {"candidate": one.to_json() | {"name": one.name}, "precision": precision, "macs": macs}
        lines.add("timed", about | {"ms": timed.ms, "bytes": timed.bytes})


def _known(lines: Lines, every: Sequence[Candidate], whole: Candidate) -> dict[tuple[str, str], Measured]:
    """Give what was timed here, and what pruned ones are expected to take."""
    named = {one.name: one for one in every}
    found = {}
    for line in lines.of("timed"):
        name, precision = line["candidate"]["name"], line["precision"]
        found[name, precision] = Measured(named[name], precision, line["ms"], line["bytes"], line["macs"])
    for one in every:
        for precision in (FLOAT, INT8):
            known = found.get((whole.name, precision))
            if one.how == "pruned" and known is not None:
                ms, size, macs = (one.share * value for value in (known.ms, known.bytes, known.macs))
                found[one.name, precision] = Measured(one, precision, ms, round(size), round(macs), estimated=True)
    return found


def _on_device(
    here: Mapping[tuple[str, str], Measured], device: Times | None, whole: Candidate
) -> tuple[dict[tuple[str, str], Measured], Device | None]:
    """Give the times of the device in place of those here, and the device."""
    if device is None:
        return dict(here), None
    times, sizes = ({key: getattr(one, name) for key, one in here.items()} for name in ("ms", "bytes"))
    there = device.beside(times, whole.name, sizes)
    found = {}
    for (name, precision), one in here.items():
        ms, estimated = there.ms(name, precision, one.ms)
        found[name, precision] = replace(one, ms=ms, estimated=estimated)
    return found, there


def _fitting(
    measured: Mapping[tuple[str, str], Measured], limit: Limit | None, *, hoped: bool = False
) -> list[Measured]:
    """Give each candidate once, as float32 where that fits, else as int8; ``hoped``: as fast as int8 could be."""
    found: dict[str, Measured] = {}
    for (name, precision), one in sorted(measured.items()):
        shrunk = HOPED if hoped and precision == FLOAT and limit is not None and limit.what != "macs" else 1.0
        if limit is None or getattr(one, limit.what) * shrunk <= limit.most:
            found.setdefault(name, one)
    return list(found.values())


def _write_candidates(saved: SavedModel, most: int, limit: Limit | None, folder: Path, threads: int) -> dict[str, Any]:
    """Write files of untrained candidates, to be timed on a device, and the script that times them there."""
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: is there already; choose another folder for --write")
    run, classes = saved.network.architecture, saved.network.classes
    with drafting(folder) as draft, tempfile.TemporaryDirectory(dir=draft.parent) as work:
        known = _timed(saved, Lines(Path(work) / POINTS), None, None, most, threads, Path(work))
        likely = _fitting(known, limit, hoped=True)
        whole = whole_of(run)
        offers = [one for one in likely if one.candidate.how != "pruned" and one.candidate != whole]
        names = [whole, *shortlist(offers, most, None, limited=limit is not None and limit.what != "ms")]
        for one, precision in itertools.product(dict.fromkeys(names), (FLOAT, INT8)):
            content = onnx_file(architecture_of(one, run, classes), classes, precision, Path(work))
            write_bytes(draft / f"{one.name}{'' if precision == FLOAT else f'-{precision}'}.onnx", content)
        write_device_script(draft / "bench.py")
        publish(draft, folder, "bench.py")
    files = sorted(path.name for path in folder.glob("*.onnx"))
    return {
        "written": str(folder),
        "files": files,
        "then": f"python bench.py *.onnx --threads {threads} --batch 1 --layers > device.json",
    }
