"""A student taught by a larger network against the same one trained alone, in the same number of steps.

    mobilenets import dog_breed_mobilenetv2.h5 --out dog      # examples/garbage/README.md says where it comes from
    python benchmarks/distillation.py OUT --weights dog [--seeds 5] [--steps 396] [--arms alone kl …]
    python benchmarks/distillation.py OUT --weights none --data DATA --unlabelled FOLDER --size 48 --teacher-size 48

On the drawn garbage (``examples/garbage/draw.py``: 26 kinds, 1,040 training and 312 validation pictures) unless DATA is
another folder. The teacher is MobileNetV2 1.0 at 96 pixels from WEIGHTS by the default recipe, the student V2 0.35 at
64 from scratch, both on one thread, unless other sizes are given. The last epoch is kept, so that nothing is chosen on
the validation pictures. Everything goes into OUT; what is finished there is not trained again, and a training that was
stopped goes on.

- ``alone``: the labels.
- ``kl``: the defaults of ``--teacher``. ``kl-1`` and ``kl-half``: at temperature 1, and with half the loss the labels'.
- ``features``: as ``kl``, and the features are compared with a weight of 2.
- ``dist``: ``--soft-loss dist`` with the temperature of 1 that its paper has for ImageNet.
- ``unlabelled``: as ``kl``, with pictures that have no label, by default 2,080 more scenes. An epoch is longer, and so
  there are fewer. ``unlabelled-1``: the same at temperature 1.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from report import arguments, heads, machine, row, versions

import mobilenets
from mobilenets.datasets.folder import read_folder
from mobilenets.datasets.layout import find_data
from mobilenets.measure.paired import Pair
from mobilenets.runs.predictor import Predictor
from mobilenets.tasks.evaluate import evaluate_predictors

DRAW = Path(__file__).resolve().parents[1] / "examples" / "garbage" / "draw.py"
ARMS: dict[str, dict[str, Any]] = {
    "alone": {},
    "kl": {},
    "kl-1": {"temperature": 1.0},
    "kl-half": {"soft_share": 0.5},
    "features": {"feature_weight": 2.0},
    "dist": {"soft_loss": "dist", "temperature": 1.0, "soft_share": 0.67},
    "unlabelled": {},
    "unlabelled-1": {"temperature": 1.0},
}
STUDENT = {"model": "mobilenet_v2", "width": 0.35, "weights": "none", "variant": "standard"}
COMMON = {"keep": "last", "threads": 1, "device": "cpu"}
# Two-sided 95 % of Student's t, by the degrees of freedom.
T_95 = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def drawn(folder: Path, pictures: int, seed: int) -> Path:
    """Draw a set of garbage, unless it is there."""
    if not folder.exists():
        command = [sys.executable, str(DRAW), str(folder), "--pictures", str(pictures), "--seed", str(seed)]
        subprocess.run([*command, "--size", "160"], check=True, stdout=subprocess.DEVNULL)
    return folder


def flat(out: Path) -> Path:
    """Give a flat folder of scenes without labels, drawn by another seed."""
    folder = out / "unlabelled"
    if not folder.exists():
        scenes = drawn(out / "more", 80, 1)
        aside = out / "unlabelled-aside"
        aside.mkdir(exist_ok=True)
        for number, path in enumerate(sorted((scenes / "train").rglob("*.jpg"))):
            shutil.copy(path, aside / f"{number:05}.jpg")
        aside.rename(folder)
    return folder


def trained(data: Path, run: Path, settings: dict[str, Any]) -> float:
    """Train, or go on, unless it is done; returns the seconds that it took."""
    if not (run / "metrics.json").exists():
        begun = (run / "recipe.json").exists()
        mobilenets.train(data, run, resume=begun, **({} if begun else settings))
    return float(json.loads((run / "metrics.json").read_bytes())["total_seconds"])


def right(runs: list[Path], data: Path) -> list[Any]:
    """Evaluate runs on the validation pictures, or on all where there is one half alone."""
    layout, predictors = find_data(data), [Predictor(run, threads=1) for run in runs]
    samples = read_folder(layout.validation or layout.train, predictors[0].classes).samples
    return evaluate_predictors(predictors, samples, layout.root)


def interval(values: list[float]) -> str:
    """Show the mean and its 95 % interval over seeds, in points."""
    mean = 100 * statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:+.1f}"
    half = 100 * T_95[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def over_pictures(first: list[Any], second: list[Any]) -> str:
    """Show the change and its 95 % interval over pictures, each counted by its mean over the seeds."""
    hits = [np.mean([one.ranks == 0 for one in arm], axis=0) for arm in (first, second)]
    change = 100 * (hits[1] - hits[0])
    half = 1.96 * change.std(ddof=1) / math.sqrt(len(change))
    return f"{change.mean():+.1f} ({change.mean() - half:+.1f} to {change.mean() + half:+.1f})"


def show(found: dict[str, list[Any]], seconds: dict[str, list[float]], first: int) -> None:
    """Print a row for each arm, and then each seed of each arm against ``alone``."""
    print()
    print(heads("arm", "top-1 of each seed", "mean", "against alone, over seeds", "over pictures", "seconds a run"))
    base = found.get("alone")
    for arm, evaluations in found.items():
        tops = [one.top1 for one in evaluations]
        pairs = list(zip(base or (), evaluations, strict=False))
        against = ["", ""]
        if arm != "alone" and pairs:
            against = [interval([other.top1 - one.top1 for one, other in pairs])]
            against.append(over_pictures([one for one, _ in pairs], [other for _, other in pairs]))
        each = " ".join(f"{100 * top:.1f}" for top in tops)
        spent = statistics.fmean(seconds[arm])
        print(row(arm, each, f"{100 * statistics.fmean(tops):.1f} %", *against, f"{spent:.0f}"))
    for arm, evaluations in found.items():
        if arm == "alone" or base is None:
            continue
        for seed, (one, other) in enumerate(zip(base, evaluations, strict=False), first):
            pair = Pair(one, other)
            low, high = pair.top1_change_interval
            print(f"{arm} seed {seed}: {100 * pair.top1_change:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})")


def main() -> None:
    """Read the command line, train what is missing, and print the table after each seed."""
    parser = arguments(__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", required=True, help="what the teacher starts from")
    parser.add_argument("--data", type=Path, help="default: the garbage is drawn")
    parser.add_argument("--unlabelled", type=Path, help="default: more garbage is drawn")
    parser.add_argument("--measure", type=Path, help="labelled pictures that count, in place of the validation ones")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--teacher-size", type=int, default=96)
    parser.add_argument("--teacher-smoothing", type=float, default=0.1, help="label smoothing of the teacher")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--steps", type=int, default=396)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["alone", "kl", "dist", "unlabelled"])
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    data = asked.data or drawn(asked.out / "garbage", 40, 0)
    print(f"{machine()}; one thread; {versions('mobilenets', 'torch', 'numpy', 'pillow')}")
    teacher = asked.out / "teacher"
    given = {"weights": asked.weights, "size": asked.teacher_size, "label_smoothing": asked.teacher_smoothing}
    took = trained(data, teacher, COMMON | given)
    counted = asked.measure or data
    print(f"teacher: {100 * right([teacher], counted)[0].top1:.1f} %, {took:.0f} s")
    runs: dict[str, list[Path]] = {arm: [] for arm in asked.arms}
    seconds: dict[str, list[float]] = {arm: [] for arm in asked.arms}
    for seed in range(asked.first, asked.first + asked.seeds):
        for arm in asked.arms:
            length = {"size": asked.size, "steps": asked.steps, "batch": 32, "seed": seed}
            settings = STUDENT | COMMON | length | ARMS[arm]
            if arm != "alone":
                settings["teacher"] = str(teacher)
            if arm.startswith("unlabelled"):
                settings["unlabelled"] = str(asked.unlabelled or flat(asked.out))
            run = asked.out / f"{arm}-{seed}"
            seconds[arm].append(trained(data, run, settings))
            runs[arm].append(run)
        show({arm: right(found, counted) for arm, found in runs.items()}, seconds, asked.first)


if __name__ == "__main__":
    main()
