"""What a kill can do: commands are killed while they write, or their disk is taken away, and the next one has to work.

    python benchmarks/kills.py --faults 200                  SIGKILL: at write boundaries, and at random moments
    python benchmarks/kills.py --faults 60 --kind full       no room from some boundary on
    python benchmarks/kills.py --faults 60 --kind readonly   no right to write from some boundary on

A write boundary is a moment at which a command opens a file for writing, renames, removes, makes a folder, or syncs. A
dry run counts those of a command, and of them evenly spaced ones are taken. After each fault every file under its final
name has to be the one before or the one after, whole; the command that follows (``--resume``, or the same again) has to
end well, in the bytes of a run that was never disturbed, and with nothing left that was written aside.

Each command runs in a process forked from this one, which has PyTorch loaded already. Plots are not rendered. Linux and
macOS. Prints one line a command, and ends with exit status 1 if anything was not as it should be.
"""

from __future__ import annotations

import argparse
import csv
import errno
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

WATCHED = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
ERRORS = {"full": errno.ENOSPC, "readonly": errno.EROFS}
# What holds the clock, or the names of folders and machines; all else has to be the same to the byte.
TIMED = {"history.csv", "metrics.json", "report.html", "recipe.json", "state.safetensors", "curves.png", "lr.png"}
SETTINGS = "--model mobilenet_v1_cifar --width 0.25 --size 16 --epochs 2 --batch 6 --lr 0.01"
MACHINE = "--threads 1 --workers 1 --device cpu"


@dataclass(frozen=True)
class Fault:
    """What happens in a child at its boundary number ``at``, from 0; None only counts."""

    kind: str
    at: int | None


@dataclass(frozen=True)
class Command:
    """A command and the one that follows a fault; ``prepare`` makes what it starts from in an empty folder."""

    name: str
    prepare: Callable[[Path], None]
    words: Callable[[Path], list[str]]
    after: Callable[[Path], list[str]]


@dataclass
class Found:
    """What became of the faults of one command."""

    boundaries: int = 0
    faults: int = 0
    met: int = 0
    problems: list[str] = field(default_factory=list)


def child(words: Sequence[str], place: Path, fault: Fault) -> int:
    """Run a command line in a forked process; returns its process id."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        with (place / "said").open("w") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        os.environ["MOBILENETS_CACHE"] = str(place / "cache")
        _undrawn()
        _watch(place, fault)
        from mobilenets.cli import main

        status = main(words)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _undrawn() -> None:
    """Have each plot written as one white pixel: the files are written as ever, in a hundredth of the time."""
    from matplotlib.figure import Figure

    def saved(self: Figure, file: Any, **_: Any) -> None:
        Image.new("RGB", (1, 1), "white").save(file, "png")

    Figure.savefig = saved


def _watch(place: Path, fault: Fault) -> None:
    """Count the boundaries of this process below ``place``, into the file ``boundaries``, and let the fault happen."""
    root, count = str(place), 0
    counted = os.open(place / "boundaries", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def meet(name: str) -> None:
        nonlocal count
        os.pwrite(counted, b"%d" % (count + 1), 0)
        if fault.at is not None and count >= fault.at:
            if fault.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            raise OSError(ERRORS[fault.kind], os.strerror(ERRORS[fault.kind]), name)
        count += 1

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event not in WATCHED or not given or not isinstance(given[0], (str, bytes)):
            return
        name = str(Path(os.fsdecode(given[0])).absolute())
        if not name.startswith(root) or (event == "open" and not (given[2] or 0) & WRITES):
            return
        # A full disk lets one remove; one that is read-only does not, and nobody would notice.
        if fault.kind != "kill" and (event in ("os.remove", "os.rmdir") or "-lock" in name or name.endswith("alive")):
            return
        meet(name)

    sync = os.fsync

    def synced(descriptor: int) -> None:
        known = Path(f"/proc/self/fd/{descriptor}")
        name = str(known.readlink()) if known.exists() else root
        if name.startswith(root):
            meet(name)
        sync(descriptor)

    os.fsync = synced
    sys.addaudithook(hook)


def finish(process: int) -> int:
    """Wait for a child; its exit status, or the signal that ended it as a negative number."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def run(words: Sequence[str], place: Path, fault: Fault = Fault("kill", None)) -> int:
    return finish(child(words, place, fault))


def said(place: Path) -> list[str]:
    return [line for line in (place / "said").read_text("utf-8", "replace").splitlines() if line.strip()]


def finals(place: Path) -> Iterator[Path]:
    """Give the files under their final names, outside the cache."""
    for path in sorted(place.rglob("*")):
        parts = path.relative_to(place).parts
        aside = any(part.startswith(".writing-") for part in parts)
        if path.is_file() and not aside and parts[0] not in ("cache", "said", "boundaries"):
            yield path


def contents(place: Path) -> dict[str, str]:
    return {str(path.relative_to(place)): sha256(path.read_bytes()).hexdigest() for path in finals(place)}


def whole(path: Path) -> bool:
    """Say whether a file that differs from run to run is complete."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".safetensors":
            load_file(path)
        elif path.suffix == ".png":
            Image.open(path).load()
        elif path.suffix == ".html":
            return path.read_text("utf-8").rstrip().endswith("</html>")
        elif path.suffix == ".csv":
            return path.read_text("utf-8").endswith("\n")
        return path.stat().st_size > 0
    except Exception:
        return False


def essence(path: Path) -> Any:
    """Give what a file that holds the clock says beside it."""
    if path.name == "history.csv":
        with path.open() as file:
            return [{k: v for k, v in row.items() if k != "images_per_second"} for row in csv.DictReader(file)]
    if path.name == "state.safetensors":
        return {name: value.tobytes() for name, value in load_file(path).items()}
    if path.name == "metrics.json":
        value = json.loads(path.read_bytes())
        return {k: v for k, v in value.items() if "seconds" not in k and k not in ("next_steps", "notes", "forecast")}
    return None


def torn(place: Path, before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Name the files that are neither as before nor as after, nor whole where each run writes its own."""
    return [
        f"{name} is neither old nor new"
        for name, digest in contents(place).items()
        if digest not in (before.get(name), after.get(name))
        # Training writes these more than once.
        and not (Path(name).name in {*TIMED, "model.safetensors", "model.json"} and whole(place / name))
    ]


def differing(place: Path, reference: Path) -> list[str]:
    """Name the files that are not those of an undisturbed run, and what was left aside."""
    ours, theirs = contents(place), contents(reference)
    wrong = [f"{name} is missing" for name in theirs if name not in ours]
    wrong += [f"{name} is left over" for name in ours if name not in theirs]
    for name in sorted(ours.keys() & theirs.keys()):
        if Path(name).name in TIMED:
            same = essence(place / name) == essence(reference / name)
        else:
            same = ours[name] == theirs[name]
        wrong += [] if same else [f"{name} has other bytes"]
    left = [path for path in place.rglob(".writing-*") if "cache" not in path.parts]
    return wrong + [f"{path.relative_to(place)} was left aside" for path in left]


def try_out(command: Command, faults: int, kind: str, work: Path, seed: int) -> Found:
    """Let faults happen to a command, each in a folder of its own, and look at what the next command makes of it."""
    found, rng = Found(), random.Random(f"{seed} {command.name}")
    start, reference, place = work / "start", work / "place-0", work / "place"
    for folder in (start, reference, place):
        shutil.rmtree(folder, ignore_errors=True)
    start.mkdir()
    command.prepare(start)
    before = contents(start)

    def fresh() -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(start, place)

    # In the same place as all others, because some files hold its name.
    fresh()
    began = time.monotonic()
    status = run(command.words(place), place)
    seconds = time.monotonic() - began
    if status:
        raise SystemExit(f"{command.name} fails undisturbed: {said(place)[-3:]}")
    found.boundaries = int((place / "boundaries").read_text())
    place.rename(reference)
    after = contents(reference)
    at_boundaries = min(found.boundaries, faults if kind != "kill" else round(faults * 0.65))
    plan: list[int | None] = [
        round(n * (found.boundaries - 1) / max(1, at_boundaries - 1)) for n in range(at_boundaries)
    ]
    plan += [None] * (faults - len(plan) if kind == "kill" else 0)
    for at in plan:
        fresh()
        process = child(command.words(place), place, Fault(kind, at))
        if at is None:
            time.sleep(rng.uniform(0, seconds))
            os.kill(process, signal.SIGKILL)
        status = finish(process)
        found.faults += 1
        found.met += status != 0
        where = "at random" if at is None else f"boundary {at}"
        lines = said(place)
        wrong = torn(place, before, after)
        if kind != "kill" and status:
            last = lines[-1] if lines else ""
            one = sum(line.startswith("mobilenets: ") for line in lines) == 1 and last.startswith("mobilenets: ")
            if status != 2 or not one or "Traceback" in " ".join(lines) or str(place) not in last or ";" not in last:
                wrong.append(f"ended with {status}: {last}")
        # Killed when all was done and only the draft was left to take away: an import is not done over.
        done = command.name == "import" and contents(place) == after
        if status and not done:
            again = run(command.after(place), place)
            if again:
                wrong.append(f"the next command ended with {again}: {said(place)[-1]}")
            else:
                wrong += differing(place, reference)
        found.problems += [f"{command.name}, {where}: {what}" for what in wrong]
    return found


def draw(folder: Path) -> None:
    for label, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            pixels = np.random.default_rng((label, number)).integers(0, 130, (20, 20, 3), np.uint8)
            pixels[..., label] += 90
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def commands(work: Path) -> list[Command]:
    """Give the commands; what they start from is made once, in ``work``."""
    data, model, foreign, half = (work / name for name in ("photos", "model", "foreign.pt", "half"))
    draw(data)
    _save_foreign(foreign)

    def have_model(place: Path) -> None:
        if not model.exists():
            _run_once(f"train {data} --out {model / 'run'} {SETTINGS} {MACHINE} --weights none", model)

    def train(place: Path) -> list[str]:
        return f"train {data} --out {place / 'run'} {SETTINGS} {MACHINE} --weights none".split()

    def frozen(place: Path) -> list[str]:
        more = f"{SETTINGS} {MACHINE} --freeze backbone --weights {model / 'run'} --views 2"
        return f"train {data} --out {place / 'run'} {more}".split()

    def resume(place: Path) -> list[str]:
        return f"train {data} --out {place / 'run'} --resume".split()

    def export(place: Path) -> list[str]:
        return f"export {place / 'run'} --out {place / 'out'} --data {data}".split()

    def brought(place: Path) -> list[str]:
        return f"import {foreign} --out {place / 'model'} --size 32".split()

    def evaluate(place: Path) -> list[str]:
        return f"evaluate {place / 'run'} {data} --out {place / 'out'} --accuracy 0.01".split()

    def trained(place: Path) -> None:
        have_model(place)
        shutil.copytree(model / "run", place / "run")

    def exported(place: Path) -> None:
        trained(place)
        _run_once(" ".join([*export(place), "--probabilities"]), place)

    def halfway(place: Path) -> None:
        """Give a run that was killed in its second epoch."""
        if not half.exists():
            half.mkdir()
            _run_once(" ".join(train(half)), half)
            count = int((half / "boundaries").read_text())
            shutil.rmtree(half / "run")
            assert run(train(half), half, Fault("kill", count * 6 // 10)) == -signal.SIGKILL
            assert (half / "run/checkpoint/state.safetensors").exists()
        shutil.copytree(half / "run", place / "run")

    return [
        Command("train", lambda _: None, train, lambda place: [*train(place), "--resume"]),
        Command("train on features", have_model, frozen, lambda place: [*frozen(place), "--resume"]),
        Command("train --resume", halfway, resume, resume),
        Command("export", trained, export, export),
        Command("export over an export", exported, export, export),
        Command("import", lambda _: None, brought, brought),
        Command("evaluate --out --accuracy", trained, evaluate, evaluate),
    ]


def _run_once(line: str, place: Path) -> None:
    place.mkdir(exist_ok=True)
    if run(line.split(), place):
        raise SystemExit("\n".join(said(place)))


def _save_foreign(path: Path) -> None:
    import torch

    import mobilenets

    torch.manual_seed(0)
    torch.save(mobilenets.create_model("mobilenet_v2", classes=3, width=0.25, size=32).state_dict(), path)


def preload() -> None:
    """Load what every command needs, so that a forked one begins at once; nothing is computed here."""
    import matplotlib.figure
    import onnx
    import onnxruntime
    import torch

    import mobilenets.verbs.evaluate
    import mobilenets.verbs.export
    import mobilenets.verbs.import_weights
    import mobilenets.verbs.train

    torch.set_num_threads(1)
    assert matplotlib and onnx and onnxruntime and mobilenets


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200, help="how many in all (default: 200)")
    parser.add_argument("--kind", choices=("kill", *ERRORS), default="kill")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="some of the commands")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    preload()
    began, total = time.monotonic(), Found()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name).resolve()
        chosen = [one for one in commands(work) if not options.only or one.name in options.only]
        for number, command in enumerate(chosen):
            share = options.faults * (number + 1) // len(chosen) - options.faults * number // len(chosen)
            found = try_out(command, share, options.kind, work, options.seed)
            print(
                f"{command.name}: {found.boundaries} write boundaries, {found.faults} faults, {found.met} met it, "
                f"{len(found.problems)} problems",
                flush=True,
            )
            for line in found.problems:
                print(f"  {line}", flush=True)
            total.faults += found.faults
            total.met += found.met
            total.problems += found.problems
    seconds = time.monotonic() - began
    what = f"{total.faults} faults, {total.met} met a command"
    print(f"{options.kind}: {what}, {len(total.problems)} problems, {seconds:.0f} s")
    return int(bool(total.problems))


if __name__ == "__main__":
    sys.exit(main())
