"""Does an exported file answer as the model that it was made from? On many pictures of every kind, file by file.

    python benchmarks/same_answers.py RUN EXPORTED … [--pictures 1000]

Each picture has a size, an aspect ratio, a file format, a colour mode and an EXIF orientation of its own. Prints for
every exported file in how many pictures the best class is the same, and the largest difference of a probability.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from report import arguments

import mobilenets

FORMATS = (
    ("JPEG", ("RGB", "L", "CMYK"), {"quality": 90}),
    ("JPEG", ("RGB",), {"quality": 60, "progressive": True}),
    ("PNG", ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"), {}),
    ("WEBP", ("RGB", "RGBA"), {"quality": 80}),
    ("GIF", ("P",), {}),
    ("BMP", ("RGB", "L"), {}),
    ("TIFF", ("RGB", "RGBA"), {}),
)


def picture(seed: int) -> bytes:
    """Make one file: soft shapes in colour with some noise."""
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in np.exp(rng.uniform(np.log(12), np.log(900), 2)))
    cells = rng.integers(0, 256, (int(rng.integers(2, 9)), int(rng.integers(2, 9)), 3), np.uint8)
    pixels = np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC), np.float32)
    pixels = pixels + rng.normal(0, rng.uniform(0, 20), pixels.shape)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    form, modes, settings = FORMATS[seed % len(FORMATS)]
    mode = modes[int(rng.integers(len(modes)))]
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(rng.integers(0, 256, (4, 4), np.uint8)).resize(image.size))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(1, 9))
    if form in ("JPEG", "PNG", "WEBP"):
        settings = {**settings, "exif": exif}
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("exported", type=Path, nargs="+")
    parser.add_argument("--pictures", type=int, default=1000)
    options = parser.parse_args()
    names = [options.run, *options.exported]
    predictors = [mobilenets.Predictor(name) for name in names]
    found: list[list[np.ndarray]] = [[] for _ in names]
    for start in range(0, options.pictures, 20):
        files = [picture(seed) for seed in range(start, min(start + 20, options.pictures))]
        for answers, predictor in zip(found, predictors, strict=True):
            answers.append(predictor.probabilities([predictor.prepare(file) for file in files]))
    reference, *others = (np.concatenate(answers) for answers in found)
    for name, probabilities in zip(options.exported, others, strict=True):
        same = int((probabilities.argmax(axis=1) == reference.argmax(axis=1)).sum())
        print(f"{name}: {same} of {len(reference)} same best class, ", end="")
        print(f"largest difference {np.abs(probabilities - reference).max():.2g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
