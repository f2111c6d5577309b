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

import argparse
import json
import time
from pathlib import Path
from typing import Any

import mobilenets
from mobilenets.datasets.folder import read_folder
from mobilenets.errors import MobilenetsError
from mobilenets.runs.predictor import Predictor
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
        except (MobilenetsError, TypeError) as error:
            print(f"{point['name']}: left out: {error}", flush=True)
            continue
        model = Predictor(folder, "cpu", threads=1)
        samples = read_folder(kept, model.classes).samples
        [found] = evaluate_predictors([model], samples, kept, workers=1)
        size = sum(file.stat().st_size for file in folder.glob("model.*") if file.suffix != ".json")
        line = point | {
            "top1": found.top1,
            "right": "".join("01"[int(rank == 0)] for rank in found.ranks),
            "bytes": size,
            "seconds": time.monotonic() - began[0],
            "cpu_seconds": time.process_time() - began[1],
        }
        with (work / POINTS).open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{point['name']}: {found.top1:.3f}, {line['cpu_seconds']:.0f} s of CPU", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Accuracy against measured time.")
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("train")
    for name in ("data", "kept", "work"):
        one.add_argument(name, type=Path)
    one.add_argument("--sizes", type=int, nargs=2, default=[64, 96])
    one.add_argument("--epochs", type=int, default=8)
    one.add_argument("--weights", type=Path)
    asked = vars(parser.parse_args())
    {"train": train}[asked.pop("part")](**asked)


if __name__ == "__main__":
    main()
