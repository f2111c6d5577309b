"""Find things in pictures with an exported detector, using NumPy, Pillow and the file's runtime, without mobilenets.

python find.py photo.jpg ...
python find.py --check                # a picture drawn here
python find.py --test FOLDER          # the golden pictures named in model.json
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from predict import Array, Model, check, decode, test

SHOWN = 0.5  # where model.json names no threshold


def anchors(how: dict[str, Any]) -> Array:
    """Return the anchors, A×4: middle x and y, width and height as shares of the side."""
    found = [
        ((x + 0.5) / side, (y + 0.5) / side, *shape)
        for side, shapes in zip(how["maps"], how["shapes"], strict=True)
        for y in range(side)
        for x in range(side)
        for shape in shapes
    ]
    return np.array(found, np.float32)


def seen(width: int, height: int, how: dict[str, Any]) -> Array:
    """Return the part of a picture that the square shows: left, upper, right, lower, in its pixels."""
    size, sides = how["size"], np.array([width, height], float)
    starts, ends = np.zeros(2), sides
    if how["resize"] == "pad":
        fitted = np.maximum(1, np.round(size * sides / sides.max()))
        before = (size - fitted) // 2
        starts, ends = -before * sides / fitted, (size - before) * sides / fitted
    if how["resize"] == "crop":
        scaled = round(size / how["crop_fraction"]) * sides // sides.min()
        starts, ends = (sides * (np.round((scaled - size) / 2) + more) / scaled for more in (0, size))
    return np.concatenate([starts, ends])


def overlap(box: Array, others: Array) -> Array:
    """Return intersection over union of a box with others, N×4."""
    common = np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    return np.asarray(common / ((box[2:] - box[:2]).prod() + areas - common))


class Finder(Model):
    """An exported detector with the model.json beside it."""

    def found(self, image: Image.Image) -> Array:
        """Return all boxes in an upright RGB picture, the best first, K×6: x0, y0, x1, y1 in pixels, score, class."""
        outputs, sides = self.outputs(self.pixels(image)), np.array([*image.size, *image.size])
        if self.export["output"] == "boxes":  # suppressed inside, in shares of the picture
            outputs = outputs[outputs[:, 5] >= 0]
            return np.concatenate([outputs[:, :4] * sides, outputs[:, 4:]], axis=1)
        how = self.about["detection"]
        around, codes = anchors(how), outputs[:, :4] / np.array(how["box_scales"], np.float32)
        middle, half = codes[:, :2] * around[:, 2:] + around[:, :2], np.exp(codes[:, 2:]) * around[:, 2:] / 2
        part = seen(*image.size, self.how)
        corners = np.concatenate([middle - half, middle + half], axis=1)
        corners = corners * np.tile(part[2:] - part[:2], 2) + np.tile(part[:2], 2)
        if how["scores"] == "sigmoid":
            scores = 1 / (1 + np.exp(-outputs[:, 5:]))
        else:
            powers = np.exp(outputs[:, 4:] - outputs[:, 4:].max(axis=1, keepdims=True))
            scores = (powers / powers.sum(axis=1, keepdims=True))[:, 1:]  # the first is the background
        cut = np.clip(corners, 0, sides)
        scores[(cut[:, 2:] <= cut[:, :2]).any(axis=1)] = 0
        places, labels = np.nonzero(scores > how["least_score"])
        order = np.lexsort((places, labels, -scores[places, labels]))
        rows = np.column_stack([corners[places], scores[places, labels], labels])[order]
        kept = np.zeros((0, 6))
        for row in rows:
            alike = kept[kept[:, 5] == row[5]]
            if len(kept) < how["most"] and not (overlap(row[:4], alike[:, :4]) > how["iou"]).any():
                kept = np.concatenate([kept, row[None]])
        kept[:, :4] = np.clip(kept[:, :4], 0, sides)
        return kept

    def right(self, name: str, image: Image.Image, same: bool, expected: list[float]) -> bool:
        """Print and return whether pixels and the sure boxes match those of the export."""
        found, wanted = self.found(image), np.array(expected).reshape(-1, 6)
        off = 0.1 if self.export["precision"] == "int8" else 0.01
        good = same
        for row in wanted[wanted[:, 4] >= 0.1]:
            near = found[(found[:, 5] == row[5]) & (np.abs(found[:, 4] - row[4]) <= off)]
            good = good and bool((overlap(row[:4], near[:, :4]) > 0.9).any())
        print("OK    " if good else "FAILED", name, "same pixels" if same else "PIXELS DIFFER")
        return good


def main() -> int:
    """Run the command line."""
    here = Path(__file__).resolve().parent
    model = Finder(here if (here / "model.json").is_file() else here.parent)
    if sys.argv[1:] == ["--check"]:
        return 0 if check(model) else 1
    if sys.argv[1:2] == ["--test"]:
        return 0 if test(model, Path(sys.argv[2])) else 1
    for path in sys.argv[1:]:
        found = model.found(decode(Path(path)))
        for *box, score, label in found[found[:, 4] >= model.about.get("threshold", SHOWN)]:
            print(path, model.classes[int(label)], f"{score:.1%}", *(round(side) for side in box))
    return 0


if __name__ == "__main__":
    sys.exit(main())
