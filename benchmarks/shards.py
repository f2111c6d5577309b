"""The same pictures as a folder, as shards, and as shards behind a server that fails now and then.

    python benchmarks/shards.py [--pictures 20000] [--shard-mb 4] [--epochs 1] [--seeds 1] [--only server] [--json]

Pictures of Fashion-MNIST (Debian's dataset-fashion-mnist, or a download) are written as PNG into a temporary folder, a
tenth of them for validation, and packed. Then, in this order:

- samples: names, labels, split and fingerprint of both; every byte.
- speed: batches of 32 as training makes them, of a folder and of shards, taking turns; medians of rounds, wall and CPU.
- memory: resident memory after each eighth of two passes over the shards.
- accuracy: a small network, of each seed trained on both.
- resume: stopped by Ctrl-C in the middle of a shard, and taken up: the weights, byte for byte.
- damage: one byte of a picture changed in a shard.
- server: on 127.0.0.1, slow, with 503 and cut connections: the whole training of seed 0 and its evaluation, through a
  cache of three fifths of the set, or what the plan of an epoch needs where that is more, watched all along; the
  weights, byte for byte, and the figures, beside those of the run from the disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from drawn import write_fashion
from report import arguments

import mobilenets
from mobilenets.base import mounts
from mobilenets.datasets.folder import relative
from mobilenets.datasets.loader import Loader, shards_of, shuffled
from mobilenets.datasets.prepare import Dataset, prepare
from mobilenets.datasets.shards import cache, remote
from mobilenets.datasets.shards.index import INDEX, TABLE, Index, read_index
from mobilenets.datasets.shards.open import open_data
from mobilenets.datasets.shards.tree import ShardTree
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.tasks.registry import find_task
from mobilenets.training.loop import Training

BATCH, ROUNDS, STEPS = 32, 5, 100
MACHINE = {"device": "cpu", "threads": 1, "workers": 1, "weights": "none"}
NETWORK = {"model": "mobilenet_v1_cifar", "width": 0.25, "size": 28, "augment": "none", "dropout": 0.0, "batch": BATCH}


def prepared(data: Path) -> Dataset:
    return prepare(data, share=0.1, seed=0, max_unreadable=0.1, workers=1)


def samples(folder: Dataset, shards: Dataset) -> dict[str, Any]:
    def named(dataset: Dataset) -> dict[str, set[tuple[str, int]]]:
        root = dataset.layout.root
        return {half: {(relative(one.path, root), one.label) for one in some} for half, some in dataset.halves.items()}

    root = folder.layout.root
    same = all(
        mounts.read_file(one.path) == (root / relative(one.path, shards.layout.root)).read_bytes()
        for some in shards.halves.values()
        for one in some
    )
    return {
        "same_names_labels_and_split": named(folder) == named(shards),
        "same_fingerprint": folder.fingerprint == shards.fingerprint,
        "same_bytes": same,
        "train": len(shards.train),
        "validation": len(shards.validation),
    }


def loader(dataset: Dataset) -> Loader:
    return Loader(dataset.train, len(dataset.classes), Preprocessing(28), find_task("classification"), workers=1)


def plan_of(dataset: Dataset, number: int) -> Sequence[list[int]]:
    return shuffled([one.label for one in dataset.train], BATCH, 0, number, shards=shards_of(dataset.train))


def epoch(dataset: Dataset, number: int) -> tuple[float, float]:
    plan = plan_of(dataset, number)[:STEPS]
    count = sum(map(len, plan))
    wall, cpu = time.perf_counter(), time.process_time()
    assert sum(map(len, loader(dataset).batches(plan, number))) == count
    return count / (time.perf_counter() - wall), 1e6 * (time.process_time() - cpu) / count


def speed(folder: Dataset, shards: Dataset) -> dict[str, Any]:
    found: dict[str, list[tuple[float, float]]] = {"folder": [], "shards": []}
    for turn in range(ROUNDS):
        for name, dataset in (("folder", folder), ("shards", shards)):
            found[name].append(epoch(dataset, turn))
    medians = {name: [statistics.median(one) for one in zip(*some, strict=True)] for name, some in found.items()}
    return {
        **{f"{name}_pictures_per_second": round(one[0]) for name, one in medians.items()},
        **{f"{name}_cpu_us_a_picture": round(one[1], 1) for name, one in medians.items()},
        "cpu_ratio": round(medians["shards"][1] / medians["folder"][1], 3),
    }


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(shards: Dataset) -> dict[str, Any]:
    found = []
    for number in range(2):
        plan = plan_of(shards, number)
        for step, _ in enumerate(loader(shards).batches(plan, number)):
            if step % (len(plan) // 8) == 0:
                found.append(round(resident(), 1))
    return {"resident_mib": found, "growth_mib": round(max(found[2:]) - found[1], 1)}


def trained(data: Path | str, run: Path, epochs: int, seed: int, resume: bool = False) -> dict[str, Any]:
    course = {"epochs": epochs, "lr": 0.02, "optimizer": "sgd", "keep": "last", "warmup": 0.2, "seed": seed}
    return mobilenets.train(data, run, resume=resume, **MACHINE, **NETWORK, **course)


def weights(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


@contextmanager
def interrupted_at(step: int) -> Iterator[None]:
    """Send Ctrl-C after so many steps."""
    look, done = Training._look, []

    def looked(training: Training, *given: Any) -> None:
        look(training, *given)
        done.append(1)
        if len(done) == step:
            os.kill(os.getpid(), signal.SIGINT)

    Training._look = looked  # type: ignore[method-assign]
    try:
        yield
    finally:
        Training._look = look  # type: ignore[method-assign]


def resume(dataset: Dataset, place: Path, whole: str, epochs: int, steps: int) -> dict[str, Any]:
    with suppress(KeyboardInterrupt), interrupted_at(steps):
        trained(place / "shards", place / "cut", epochs, 0)
    read: list[int] = []
    epochs_closed: list[int] = []
    plain, close = ShardTree.read, Training._close_epoch

    def reading(tree: ShardTree, number: int) -> bytes:
        if not epochs_closed:
            read.append(number)
        return plain(tree, number)

    def closing(training: Training, *given: Any) -> None:
        epochs_closed.append(1)
        close(training, *given)

    ShardTree.read, Training._close_epoch = reading, closing  # type: ignore[method-assign]
    trained(place / "shards", place / "cut", epochs, 0, resume=True)
    ShardTree.read, Training._close_epoch = plain, close  # type: ignore[method-assign]
    per_epoch = -(-len(dataset.train) // BATCH)
    plan = plan_of(dataset, steps // per_epoch)
    return {
        "stopped_after_steps": steps,
        "same_weights": weights(place / "cut") == whole,
        "pictures_left_of_the_epoch": sum(map(len, plan[steps % per_epoch :])),
        "pictures_read_for_the_rest_of_it": len(read),
    }


def index_of(shards: Path) -> Index:
    return read_index((shards / INDEX).read_bytes(), (shards / TABLE).read_bytes(), str(shards))


def damage(shards: Path) -> dict[str, Any]:
    index = index_of(shards)
    file, offset = shards / index.shards[-1].file, int(index.offsets[index.firsts[-2] + 7])
    with file.open("r+b") as stream:
        stream.seek(offset + 50)
        byte = stream.read(1)
        stream.seek(offset + 50)
        stream.write(bytes([byte[0] ^ 255]))
    [problem] = prepared(shards).problems
    with file.open("r+b") as stream:
        stream.seek(offset + 50)
        stream.write(byte)
    return {"named": f"{problem.path}: {problem.detail}"}


@contextmanager
def server(folder: Path, counted: dict[str, int]) -> Iterator[str]:
    """Serve a folder badly: a tenth of the answers are 503, a tenth are cut, all are slow."""
    chance = random.Random(0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = (folder / self.path.lstrip("/")).read_bytes()
            said, draw = self.headers.get("Range"), chance.random()
            counted["requests"] = counted.get("requests", 0) + 1
            if draw < 0.1:
                counted["503"] = counted.get("503", 0) + 1
                self.send_error(503)
                return
            if said:
                first, last = said.removeprefix("bytes=").split("-")
                content = content[int(first) : int(last) + 1]
            self.send_response(206 if said else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if draw < 0.2:
                counted["cut"] = counted.get("cut", 0) + 1
                content = content[: len(content) // 2]
            for start in range(0, len(content), 1 << 16):
                time.sleep(0.001)
                self.wfile.write(content[start : start + (1 << 16)])

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


@contextmanager
def watched(place: Path) -> Iterator[list[int]]:
    """Give the most bytes that the files in a folder have while the block runs, when it has ended."""
    most, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            total = 0
            for path in place.glob("*"):
                with suppress(FileNotFoundError):
                    total += path.stat().st_size
            most[0] = max(most[0], total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def behind_a_server(shards: Path, place: Path, epochs: int) -> dict[str, Any]:
    index = index_of(shards)
    total = sum(shard.bytes for shard in index.shards)
    limit = max(int(total * 0.6), remote.needed_at_once(index)[1])
    os.environ[cache.VARIABLE] = str(limit / 2**30)
    os.environ["MOBILENETS_CACHE"] = str(place / "cache")
    remote.PIECE = 1 << 18
    counted: dict[str, int] = {}
    began = time.perf_counter()
    with server(shards, counted) as address, watched(place / "cache/shards") as most:
        trained(address, place / "served", epochs, 0)
        served = mobilenets.evaluate(place / "served", address)
    seconds = time.perf_counter() - began
    figures = mobilenets.evaluate(place / "shards-0", shards)
    return {
        **counted,
        "shards": len(index.shards),
        "set_mb": round(total / 1e6, 1),
        "limit_mb": round(limit / 1e6, 1),
        "most_in_cache_mb": round(most[0] / 1e6, 1),
        "in_limit": most[0] <= limit,
        "same_weights_as_from_the_disk": weights(place / "served") == weights(place / "shards-0"),
        "same_figures": all(served[one] == figures[one] for one in ("images", "loss", "top1", "confusion")),
        "images": served["images"],
        "top1": served["top1"],
        "seconds": round(seconds, 1),
    }


def from_disk(place: Path, options: argparse.Namespace, say: Callable[[str, dict[str, Any]], None]) -> None:
    """Compare the folder with its shards on the disk."""
    data = open_data(place / "shards")
    folder, shards = prepared(place / "folder"), prepared(data)
    say("samples", samples(folder, shards))
    say("speed", speed(folder, shards))
    say("memory", memory(shards))
    accuracy: dict[str, list[float]] = {"folder": [], "shards": []}
    for seed in range(options.seeds):
        for name in accuracy:
            accuracy[name].append(trained(place / name, place / f"{name}-{seed}", options.epochs, seed)["top1"])
    say("accuracy", accuracy)
    steps = (options.epochs - 1) * -(-len(shards.train) // BATCH) + len(shards.train) // BATCH // 3
    say("resume", resume(shards, place, weights(place / "shards-0"), options.epochs, steps))
    say("damage", damage(place / "shards"))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--shard-mb", type=float, default=4.0)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", choices=["server"], help="nothing but this, and the run from the disk beside it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result: dict[str, Any] = {}

    def say(part: str, found: dict[str, Any]) -> None:
        result[part] = found
        if not options.json:
            print(f"{part}: {json.dumps(found)}", flush=True)

    with tempfile.TemporaryDirectory() as top:
        place = Path(top)
        held = range(9, options.pictures, 10)
        learned = [number for number in range(options.pictures) if number not in held]
        write_fashion(place / "folder", {"train": ("train", learned), "validation": ("train", held)})
        began = time.perf_counter()
        packed = mobilenets.pack(place / "folder", place / "shards", shard_mb=options.shard_mb, workers=1)
        seconds = round(time.perf_counter() - began, 1)
        say("pack", {"shards": packed["shards"], "mb": round(packed["bytes"] / 1e6, 1), "seconds": seconds})
        if options.only == "server":
            trained(place / "shards", place / "shards-0", options.epochs, 0)
        else:
            from_disk(place, options, say)
        say("server", behind_a_server(place / "shards", place, options.epochs))
    if options.json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
