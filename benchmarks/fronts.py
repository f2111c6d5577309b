"""Accuracy against measured time: V1, V2 and V3 at three widths and two sizes, pruned, distilled, float and int8.

    python benchmarks/fronts.py train DATA KEPT WORK [--sizes 64 96] [--epochs 8] [--weights MODEL]
    python benchmarks/fronts.py time WORK [--seconds 2]
    python benchmarks/fronts.py report WORK OUT.png

``train`` trains a short run for each point on DATA and measures it on the pictures of KEPT, class folders that nothing
was chosen on; all of a kind get the same epochs. What is pruned goes on for half of them from V2 1.0, so the plain
narrower networks that it has to beat are trained for one and a half times as many. ``--weights`` adds a V2 1.0 that
begins with a trained model, and what is pruned of it. A line of WORK/points.jsonl is a point; the same command goes on
where it stopped. ``time`` measures all in ONNX Runtime on one thread, in turns, and is best run on a quiet machine.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from report import arguments, heads, row

import mobilenets
from mobilenets.base.files import write_json
from mobilenets.bench.networks import onnx_bytes
from mobilenets.datasets.folder import read_folder
from mobilenets.drawing.front import front_figure
from mobilenets.drawing.style import save
from mobilenets.errors import MobilenetsError
from mobilenets.models.saved import load_classifier
from mobilenets.runs.predictor import Predictor
from mobilenets.shrinking.candidates import Candidate
from mobilenets.shrinking.front import Point, compared, front
from mobilenets.shrinking.latency import times
from mobilenets.tasks.evaluate import evaluate_predictors
from mobilenets.verbs.train import train_since

NETWORKS = {
    "mobilenet_v1": (1.0, 0.5, 0.25),
    "mobilenet_v2": (1.0, 0.5, 0.35),
    "mobilenet_v3_small": (1.0, 0.75, 0.5),
}
POINTS = "points.jsonl"


def wanted(sizes: list[int], epochs: int, weights: Path | None) -> list[dict[str, Any]]:
    """List the points in the order in which they are made."""
    small, large = sizes
    longer, more = epochs + epochs // 2, epochs // 2
    whole = f"mobilenet_v2-1-{large}"
    points: list[dict[str, Any]] = []

    def anew(network: str, width: float, size: int, **others: Any) -> dict[str, Any]:
        settings = {"model": network, "width": width, "size": size, "epochs": epochs, "weights": "none"} | others
        tail = "".join(
            f"-{word}" for word in (others.get("name"), "long" if settings["epochs"] > epochs else "") if word
        )
        settings.pop("name", None)
        return {"name": f"{network}-{width:g}-{size}{tail}", "how": "anew", "settings": settings}

    points += [anew("mobilenet_v2", 1.0, large)]
    points += [
        {"name": f"{whole}-pruned-{to}", "how": "prune", "of": whole, "to": to / 100, "epochs": more} for to in (70, 50)
    ]
    points += [anew("mobilenet_v2", width, large, epochs=longer) for width in (1.0, 0.75, 0.5)]
    points += [anew(name, width, large) for name, widths in NETWORKS.items() for width in widths]
    if weights is not None:
        begun = anew("mobilenet_v2", 1.0, large, weights=str(weights), freeze="none", name="trained")
        points += [begun]
        points += [
            {
                "name": f"{begun['name']}-pruned-{to}",
                "how": "prune",
                "of": begun["name"],
                "to": to / 100,
                "epochs": more,
            }
            for to in (70, 50)
        ]
    points += [anew(name, width, small) for name, widths in NETWORKS.items() for width in widths]
    taught = [anew("mobilenet_v2", 0.5, large, epochs=longer, teacher=whole, name="taught")]
    if weights is not None:
        taught += [
            anew("mobilenet_v2", 0.5, large, epochs=longer, teacher=f"{whole}-trained", name="taught-by-trained")
        ]
    points += taught
    floats = list({point["name"]: point for point in points}.values())
    return floats + [
        {"name": f"{point['name']}-int8", "how": "int8", "of": point["name"]}
        for point in floats
        if f"-{large}" in point["name"]
    ]


def read(work: Path) -> dict[str, dict[str, Any]]:
    """Give the points there are, by name."""
    file = work / POINTS
    lines = file.read_text().splitlines() if file.is_file() else []
    return {point["name"]: point for point in map(json.loads, lines)}


def make(point: dict[str, Any], data: Path, work: Path) -> Path:
    """Train, prune or export; returns the folder of what came of it."""
    folder = work / point["name"]
    if point["how"] == "prune":
        mobilenets.prune(work / point["of"], data, to=point["to"], steps=1, epochs=point["epochs"], out=folder)
    elif point["how"] == "int8":
        mobilenets.export(work / point["of"], folder, precision="int8", data=data, tolerance=100)
    else:
        settings = dict(point["settings"])
        if "teacher" in settings:
            settings["teacher"] = str(work / settings["teacher"])
        begun = (folder / "recipe.json").exists()
        usual = {"keep": "last", "variant": "standard", "batch": 16, "threads": 1}
        train_since(time.monotonic(), data, folder, measured=False, **({"resume": True} if begun else usual | settings))
    return folder


def train(data: Path, kept: Path, work: Path, sizes: list[int], epochs: int, weights: Path | None) -> None:
    """Make the points that are missing."""
    work.mkdir(parents=True, exist_ok=True)
    for point in wanted(sizes, epochs, weights):
        if point["name"] in read(work):
            continue
        began = time.monotonic(), time.process_time()
        try:
            folder = make(point, data, work)
        except MobilenetsError as error:
            print(f"{point['name']}: left out: {error}", flush=True)
            continue
        model = Predictor(folder, "cpu", threads=1)
        samples = read_folder(kept, model.classes).samples
        [found] = evaluate_predictors([model], samples, kept, workers=1)
        line = point | {
            "top1": found.top1,
            "right": "".join("01"[int(rank == 0)] for rank in found.ranks),
            "seconds": time.monotonic() - began[0],
            "cpu_seconds": time.process_time() - began[1],
        }
        with (work / POINTS).open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{point['name']}: {found.top1:.3f}, {line['cpu_seconds']:.0f} s of CPU", flush=True)


def measure(work: Path, seconds: float) -> None:
    """Time all points, in turns with the first."""
    names = [name for name, point in read(work).items() if "top1" in point]
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as aside:

        def make(name: str) -> tuple[Path, int]:
            """Say where a model is, and the bytes of its weights or file; its multiply-accumulates go to ``rows``."""
            if name.endswith("-int8"):
                rows[name] = {"macs": 0, "bytes": (work / name / "model.onnx").stat().st_size}
                return work / name, rows[name]["bytes"]
            network, file = load_classifier(work / name).network, Path(aside) / f"{name}.onnx"
            file.write_bytes(onnx_bytes(network))
            rows[name] = {"macs": network.plan.macs, "bytes": 4 * network.plan.parameters}
            return file, rows[name]["bytes"]

        first, _ = make(names[0])
        _, *timed = times(first, [partial(make, name) for name in names], 1, seconds)
    for name, one in zip(names, timed, strict=True):
        rows[name]["ms"] = one.ms
    write_json(work / "times.json", rows)


def points_of(work: Path) -> dict[str, Point]:
    """Give what was trained and timed as the points of ``shrink``."""
    timed, found = json.loads((work / "times.json").read_text()), {}
    lines = read(work)
    for name in timed:
        line, precision = lines[name], "float32"
        if line["how"] == "int8":
            line, precision = lines[line["of"]], "int8"
        settings = line["settings"] if "settings" in line else lines[line["of"]]["settings"]
        how = {"prune": "pruned"}.get(line["how"], "run" if "-1-" in name and "mobilenet_v2" in name else "anew")
        candidate = Candidate(how, settings["model"], settings["width"], settings["size"], taught="taught" in name)
        own = timed[name.removesuffix("-int8")]
        epochs = settings["epochs"] + (line["epochs"] if line["how"] == "prune" else 0)
        about = {"ms": timed[name]["ms"], "bytes": timed[name]["bytes"], "macs": own["macs"], "epochs": epochs}
        answers = {"choosing": "", "reporting": lines[name]["right"]}
        found[name] = Point(candidate, precision, 0, estimated=False, seconds=0.0, folder=name, **about, **answers)
    return found


def report(work: Path, out: Path) -> None:
    """Print a table, and what each step gained or lost; draw the chart."""
    points = points_of(work)
    best = {point.folder for point in front([*points.values()])}
    rows = sorted(points.values(), key=lambda one: one.ms)
    head = ["network", "ms", "MMACs", "MB", "epochs", "top-1", "95 % interval", "front"]
    print(heads(*head))
    for one in rows:
        low, high = one.interval
        name, mark = one.folder.removeprefix("mobilenet_"), "✓" * (one.folder in best)
        costs = f"{one.ms:.2f}", f"{one.macs / 1e6:.1f}", f"{one.bytes / 1e6:.2f}", one.epochs
        print(row(name, *costs, f"{100 * one.top1:.1f}", f"{100 * low:.1f} to {100 * high:.1f}", mark))
    print(f"\n{heads('second against first', 'time', 'points', '95 % interval')}")
    for first, second in steps(points):
        found, ratio = compared(points[first], points[second]), points[second].ms / points[first].ms
        low, high = found["change_interval"]
        words = f"{second.removeprefix('mobilenet_')} against {first.removeprefix('mobilenet_')}"
        print(row(words, f"× {ratio:.2f}", f"{100 * found['change']:+.1f}", f"{100 * low:+.1f} to {100 * high:+.1f}"))
    summaries = [point.summary() | {"name": point.folder.removeprefix("mobilenet_")} for point in rows]
    names = [point.folder.removeprefix("mobilenet_") for point in rows if point.folder in best]
    figures = {"points": summaries, "front": names, "images": len(rows[0].reporting), "threads": 1}
    save(front_figure(figures), out)


def steps(points: Mapping[str, Point]) -> list[tuple[str, str]]:
    """Pair what is to be compared: each step with what it began from, and pruned with the plain narrower networks."""
    found = []
    for name, point in points.items():
        whole = name.partition("-pruned")[0]
        if name.endswith("-int8"):
            found.append((name.removesuffix("-int8"), name))
        elif "-pruned" in name:
            longer = [one for one in points if one.endswith("-long") and points[one].candidate.width < 1]
            found += [(one, name) for one in (whole, f"{whole}-long", *longer)]
        elif point.candidate.taught:
            found.append((f"mobilenet_v2-0.5-{point.candidate.size}-long", name))
    return [pair for pair in found if pair[0] in points]


def main() -> None:
    """Read the command line."""
    parser = arguments(__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("train")
    for name in ("data", "kept", "work"):
        one.add_argument(name, type=Path)
    one.add_argument("--sizes", type=int, nargs=2, default=[64, 96])
    one.add_argument("--epochs", type=int, default=8)
    one.add_argument("--weights", type=Path)
    two = parts.add_parser("time")
    two.add_argument("work", type=Path)
    two.add_argument("--seconds", type=float, default=2.0)
    three = parts.add_parser("report")
    for name in ("work", "out"):
        three.add_argument(name, type=Path)
    asked = vars(parser.parse_args())
    {"train": train, "time": measure, "report": report}[asked.pop("part")](**asked)


if __name__ == "__main__":
    main()
