"""What each augmentation preset costs a picture on one core: python benchmarks/augment.py."""

from __future__ import annotations

import time

import numpy as np
from drawn import soft
from report import arguments, machine, versions

from mobilenets.pictures.augment.presets import PRESETS
from mobilenets.pictures.preprocess import Preprocessing


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pictures", type=int, default=300, help="pictures a figure (default 300)")
    count = parser.parse_args().pictures
    print(f"{machine()}, {versions('pillow', 'numpy')}; microseconds a picture, median of {count}")
    print(f"{'preset':<20}{'32 from 32x32':>16}{'224 from 256x256':>18}{'224 from 640x480':>18}")
    # Smooth: what is seen costs nothing.
    sizes = ((32, (32, 32)), (224, (256, 256)), (224, (640, 480)))
    cases = [(size, soft(np.random.default_rng(0), (12, 16), sides)) for size, sides in sizes]
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
