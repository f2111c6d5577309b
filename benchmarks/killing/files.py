"""What a fault left: whether every file is whole, and what of it an undisturbed run has otherwise."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors.numpy import load_file

# What holds the clock, or the names of folders and machines; all else has to be the same to the byte.
TIMED = {"history.csv", "metrics.json", "report.html", "recipe.json", "state.safetensors", "curves.png", "lr.png"}


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
