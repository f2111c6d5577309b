"""How ``shrink`` ends: int8 of the best, all that may be taken measured anew, and the export of one."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mobilenets.base.drafts import drafting, publish
from mobilenets.base.files import read_json, write_json
from mobilenets.base.notes import log
from mobilenets.base.progress import duration
from mobilenets.base.shell import quote
from mobilenets.bench.networks import onnx_bytes
from mobilenets.drawing.front import front_figure
from mobilenets.drawing.style import save
from mobilenets.errors import InputError
from mobilenets.exports.draft import check_place
from mobilenets.models.network import Network
from mobilenets.models.saved import load_classifier
from mobilenets.runs.test_set import open_test_set
from mobilenets.runtime.bundle import DESCRIPTION
from mobilenets.shrinking.candidates import FLOAT, HOPED, INT8, whole_of
from mobilenets.shrinking.front import Point, best, compared, front, latest, share
from mobilenets.shrinking.latency import times
from mobilenets.tasks.classification.gate import falls
from mobilenets.verbs.export import REPORT, export
from mobilenets.verbs.shrink_train import Search

SECONDS = 2.0
RESULT, CHART = "shrink.json", "front.png"
# So many of the best become int8; so many are measured anew at a time.
TRIED, ANEW = 6, 4
# By what share the times of the same network may differ before it is said: on a quiet machine V2 takes 17 % more in
# some processes than in others.
SPREAD = 0.25
# Points of top-1 that int8 may lose, because what it has is measured and stands in the table.
ANY = 100.0
# What an export may take, before one was timed; and how many times the longest so far is to be left before another
# begins, because the choice, the last export and the chart follow.
FIRST, AFTER = 10.0, 5


def folder_of(search: Search, point: Point) -> Path:
    """Give the folder of a point's model."""
    return search.work / point.folder if point.folder else search.run


def add_run(search: Search) -> None:
    """Add the run as it is."""
    whole = whole_of(search.saved.network.architecture)
    if not any(point.name == whole.name for point in search.points()):
        known = search.measured[whole.name, FLOAT]
        answers = search.judged.answers(search.run, search.threads)
        about: dict[str, Any] = {"ms": known.ms, "estimated": known.estimated, "bytes": known.bytes}
        point = Point(whole, FLOAT, -1, search.whole, macs=known.macs, seconds=0.0, folder="", **about, **answers)
        search.lines.add("point", point.to_json())


def add_int8(search: Search) -> None:
    """Take the best to int8, as far as there is time, and measure what came of them."""
    floats = [point for point in latest(search.points()) if point.precision == FLOAT]
    wanted = [
        point for point in floats if replace(point, ms=HOPED * point.ms, bytes=point.bytes // 4).fits(search.limit)
    ]
    wanted.sort(key=lambda point: (-point.rung if point.rung >= 0 else 0, -share(point.choosing)))
    done = {(point.name, point.rung) for point in search.points()}
    longest = FIRST
    for point in wanted[:TRIED]:
        if (f"{point.name}-{INT8}", point.rung) in done:
            continue
        if search.budget.left() < AFTER * longest:
            log.info("%s: not tried in int8, because the time is up", point.name)
            continue
        began = time.monotonic()
        folder = search.work / f"{INT8}-{point.folder or point.name}"
        found = export(folder_of(search, point), folder, precision=INT8, data=search.data, tolerance=ANY)
        if not found["passed"]:
            log.warning("%s: no int8 of it: %s", point.name, "; ".join(found["faults"]))
            continue
        about = {"ms": point.ms, "bytes": found["bytes"], "folder": folder.name}
        quantized = replace(point, precision=INT8, **about, **search.judged.answers(folder, search.threads))
        (taken,) = timed_anew(search, [quantized], SECONDS / 4)
        longest = time.monotonic() - began
        search.lines.add("point", replace(taken, seconds=longest).to_json())


def choose(search: Search) -> tuple[list[Point], Point]:
    """Choose the best within the limit, after those that may be it were timed anew; gives all points, and it.

    Raises ``InputError`` where none fits any more.
    """
    points = {point.name: point for point in latest(search.points())}
    timed: set[str] = set()
    while True:
        chosen = best(list(points.values()), search.limit)
        if chosen is None:
            fastest = min(points.values(), key=lambda one: one.ms)
            words = search.limit.words if search.limit is not None else ""
            raise InputError(
                f"within {words}: nothing fits now; the fastest, {fastest.name}, takes {fastest.ms:.3g} ms: give a "
                "larger --within, and nothing is trained again"
            )
        if chosen.name in timed or search.device is not None:
            return list(points.values()), chosen
        left = [point for name, point in points.items() if name not in timed and point.fits(search.limit)]
        next_ones = [chosen, *sorted(left, key=lambda one: -share(one.choosing))]
        some = list({one.name: one for one in next_ones}.values())[:ANEW]
        seconds = min(SECONDS, max(0.2, search.budget.left() / 40))
        for point in timed_anew(search, some, seconds):
            points[point.name] = point
            timed.add(point.name)


def timed_anew(search: Search, points: list[Point], seconds: float) -> list[Point]:
    """Time finished models in turns with the run's network; the times of another device are only scaled."""
    with tempfile.TemporaryDirectory() as aside:

        def written(name: str, network: Network) -> Path:
            file = Path(aside) / f"{name}.onnx"
            file.write_bytes(onnx_bytes(network))
            return file

        def make(point: Point) -> tuple[Path, int]:
            folder = folder_of(search, point)
            if point.precision == FLOAT:
                return written(point.name, load_classifier(folder).network), point.bytes
            return folder, point.bytes

        reference = written("reference", search.saved.network)
        whole, *found = times(reference, [partial(make, point) for point in points], search.threads, seconds)
    search.taken.append(whole.ms)
    if search.device is None:
        return [replace(point, ms=timed.ms) for point, timed in zip(points, found, strict=True)]
    scaled = []
    for point, timed in zip(points, found, strict=True):
        ms, estimated = search.device.ms(
            point.candidate.plain.name, point.precision, timed.ms / whole.ms * search.here_ms
        )
        scaled.append(replace(point, ms=ms, estimated=estimated))
    return scaled


def result_of(search: Search, points: list[Point], chosen: Point) -> dict[str, Any]:
    """Say what was found: all points, the front, and what each step gained or lost on the same pictures."""
    named = {point.name: point for point in points}
    run = next(point for point in points if point.rung < 0 and point.precision == FLOAT)
    pairs = [(run, chosen)] if chosen is not run else []
    control = None if search.control is None else named.get(search.control.name)
    own = [point for point in points if point.candidate.how in ("cut", "pruned") and point.precision == FLOAT]
    if control is not None and own:
        pairs.append((control, min(own, key=lambda one: abs(one.ms - control.ms))))
    twins = [(named.get(point.candidate.plain.name), point) for point in points if point.candidate.taught]
    pairs += [(plain, taught) for plain, taught in twins if plain is not None and taught.precision == FLOAT]
    rounded = [(named.get(point.candidate.name), point) for point in points if point.precision == INT8]
    pairs += [(plain, less) for plain, less in rounded if plain is not None]
    return {
        "chosen": chosen.summary(),
        "front": [point.name for point in front(points)],
        "control": None if control is None else control.name,
        "compare": [compared(*pair) for pair in dict.fromkeys(pairs)],
        "points": [point.summary() for point in sorted(points, key=lambda one: one.ms)],
        "images": len(search.judged.reporting),
        "notes": [search.judged.note, *doubts(search)],
    }


def doubts(search: Search) -> list[str]:
    """Say so where other programs took part of the time that was measured, or a device was timed otherwise."""
    least, most = min(search.taken), max(search.taken)
    if search.device is not None:
        if search.device.threads == search.threads:
            return []
        note = f"the device was timed on {search.device.threads} threads, not on {search.threads}: those times count"
    elif most <= (1 + SPREAD) * least:
        return []
    else:
        note = (
            f"the machine was busy while times were taken (the network of RUN took {least:.3g} to {most:.3g} ms): "
            "alone, all may be faster, and more may fit; time the export again with mobilenets benchmark"
        )
    log.warning("%s", note)
    return [note]


def _delivered(made: Path, folder: Path) -> dict[str, Any]:
    """Copy the very int8 file that was measured, which takes long to find again; gives what its check said."""
    found: dict[str, Any] = read_json(made / REPORT, "remove its folder, and run the same command again")
    found["file"] = str(folder / Path(found["file"]).name)
    check_place(folder, found["format"])
    with drafting(folder) as draft:
        shutil.copytree(made, draft, dirs_exist_ok=True)
        write_json(draft / REPORT, found)
        publish(draft, folder, DESCRIPTION)
    return found


def finish(search: Search, result: dict[str, Any], chosen: Point, folder: Path) -> dict[str, Any]:
    """Export what was chosen through the gate, and write down and draw what was found beside it."""
    source = folder_of(search, replace(chosen, folder=chosen.folder.removeprefix(f"{INT8}-")))
    if chosen.precision == INT8:
        found = _delivered(search.work / chosen.folder, folder)
        if falls(found["top1_change"], found["pictures_lost"] - found["pictures_gained"], INT8):
            lost = f"{-100 * found['top1_change']:.2f} points on {found['images']} pictures"
            note = f"int8 loses more than an export may by default, and is still the best that fits: {lost}"
            log.warning("%s", note)
            result["notes"].append(note)
    else:
        found = export(source, folder, data=search.data)
        if not found["passed"]:
            raise InputError(f"{chosen.name}: its export is not what was trained: {'; '.join(found['faults'])}")
    if search.judged.test:
        tested = [search.judged.contents[sample.path] for sample in search.judged.reporting]
        open_test_set(folder, "shrink", tested)
    if chosen.rung >= 0:
        words = f"mobilenets train {quote(str(search.data))} --resume --out {quote(str(source))}"
        result["notes"].append(
            "its probabilities are not calibrated, and it calls no picture none of these; for both run "
            f"{words} and export that"
        )
    result |= {"out": str(folder), "file": found["file"], "seconds": search.budget.spent()}
    save(front_figure(result), folder / CHART)
    write_json(folder / RESULT, result)
    log.info("shrunk in %s", duration(result["seconds"]))
    return result
