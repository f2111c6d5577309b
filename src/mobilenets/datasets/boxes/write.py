"""A set of boxes written as COCO's JSON, which every tool for boxes reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mobilenets.base.files import write_text
from mobilenets.pictures.boxes import Boxes


def write_coco(
    path: Path, classes: Sequence[str], pictures: Iterable[tuple[str, tuple[int, int], Boxes]], about: str = ""
) -> None:
    """Write boxes as COCO's JSON, whole or not at all.

    ``pictures`` are each its path below the folder of the file, width and height, and boxes; ``about`` is a line that
    goes into ``info``. Categories are numbered from 1, as COCO's are.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, (width, height), boxes) in enumerate(pictures, start=1):
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        sides = boxes.corners.astype(float)
        sides[:, 2:] -= sides[:, :2]
        for box, label, crowd in zip(sides.round(3).tolist(), boxes.labels.tolist(), boxes.crowd.tolist(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": box,
                    "area": round(box[2] * box[3], 3),
                    "iscrowd": int(crowd),
                }
            )
    categories = [{"id": label, "name": name} for label, name in enumerate(classes, start=1)]
    whole = {"info": {"description": about}, "images": images, "annotations": annotations, "categories": categories}
    write_text(path, json.dumps(whole, ensure_ascii=False) + "\n")
