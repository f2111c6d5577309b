"""The commands that are disturbed, what each starts from, and what follows it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from killing.children import Fault, run, said
from mobilenets.datasets.boxes.shapes import draw_boxes_set

SETTINGS = "--model mobilenet_v1_cifar --width 0.25 --size 16 --epochs 2 --batch 6 --lr 0.01"
MACHINE = "--threads 1 --workers 1 --device cpu"
BOXES = "--width 0.1 --size 64 --weights none --epochs 2 --batch 4 --no-self-test"


@dataclass(frozen=True)
class Command:
    """A command and the one that follows a fault; ``prepare`` makes what it starts from in an empty folder."""

    name: str
    prepare: Callable[[Path], None]
    words: Callable[[Path], list[str]]
    after: Callable[[Path], list[str]]


def draw(folder: Path) -> None:
    for label, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            pixels = np.random.default_rng((label, number)).integers(0, 130, (20, 20, 3), np.uint8)
            pixels[..., label] += 90
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def commands(work: Path) -> list[Command]:
    """Give the commands; what they start from is made once, in ``work``."""
    names = ("photos", "boxes", "model", "detector", "foreign.pt", "half")
    data, boxes, model, detector, foreign, half = (work / name for name in names)
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

    def train_boxes(place: Path) -> list[str]:
        return f"train {boxes} --out {place / 'run'} {BOXES} {MACHINE}".split()

    def export_boxes(place: Path) -> list[str]:
        return f"export {place / 'run'} --out {place / 'out'} --data {boxes} --nms".split()

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

    def have_boxes(place: Path) -> None:
        if not boxes.exists():
            draw_boxes_set(boxes, 10)

    def trained_boxes(place: Path) -> None:
        have_boxes(place)
        if not detector.exists():
            _run_once(f"train {boxes} --out {detector / 'run'} {BOXES} {MACHINE}", detector)
        shutil.copytree(detector / "run", place / "run")

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
        Command("train boxes", have_boxes, train_boxes, lambda place: [*train_boxes(place), "--resume"]),
        Command("export boxes", trained_boxes, export_boxes, export_boxes),
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
