"""Predicting many: a cluster of two nodes loses one, then its driver; is every answer there, and how fast was it?

    python benchmarks/bulk.py PLACE [--model MODEL] [--pictures 50000] [--bad 200] [--only PART] [--json]

PLACE is a folder for pictures and answers. It draws pictures of 32 to 64 pixels, bad ones among them, trains a small
model (or takes MODEL: then no PyTorch is needed), takes the serial answer (``mobilenets.predict``), starts a Ray
cluster of two nodes of one core each on the loopback, kills one node when half of the parts are done and the driver
when three quarters are, and runs the same command again. Then come the speeds, in pictures a second: plain loops, and
1 and 2 workers of both engines. ``--only survival`` or ``--only speeds`` does one of the two. It needs Ray and pyarrow.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from report import arguments

import mobilenets
from mobilenets.bulk.answering import answers

# Ray takes 127.0.0.1 for the address of the machine in its network.
ADDRESS, OTHER = "127.0.0.2:6397", "127.0.0.3"
STORE = str(200 << 20)
FOLDER = 1000
PATIENCE, TRIES = 120, 5
# Workers are of niceness 15 by default: beside other programs they would hardly run.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "RAY_AUTH_MODE": "disabled"}


def draw(place: Path, count: int, bad: int) -> set[str]:
    """Draw pictures, the bad ones in four ways; returns the names of these. What was drawn before is left."""
    rng, chosen = np.random.default_rng(0), set(random.Random(0).sample(range(count), bad))
    spoilt = {f"{number // FOLDER:03}/{number:06}.jpg" for number in chosen}
    if (place.parent / "drawn").exists():
        return spoilt
    for number in range(count):
        path = place / f"{number // FOLDER:03}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = rng.integers(32, 65, 2)
        tint = rng.integers(0, 160, 3)
        noise = rng.integers(0, 96, (height // 4, width // 4, 3))
        pixels = (noise + tint).astype(np.uint8)
        Image.fromarray(pixels).resize((int(width), int(height))).save(path, quality=85)
        if number in chosen:
            content = path.read_bytes()
            kinds = (b"", b"<html>not found</html>", content[: len(content) // 3], os.urandom(900))
            path.write_bytes(kinds[number % 4])
    (place.parent / "drawn").touch()
    return spoilt


def node(*words: str) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("ray")), "start", *words, "--num-cpus=1", "--block"]
    command += [f"--object-store-memory={STORE}", "--disable-usage-stats"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": os.environ | QUIET}
    return subprocess.Popen(command, start_new_session=True, **quiet)


def family(process: subprocess.Popen[bytes]) -> list[int]:
    """List a process and what it started, by the parents and sessions that /proc names."""
    children: dict[int, list[int]] = {}
    orphans: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent, _, session = map(int, (entry / "stat").read_text().rpartition(")")[2].split()[1:4])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
            if session == process.pid:
                orphans.append(int(entry.name))
    # The number of one that has ended may be another's by now.
    found, waiting = list[int](), orphans if process.poll() is not None else [process.pid, *orphans]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.append(one)
            waiting += children.get(one, [])
    return found


def kill_all(process: subprocess.Popen[bytes]) -> None:
    for pid in family(process):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def alive() -> int:
    """Count the nodes of the cluster."""
    from ray._raylet import GcsClient

    try:
        return sum(one.state == 0 for one in GcsClient(address=ADDRESS).get_all_node_info(timeout=20).values())
    except Exception:  # it is not there yet
        return 0


@contextmanager
def cluster(nodes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    host, port = ADDRESS.split(":")
    head = ("--head", f"--node-ip-address={host}", f"--port={port}", "--include-dashboard=false")
    started: list[subprocess.Popen[bytes]] = []
    try:
        for words in (head, (f"--address={ADDRESS}", f"--node-ip-address={OTHER}"))[:nodes]:
            started.append(node(*words))
            tries, begun = 1, time.monotonic()
            while alive() != len(started):
                # On a busy machine Ray gives up on itself, and leaves some of its processes.
                if started[-1].poll() is not None or time.monotonic() - begun > PATIENCE:
                    assert tries < TRIES, f"a node of Ray did not start in {TRIES} attempts"
                    kill_all(started[-1])
                    started[-1] = node(*words)
                    tries, begun = tries + 1, time.monotonic()
                time.sleep(0.2)
        yield started
    finally:
        for one in reversed(started):
            kill_all(one)


def command(model: Path, source: Path, out: Path, *words: str) -> list[str]:
    program = [sys.executable, "-m", "mobilenets", "predict", str(model), str(source), "--out", str(out), "--json"]
    return [*program, *words]


def predict_many(*words: Any) -> dict[str, Any]:
    done = subprocess.run(command(*words), capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1) and done.stdout, done.stderr
    return json.loads(done.stdout)


def parts_done(out: Path) -> int:
    try:
        return (out / "done.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def rows_of(out: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    for file in sorted((out / "answers").glob("*.parquet")):
        yield from pq.read_table(file).to_pylist()


def survive(model: Path, source: Path, out: Path, part: int, count: int) -> dict[str, Any]:
    """Lose a node, then the driver, and go on; returns what was seen."""
    ray = ("--engine", "ray", "--ray-address", ADDRESS, "--part", str(part))
    total, said = -(-count // part), {}
    with cluster(2) as (_, second):
        begun = time.monotonic()
        with (out.parent / "driver.log").open("wb") as log:
            driver = subprocess.Popen(command(model, source, out, *ray), stdout=log, stderr=log)
        for share, victim, name in ((1 / 2, second, "node"), (3 / 4, driver, "driver")):
            while parts_done(out) < share * total:
                assert driver.poll() is None, (out.parent / "driver.log").read_text()
                time.sleep(0.1)
            said[f"parts_when_the_{name}_was_killed"] = parts_done(out)
            kill_all(victim)
        said["seconds_until_the_driver_was_killed"] = round(time.monotonic() - begun, 1)
        before = {file.name: file.stat().st_mtime_ns for file in (out / "answers").glob("*.parquet")}
        found = predict_many(model, source, out, *ray)
        said["next_run"] = {
            name: found[name] for name in ("pictures", "bad", "answered_now", "failed_parts", "seconds")
        }
    after = {file.name: file.stat().st_mtime_ns for file in (out / "answers").glob("*.parquet")}
    said["parts_kept"] = sum(after[name] == time for name, time in before.items())
    said["parts"] = len(after)
    return said


def compared(out: Path, serial: dict[str, dict[str, Any]], spoilt: set[str]) -> dict[str, Any]:
    """Hold the union of the parts against the serial answer, row by row."""
    seen, differing, apart = list[str](), 0, 0.0
    for row in rows_of(out):
        seen.append(row["image"])
        same = serial[row["image"]]
        if "error" in same:
            differing += row["error"] != same["error"] or row["label"] is not None
            continue
        differing += row["predictions"] != same["predictions"] or row["error"] is not None
        pairs = zip(row["predictions"], same["predictions"], strict=True)
        apart = max(apart, *(abs(one["probability"] - other["probability"]) for one, other in pairs))
    bad = {name for name, answer in serial.items() if "error" in answer}
    return {
        "rows": len(seen),
        "each_once": sorted(seen) == sorted(serial),
        "rows_that_differ": differing,
        "largest_difference_of_a_probability": apart,
        "bad_are_those_spoilt": bad == spoilt,
    }


def speeds(model: Path, source: Path, place: Path) -> dict[str, float]:
    """Measure pictures a second, everything in it from the start of the process on, loops apart."""
    files = sorted(source.rglob("*.jpg"))
    predictor = mobilenets.Predictor(model, threads=1)
    found: dict[str, float] = {}

    def loop(name: str, run: Any) -> None:
        begun = time.perf_counter()
        run()
        found[name] = round(len(files) / (time.perf_counter() - begun), 1)

    def one_by_one() -> None:
        for path in files:
            try:
                predictor(path)
            except mobilenets.InputError:
                continue

    loop("plain loop, one picture at a time", one_by_one)
    loop("plain loop, batches of 32", lambda: list(answers(predictor, ((str(path), path) for path in files))))
    for engine, *words in (("local",), ("ray", "--ray-address", ADDRESS)):
        with cluster(2) if engine == "ray" else nullcontext():
            for workers in (1, 2):
                out = place / f"speed-{engine}-{workers}"
                shutil.rmtree(out, ignore_errors=True)
                settings = ("--engine", engine, *words, "--workers", str(workers), "--part", "500")
                result = predict_many(model, source, out, *settings)
                found[f"{engine}, {workers} {'worker' if workers == 1 else 'workers'}"] = result["images_per_second"]
    return found


def small_model(place: Path) -> Path:
    """Train a small model for pictures of 32 pixels, once."""
    run, data = place / "model", place / "shapes"
    if not run.exists():
        mobilenets.fetch("shapes", data)
        settings = {"model": "mobilenet_v2", "width": 0.35, "size": 32, "weights": "none", "epochs": 1, "device": "cpu"}
        mobilenets.train(data, run, **settings)
    return run


def survival(model: Path, source: Path, out: Path, spoilt: set[str], part: int, count: int) -> dict[str, Any]:
    """Answer all of it on a cluster that loses what it can lose, and serially beside it."""
    shutil.rmtree(out, ignore_errors=True)
    serial: dict[str, dict[str, Any]] = {}

    def answer_serially() -> None:
        # Named as in the rows: by the path below the source.
        named = ((path.relative_to(source).as_posix(), path) for path in sorted(source.rglob("*.jpg")))
        serial.update((answer["image"], answer) for answer in mobilenets.predict(model, named))

    beside = threading.Thread(target=answer_serially)
    beside.start()
    survived = survive(model, source, out, part, count)
    beside.join()
    return {"survived": survived, "union_against_serial": compared(out, serial, spoilt)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("place", type=Path)
    parser.add_argument("--model", type=Path, help="run folder or export for pictures of about 32 pixels")
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--bad", type=int, default=200)
    parser.add_argument("--part", type=int, default=1000)
    parser.add_argument("--speeds", type=int, default=5000, help="pictures that speeds are taken on")
    parser.add_argument("--only", choices=["survival", "speeds"])
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end, and nothing before")
    options = parser.parse_args()
    os.environ |= QUIET
    place, source = options.place, options.place / "pictures"
    spoilt = draw(source, options.pictures, options.bad)
    model = options.model or small_model(place)
    result: dict[str, Any] = {"pictures": options.pictures, "bad": options.bad}
    if options.only != "speeds":
        result |= survival(model, source, place / "answers-ray", spoilt, options.part, options.pictures)
        if not options.json:
            print(json.dumps(result), flush=True)
    if options.only != "survival":
        few = place / "few"
        for folder in sorted(source.iterdir())[: -(-options.speeds // FOLDER)]:
            shutil.copytree(folder, few / folder.name, dirs_exist_ok=True)
        result["pictures_a_second"] = speeds(model, few, place)
        if not options.json:
            print(json.dumps(result["pictures_a_second"]), flush=True)
    if options.json:
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
