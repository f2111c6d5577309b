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

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from killing.children import ERRORS, Fault, child, finish, run, said
from killing.commands import Command, commands
from killing.files import contents, differing, torn
from report import arguments


@dataclass
class Found:
    """What became of the faults of one command."""

    boundaries: int = 0
    faults: int = 0
    met: int = 0
    problems: list[str] = field(default_factory=list)


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
    parser = arguments(__doc__)
    parser.add_argument("--faults", type=int, default=200, help="how many in all (default: 200)")
    parser.add_argument("--kind", choices=("kill", *ERRORS), default="kill")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="some of the commands")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    preload()
    began, total = time.monotonic(), Found()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name).resolve()
        known = commands(work)
        chosen = [one for one in known if one.name in (options.only or [one.name])]
        if len(chosen) < len(options.only or ()):
            parser.error(f"--only: choose from {', '.join(one.name for one in known)}")
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
