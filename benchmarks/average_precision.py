"""Average precision beside pycocotools: random cases, and how long both take.

    pip install pycocotools==2.0.11
    python benchmarks/average_precision.py compare --cases 1000
    python benchmarks/average_precision.py time --pictures 1000
    python benchmarks/average_precision.py coverage          # of the bootstrap's intervals
    python benchmarks/average_precision.py fixture tests/fixtures/pycocotools.json

The cases have crowds, pictures without boxes, classes without boxes, scores that are tied, boxes at the borders between
sizes, and more than 100 boxes of a class in a picture.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobilenets.measure.average_precision import average_precision, mean_of_known
from mobilenets.measure.detection import DetectionEvaluation
from mobilenets.pictures.boxes import Boxes
from mobilenets.runtime.detections import Detections

FIXTURE_CASES = 60
SIDES = (8.0, 31.75, 32.0, 40.0, 96.0, 96.25, 150.0)


def case(seed: int) -> tuple[int, list[Boxes], list[Detections]]:
    """Make a case: how many classes, what is there, what was found.

    From Python's own random numbers, whose stream is the same in every version.
    """
    rng = random.Random(seed)

    def below(number: int) -> int:
        return int(rng.random() * number)

    def box(around: list[float] | None = None) -> list[float]:
        if around is None:
            x, y = below(1200) / 4, below(1200) / 4
            across, down = SIDES[below(7)] + below(9) / 4, SIDES[below(7)] + below(9) / 4
            return [x, y, x + across, y + down]
        shift = 8 if below(3) else 60
        x0, y0, x1, y1 = (side + (below(shift) - shift // 2) / 4 for side in around)
        return [x0, y0, max(x1, x0 + 0.25), max(y1, y0 + 0.25)]

    classes, truths, found = 1 + below(4), [], []
    many = below(12) == 0
    for _ in range(1 + below(8)):
        number = 0 if below(5) == 0 else below(9)
        corners = [box() for _ in range(number)]
        # The last class often has none.
        labels = [below(max(1, classes - 1)) if below(6) else below(classes) for _ in range(number)]
        crowd = [below(7) == 0 for _ in range(number)]
        truths.append(Boxes.of(corners, labels, crowd=crowd))
        boxes, names = [], []
        for one, label in zip(corners, labels, strict=True):
            for _ in range(below(4)):
                boxes.append(box(one))
                names.append(label if below(6) else below(classes))
        for _ in range(below(300) if many else below(5)):
            boxes.append(box(corners[below(number)] if number and below(3) else None))
            names.append(0 if many else below(classes))
        scores = [(1 + below(16 if below(2) else 4096)) / 4096 for _ in boxes]
        order = sorted(range(len(boxes)), key=lambda place: -scores[place])
        found.append(
            Detections(
                np.array([boxes[place] for place in order], np.float32).reshape(-1, 4),
                np.array([scores[place] for place in order], np.float32),
                np.array([names[place] for place in order], np.int64),
            )
        )
    return classes, truths, found


def ours(classes: int, truths: list[Boxes], found: list[Detections]) -> dict[str, Any]:
    """Give the twelve figures of COCO and AP by class; −1 where there is nothing to measure, as pycocotools does."""
    evaluation = DetectionEvaluation(
        tuple(map(str, range(classes))), tuple(map(str, range(len(truths)))), truths, found
    )
    sizes, recalls = evaluation.by_size, evaluation.ar
    figures = [evaluation.ap, evaluation.ap50, evaluation.ap75, *(ap for ap, _ in sizes.values()), *recalls.values()]
    figures += [recall for _, recall in sizes.values()]
    by_class = mean_of_known(average_precision(evaluation.matches, classes)[0])
    return {"figures": np.nan_to_num(figures, nan=-1).tolist(), "classes": np.nan_to_num(by_class, nan=-1).tolist()}


def theirs(classes: int, truths: list[Boxes], found: list[Detections]) -> dict[str, Any]:
    """Give the same by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations = []
    for image, boxes in enumerate(truths, 1):
        for corners, label, crowd in zip(boxes.corners.tolist(), boxes.labels.tolist(), boxes.crowd, strict=True):
            x0, y0, x1, y1 = corners
            about = {"id": len(annotations) + 1, "image_id": image, "category_id": label + 1, "iscrowd": int(crowd)}
            annotations.append({**about, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)})
    results = [
        {"image_id": image, "category_id": label + 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
        for image, one in enumerate(found, 1)
        for (x0, y0, x1, y1), label, score in zip(
            one.corners.tolist(), one.labels.tolist(), one.scores.tolist(), strict=True
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(1, len(truths) + 1)],
            "categories": [{"id": label + 1, "name": str(label)} for label in range(classes)],
            "annotations": annotations,
        }
        coco.createIndex()
        if results:
            detected = coco.loadRes(results)
        else:  # loadRes takes no empty list
            detected = COCO()
            detected.dataset = {**coco.dataset, "annotations": []}
            detected.createIndex()
        evaluation = COCOeval(coco, detected, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    by_class = [float(part[part > -1].mean()) if (part > -1).any() else -1.0 for part in np.moveaxis(precision, 2, 0)]
    return {"figures": [float(one) for one in evaluation.stats], "classes": by_class}


def difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Give the largest difference of any figure."""
    return float(max(np.abs(np.subtract(one[key], other[key])).max() for key in ("figures", "classes")))


def drawn(pictures: int, classes: int = 20, seed: int = 0) -> tuple[list[Boxes], list[Detections]]:
    """Draw pictures as a detector of middling quality answers them: some 4 objects and 20 boxes each."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(pictures):
        number = int(rng.poisson(4))
        low = rng.uniform(0, 400, (number, 2))
        corners = np.concatenate([low, low + rng.uniform(12, 240, (number, 2))], axis=1)
        labels = rng.integers(0, classes, number)
        truths.append(Boxes.of(corners, labels))
        seen = rng.random(number) < 0.75
        near = corners[seen] + rng.normal(0, 6, (int(seen.sum()), 4))
        noise = rng.uniform(0, 400, (16, 2))
        boxes = np.concatenate([near, np.concatenate([noise, noise + rng.uniform(12, 240, (16, 2))], axis=1)])
        scores = np.concatenate([rng.beta(4, 2, len(near)), rng.beta(1, 6, 16)])
        names = np.concatenate([labels[seen], rng.integers(0, classes, 16)])
        order = np.argsort(-scores)
        found.append(Detections(boxes[order].astype(np.float32), scores[order].astype(np.float32), names[order]))
    return truths, found


def compare(cases: int) -> None:
    """Compare many cases, and say what they hold."""
    worst, crowds, empty, crowded = 0.0, 0, 0, 0
    for seed in range(cases):
        made = case(seed)
        worst = max(worst, difference(ours(*made), theirs(*made)))
        crowds += any(one.crowd.any() for one in made[1])
        empty += any(not len(one) for one in made[1])
        crowded += any(np.bincount(one.labels, minlength=1).max() > 100 for one in made[2])
    print(
        f"{cases} cases, {crowds} with crowds, {empty} with empty pictures, {crowded} with over 100 boxes of a class: "
        f"largest difference {worst:.1e}"
    )


def measure_time(pictures: int) -> None:
    """Say how long a set takes, in seconds of processor time."""
    truths, found = drawn(pictures)
    names = tuple(map(str, range(20)))
    evaluation = DetectionEvaluation(names, tuple(map(str, range(pictures))), truths, found)
    begin = time.process_time()
    evaluation.metrics  # noqa: B018
    matched = time.process_time()
    evaluation.ap_interval, evaluation.ap50_interval  # noqa: B018
    done = time.process_time()
    print(f"{pictures} pictures: AP {evaluation.ap:.4f} in {matched - begin:.2f} s, ", end="")
    print(f"intervals from 1,000 resamples {done - matched:.2f} s {evaluation.ap_interval}")
    with contextlib.suppress(ImportError):
        begin = time.process_time()
        figures = theirs(20, truths, found)["figures"]
        print(f"pycocotools: AP {figures[0]:.4f}, twelve figures in {time.process_time() - begin:.2f} s")


def coverage(trials: int = 200, many: int = 20_000) -> None:
    """Say how often an interval holds the figure of a very large set that its pictures were drawn from."""
    truths, found = drawn(many, classes=3, seed=1)
    names = ("a", "b", "c")

    def measured(chosen: Sequence[int]) -> DetectionEvaluation:
        there, given = [truths[place] for place in chosen], [found[place] for place in chosen]
        return DetectionEvaluation(names, tuple(map(str, chosen)), there, given)

    with_boxes = [place for place, one in enumerate(truths) if len(one)]
    whole = measured(with_boxes)
    rng = np.random.default_rng(2)
    for pictures in (20, 50, 200):
        held = {"ap50": 0, "ap": 0}
        for _ in range(trials):
            one = measured(rng.choice(with_boxes, pictures, replace=False).tolist())
            for name in held:
                low, high = getattr(one, f"{name}_interval")
                held[name] += low <= getattr(whole, name) <= high
        print(f"{pictures} pictures: of {trials} intervals {held['ap50']} hold AP50 {whole.ap50:.3f}, ", end="")
        print(f"{held['ap']} AP {whole.ap:.3f}", flush=True)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["compare", "time", "coverage", "fixture"])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--pictures", type=int, default=1000)
    options = parser.parse_args()
    if options.what == "compare":
        compare(options.cases)
    elif options.what == "time":
        measure_time(options.pictures)
    elif options.what == "coverage":
        coverage()
    else:
        found = [theirs(*case(seed)) for seed in range(FIXTURE_CASES)]
        lines = ",\n".join(json.dumps(one) for one in found)
        options.file.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
