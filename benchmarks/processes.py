"""One training over several processes: is it the same training, and what happens when one of them is killed.

    python benchmarks/processes.py OUT [float64] [float32] [fine-tuning] [killed]

Digits (1,438 training pictures of 8×8, enlarged to 16), batches of 13 or 12, gloo on this machine:

1. The samples that 1, 2 and 3 processes see, in order, with Mixup and CutMix on; and how far the losses of 100 steps
   with synchronised BatchNorm are apart: from random weights in float64 and float32, and in float32 fine-tuning a
   trained model with the settings that ``train`` chooses. Rounding grows from step to step, also between two runs of
   one process: beside them stands one whose weights begin one part in a million away.
2. One of two processes is killed in mid-epoch: seconds until the other and torchrun have ended, and what is said. Then
   the run is resumed with 2, 1 and 3 processes: are the samples exactly those that were not yet seen, and does it end
   in the same bytes as a run that was never killed?

Each process notes its samples and losses in a file; apart from that it is ``torchrun -m mobilenets train …``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

COMMON = ["--size", "16", "--batch", "13", "--device", "cpu", "--threads", "1", "--workers", "1", "--seed", "3"]
COMMON += ["--augment", "digits"]
NEW = ["--model", "mobilenet_v1_cifar", "--width", "0.25", "--weights", "none", "--freeze", "none"]
SETTINGS = [*NEW, *COMMON]
STEADY = ["--optimizer", "sgd", "--lr", "0.01"]
MIXED = ["--mixup", "0.2", "--cutmix", "1"]
MOVED = 1e-6
ITEMS = ["float64", "float32", "fine-tuning", "killed"]


def noted(folder: Path, words: list[str]) -> int:
    """Be one process of a training that notes each sample and each loss; with ``--double`` in float64."""
    import torch

    from mobilenets.cli import main
    from mobilenets.datasets.loader import Loader
    from mobilenets.training.loop import Training
    from mobilenets.training.steppers.plain import PlainStepper

    rank, double, moved = os.environ.get("RANK", "0"), "--double" in words, "--moved" in words
    words = [word for word in words if word not in ("--double", "--moved")]
    with (folder / f"{rank}.jsonl").open("w", buffering=1) as notes:

        def note(**what: Any) -> None:
            notes.write(json.dumps(what) + "\n")

        note(pid=os.getpid())
        batch, step, fit = Loader.batch, PlainStepper.step, Training.fit
        fitting: list[Training] = []  # what is only timed, or drawn, is not noted

        def batch_noted(self: Loader, indices: Any, epoch: int, start: int) -> Any:
            made = batch(self, indices, epoch, start)
            if self.augment is not None and fitting:
                own = [str(self.samples[i].path) for i in indices[made.first : made.first + len(made)]]
                note(epoch=epoch, start=start, place=start + made.first, samples=own)
            return made

        def step_noted(self: PlainStepper, group: Any, number: int, rate: float) -> Any:
            if moved and fitting and not number:
                draws = torch.Generator().manual_seed(5)
                with torch.no_grad():
                    for weights in self.network.parameters():
                        weights.mul_(1 + MOVED * torch.randn(weights.shape, generator=draws))
            if double and fitting:
                self.network.double()
                group = [replace(one, images=one.images.astype("float64")) for one in group]
            sums = step(self, group, number, rate)
            if fitting:
                note(step=number, loss=sums["loss"] / sum(one.pictures for one in group))
            if double and fitting and number == 99:
                os._exit(0)  # nothing else takes float64
            return sums

        def fit_noted(self: Training) -> Any:
            fitting.append(self)
            try:
                return fit(self)
            finally:
                fitting.clear()

        Loader.batch, PlainStepper.step, Training.fit = batch_noted, step_noted, fit_noted  # type: ignore[method-assign]
        return main(words)


def start(folder: Path, processes: int, words: list[str]) -> subprocess.Popen[str]:
    """Start a training whose processes note what they do in ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*(launcher if processes > 1 else [sys.executable]), __file__, "--noted", str(folder), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def finished(folder: Path, processes: int, words: list[str]) -> str:
    """Have a training run to its end."""
    process = start(folder, processes, words)
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} in {processes} processes failed:\n{said}")
    return said


def lines(folder: Path) -> Iterator[dict[str, Any]]:
    """Read what all processes have noted so far, one after the other."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            if line.endswith("}"):
                yield json.loads(line)


def samples(folder: Path) -> dict[tuple[int, int], str]:
    """Give the sample at each place of each epoch."""
    found: dict[tuple[int, int], str] = {}
    for line in lines(folder):
        for place, name in enumerate(line.get("samples", ()), line.get("place", 0)):
            key = (line["epoch"], place)
            assert found.get(key, name) == name, f"two samples at {key}"
            found[key] = name
    return found


def losses(folder: Path) -> dict[int, float]:
    """Give the loss of each step; all processes have the same."""
    found: dict[int, float] = {}
    for line in lines(folder):
        if "step" in line:
            assert found.get(line["step"], line["loss"]) == line["loss"], "the processes disagree"
            found[line["step"]] = line["loss"]
    return found


def same_training(data: Path, out: Path, case: str) -> None:
    """Do one case of item 1."""
    settings = [*NEW, *STEADY, *(["--double"] if case == "float64" else [])]
    if case == "fine-tuning":
        settings = ["--weights", str(out / "source")]
        finished(out / "notes", 1, ["train", str(data), "--out", settings[1], "--epochs", "10", *SETTINGS])
    seen, loss = [], []
    for count, more in ((1, []), (2, []), (3, []), (1, ["--moved"])):
        notes = out / f"notes-{case}-{count}{''.join(more)}"
        words = ["train", str(data), "--out", str(notes / "run"), "--steps", "100"]
        finished(notes, count, [*words, *COMMON, *settings, *MIXED, *more])
        seen.append(samples(notes))
        loss.append(losses(notes))
    two, three, moved = (max(abs(loss[0][step] - other[step]) for step in loss[0]) for other in loss[1:])
    print(
        f"{case}: {len(seen[0])} samples, the same in 1, 2 and 3 processes: {seen[0] == seen[1] == seen[2]}; largest "
        f"difference of a loss in {len(loss[0])} steps from 1 process: 2 processes {two:.1e}, 3 processes {three:.1e}, "
        f"1 that begins {MOVED:g} away {moved:.1e} (losses {max(loss[0].values()):.2f} to {min(loss[0].values()):.2f})",
        flush=True,
    )


def killed(data: Path, out: Path) -> None:
    """Item 2."""
    settings = [*SETTINGS, *MIXED, "--steps", "30"]
    finished(out / "notes-whole", 2, ["train", str(data), "--out", str(out / "whole"), *settings])
    whole = samples(out / "notes-whole")
    run, notes = out / "killed", out / "notes-killed"
    process = start(notes, 2, ["train", str(data), "--out", str(run), *settings])
    while sum("step" in line for line in lines(notes)) < 2 * 12:
        time.sleep(0.05)
    first, second = (json.loads((notes / f"{rank}.jsonl").read_text().splitlines()[0])["pid"] for rank in (0, 1))
    os.kill(second, signal.SIGKILL)
    began = time.monotonic()
    while Path(f"/proc/{first}").exists() and Path(f"/proc/{first}/stat").read_text().split()[2] != "Z":
        time.sleep(0.02)
    other = time.monotonic() - began
    said, _ = process.communicate()
    print(f"killed rank 1: rank 0 ended after {other:.1f} s, torchrun after {time.monotonic() - began:.1f} s")
    print("\n".join(f"  {line}" for line in said.splitlines() if line.startswith("mobilenets:")))
    from mobilenets.training.checkpoint import peek

    state = peek(run)
    left = {key: name for key, name in whole.items() if key >= (state.epoch, state.seen)}
    print(f"  the checkpoint has epoch {state.epoch}, step {state.step}, {state.seen} samples; {len(left)} are left")
    for count in (2, 1, 3):
        again, notes = out / f"again-{count}", out / f"notes-again-{count}"
        shutil.copytree(run, again)
        finished(notes, count, ["train", str(data), "--out", str(again), "--resume"])
        same = (again / "model.safetensors").read_bytes() == (out / "whole" / "model.safetensors").read_bytes()
        print(
            f"resumed in {count}: exactly those samples: {samples(notes) == left}; the same bytes: {same}", flush=True
        )


def main() -> None:
    """Do all, or what is named."""
    out, wanted = Path(sys.argv[1]), sys.argv[2:] or ITEMS
    if unknown := set(wanted) - {*ITEMS}:
        raise SystemExit(f"{', '.join(sorted(unknown))}: give some of {', '.join(ITEMS)}")
    shutil.rmtree(out, ignore_errors=True)
    data = out / "digits"
    subprocess.run([sys.executable, "-m", "mobilenets", "fetch", "digits", str(data)], check=True, capture_output=True)
    for item in wanted:
        if item == "killed":
            killed(data, out)
        else:
            same_training(data, out, item)


if __name__ == "__main__":
    if sys.argv[1] == "--noted":
        raise SystemExit(noted(Path(sys.argv[2]), sys.argv[3:]))
    main()
