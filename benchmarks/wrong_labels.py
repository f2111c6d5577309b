"""Wrong labels planted in a folder of pictures: how many of them does ``train`` suspect, and how many others?

    python benchmarks/wrong_labels.py DATA --out DIR --pictures 2000 --wrong 20 [--set KEY=VALUE …] [--json FILE]
    python benchmarks/wrong_labels.py DATA --frozen MODEL --size 96 --draws 10 --pictures 2000 --wrong 20

DATA has one folder a class (or ``train/`` with such folders). Pictures are drawn evenly from its classes and copied;
each wrong label is drawn from the other classes. A suspect that was not planted counts as false, also where the label
was wrong before: the sheet ``DIR/others.png`` shows these, to be looked at by eye.

With ``--frozen`` nothing is trained: the features of a frozen network do not depend on labels, so they are computed
once, of up to three times so many pictures, for many draws of pictures and of wrong labels (seeds 1, 2, …). What
follows is what ``train --freeze backbone`` does at its end.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import time
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from report import arguments

import mobilenets
from mobilenets.datasets.folder import Sample
from mobilenets.datasets.folds import folds_of
from mobilenets.measure.wrong_labels import wrong_labels
from mobilenets.models.saved import load_classifier
from mobilenets.pictures.decode import decode
from mobilenets.training.probe import out_of_fold
from mobilenets.training.recipe import parse_setting

CELL = 96
STEPS = (6.0, 6.25, 6.5, 7.0, 7.5, 8.0, 9.0, 10.0)


def plant(data: Path, out: Path, pictures: int, wrong: int, seed: int) -> dict[str, str]:
    """Copy pictures into ``out``, ``wrong`` of them into the folder of another class; gives their true classes."""
    source = data / "train" if (data / "train").is_dir() else data
    classes = sorted(folder.name for folder in source.iterdir() if folder.is_dir())
    rng = random.Random(seed)
    drawn: list[tuple[str, Path]] = []
    queues = {name: sorted(path for path in (source / name).rglob("*") if path.is_file()) for name in classes}
    for queue in queues.values():
        rng.shuffle(queue)
    while len(drawn) < pictures and any(queues.values()):
        drawn += [(name, queues[name].pop()) for name in classes if queues[name]]
    drawn = drawn[:pictures]
    moved = set(rng.sample(range(len(drawn)), wrong))
    planted = {}
    for place, (name, path) in enumerate(drawn):
        folder = rng.choice([other for other in classes if other != name]) if place in moved else name
        target = out / folder / f"{place:05}{path.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        if place in moved:
            planted[target.relative_to(out).as_posix()] = name
    return planted


def measured(run: Path, planted: dict[str, str]) -> dict[str, Any]:
    """Compare the suspects in ``fixes.csv`` with what was planted."""
    path = run / "fixes.csv"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    rows = [row for row in csv.DictReader(text.splitlines()) if row["problem"] == "wrong_label"]
    found = [row for row in rows if row["path"] in planted]
    right = sum(row["suggestion"] == planted[row["path"]] for row in found)
    steps = {}
    for least in STEPS:
        some = [row for row in rows if float(row["score"]) >= least]
        hits = sum(row["path"] in planted for row in some)
        steps[f"{least:g}"] = {"suspects": len(some), "planted": hits}
    return {
        "planted": len(planted),
        "suspects": len(rows),
        "found": len(found),
        "right_class": right,
        "recall": len(found) / len(planted),
        "precision": len(found) / len(rows) if rows else None,
        "by_score": steps,
        "others": [row for row in rows if row["path"] not in planted],
    }


def sheet(data: Path, others: list[dict[str, str]], path: Path) -> None:
    """Draw the suspects that were not planted, with the label and the class suggested."""
    columns = 8
    image = Image.new("RGB", (columns * (CELL + 8), -(-len(others) // columns) * (CELL + 32) or 1), "white")
    draw = ImageDraw.Draw(image)
    for place, row in enumerate(others):
        x, y = place % columns * (CELL + 8), place // columns * (CELL + 32)
        with Image.open(data / row["path"]) as one:
            image.paste(one.convert("RGB").resize((CELL, CELL)), (x, y))
        draw.text((x, y + CELL), f"{row['path'].split('/')[0][:16]}\n> {row['suggestion'][:14]}", "black")
    image.save(path)


def frozen(options: argparse.Namespace) -> None:
    """Draw pictures and wrong labels again and again, with the features of one network."""
    torch.set_num_threads(1)
    source = options.data / "train" if (options.data / "train").is_dir() else options.data
    classes = sorted(folder.name for folder in source.iterdir() if folder.is_dir())
    rng, pool = np.random.default_rng(0), []
    for label, name in enumerate(classes):
        paths = sorted(path for path in (source / name).rglob("*") if path.is_file())
        some = rng.permutation(len(paths))[: 3 * options.pictures // len(classes) + 1]
        pool += [Sample(paths[place], label) for place in some]
    features, truth = pooled(options.frozen, pool, options.size), np.array([sample.label for sample in pool])
    for seed in range(1, options.draws + 1):
        rng = np.random.default_rng(seed)
        each = [rng.permutation(np.flatnonzero(truth == label)) for label in range(len(classes))]
        order = [place for row in zip_longest(*each) for place in row if place is not None][: options.pictures]
        labels = truth[order].copy()
        for place in rng.permutation(len(order))[: options.wrong]:
            labels[place] = rng.choice([label for label in range(len(classes)) if label != labels[place]])
        samples = [replace(pool[place], label=int(label)) for place, label in zip(order, labels, strict=True)]
        folds = np.array(folds_of(samples, classes, 5, seed, source))
        answers = out_of_fold(features[order], labels, len(classes), folds)
        planted = labels != truth[order]
        said = wrong_labels(labels, answers, min(STEPS))
        steps = {least: [one for one in said if one.score >= least] for least in STEPS}
        by_score = {f"{k:g}": f"{sum(planted[one.index] for one in some)} of {len(some)}" for k, some in steps.items()}
        top1 = float((answers.argmax(1) == truth[order]).mean())
        line = {"seed": seed, "pictures": len(order), "top1": round(top1, 4), "planted": int(planted.sum())}
        print(json.dumps(line | {"found": by_score}), flush=True)


def pooled(model: Path, samples: list[Sample], size: int) -> np.ndarray[Any, Any]:
    """Give what a network's blocks make of each picture, N×features."""
    saved = load_classifier(model)
    network, how, found = saved.network.eval(), replace(saved.bundle.preprocessing, size=size, crop_fraction=1.0), []
    for start in range(0, len(samples), 32):
        batch = np.stack([how(decode(sample.path)) for sample in samples[start : start + 32]])
        with torch.inference_mode():
            given = network.trunk(torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous(), len(network.body))
        found.append(given.flatten(1).numpy())
    return np.concatenate(found)


def main() -> None:
    """Plant, train, compare, print."""
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--frozen", type=Path, metavar="MODEL", help="a bundle or run whose features are taken")
    parser.add_argument("--draws", type=int, default=10, help="of --frozen")
    parser.add_argument("--size", type=int, default=96, help="of --frozen: pixels per side")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--wrong", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of train")
    parser.add_argument("--recipe")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.frozen is not None:
        frozen(options)
        return
    if options.out is None:
        parser.error("give --out DIR, or --frozen MODEL")
    planted = plant(options.data, options.out / "data", options.pictures, options.wrong, options.seed)
    pairs = (word.split("=", 1) for word in options.set)
    settings = {key: parse_setting(key)(value) for key, value in pairs}
    began = time.monotonic()
    run = options.out / "run"
    result = mobilenets.train(options.out / "data", run, recipe=options.recipe, **settings)
    figures = measured(run, planted)
    sheet(options.out / "data", figures["others"], options.out / "others.png")
    suspected = result["wrong_labels"] or {}
    figures |= {
        "data": options.data.name,
        "top1": result["top1"],
        "out_of_fold_top1": suspected.get("top1"),
        "seconds": time.monotonic() - began,
        "set": options.set,
        "seed": options.seed,
    }
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    print(json.dumps({key: value for key, value in figures.items() if key != "others"}, indent=2))


if __name__ == "__main__":
    main()
