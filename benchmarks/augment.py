"""What each augmentation preset costs a picture on one core: python benchmarks/augment.py."""

from __future__ import annotations

import argparse
import platform
import time

import numpy as np
import PIL
from PIL import Image

from mobilenets.pictures.augment.presets import PRESETS
from mobilenets.pictures.preprocess import Preprocessing


def picture(width: int, height: int) -> Image.Image:
    """Return a smooth picture with some noise: cost does not depend on what is seen."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def processor() -> str:
    """Return the processor's name where Linux tells it."""
    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=300, help="pictures a figure (default 300)")
    count = parser.parse_args().pictures
    versions = f"Python {platform.python_version()}, Pillow {PIL.__version__}, numpy {np.__version__}"
    print(f"{processor()}, {versions}; microseconds a picture, median of {count}")
    print(f"{'preset':<20}{'32 from 32x32':>16}{'224 from 256x256':>18}{'224 from 640x480':>18}")
    cases = [(32, picture(32, 32)), (224, picture(256, 256)), (224, picture(640, 480))]
    for name, preset in PRESETS.items():
        row = ""
        for (size, image), width in zip(cases, (16, 18, 18), strict=True):
            augment, rng, times = preset(Preprocessing(size)), np.random.default_rng(0), []
            for _ in range(count):
                start = time.perf_counter()
                augment(image, rng)
                times.append(time.perf_counter() - start)
            row += f"{np.median(times) * 1e6:>{width}.0f}"
        print(f"{name:<20}{row}")


if __name__ == "__main__":
    main()
