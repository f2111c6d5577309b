"""How many held-out pictures does a temperature take? On drawn logits whose true temperature is known.

    python benchmarks/calibration_draws.py [--draws 30]

Prints a table in Markdown: the calibration error on 8,000 other pictures, before and after, mean and worst draw.
"""

from __future__ import annotations

import sys

import numpy as np
from report import arguments, heads, row

from mobilenets.measure.calibration import calibrate, tempered
from mobilenets.measure.metrics import Evaluation
from mobilenets.runtime.answers import softmax

TEMPERATURES, PICTURES = (0.3, 0.6, 1.0, 1.6), (20, 60, 120, 360)
CLASSES = tuple("abcde")


def drawn(pictures: int, temperature: float, seed: int) -> Evaluation:
    """Draw logits, and labels that are as probable as these logits, divided by the temperature, say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (pictures, len(CLASSES))).astype(np.float32)
    sums = softmax(logits / np.float32(temperature)).cumsum(axis=1)
    labels = (rng.random((pictures, 1)) > sums).sum(axis=1).clip(0, len(CLASSES) - 1)
    return Evaluation(CLASSES, tuple(map(str, range(pictures))), labels.astype(np.int64), logits)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--draws", type=int, default=30)
    options = parser.parse_args()
    print(heads("true temperature", "before", *(f"{count} pictures" for count in PICTURES)))
    for temperature in TEMPERATURES:
        others = drawn(8000, temperature, 999)
        cells = [f"{temperature:g}", f"{100 * others.ece:.1f} %"]
        for count in PICTURES:
            found = [calibrate(drawn(count, temperature, seed)).temperature for seed in range(options.draws)]
            after = [100 * tempered(others, one).ece for one in found]
            cells.append(f"{np.mean(after):.1f}, worst {max(after):.1f} %")
        print(row(*cells), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
