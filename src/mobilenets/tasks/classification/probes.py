"""What generated pictures tell of an exported file whose probabilities may be off by more than rounding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]

# Answers, as mean total variation (0 the same, 1 with nothing in common). Measured in docs/measured/exports.md.
# Below this, quantization alone moves answers as far.
LEAST = 0.08
# A file that sees other colours than the model is this much nearer to the model with red and blue exchanged.
NEARER = 0.5
# An answer that has to do with the picture is nearer to the model's than to those for other pictures.
RELATED = 0.8
# A file that hardly looks at the pictures gives answers that differ this little, beside those of the model.
STILL = 0.1
MOVING = 0.01


def colour_faults(ours: Scores, theirs: Scores, exchanged: Scores | None) -> tuple[str, ...]:
    """Say what is wrong with the probabilities of a file, N×classes, for generated pictures in many colours.

    ``ours`` are those of the model for the same pictures, ``exchanged`` those for the same with red and blue exchanged.
    """
    off = apart(ours, theirs)
    if off < LEAST:
        return ()
    if exchanged is not None and apart(exchanged, theirs) < NEARER * off:
        return ("it answers generated pictures as the model does with red and blue exchanged",)
    # What answers differ by that were given to other pictures.
    unrelated = float(np.mean([apart(ours, np.roll(theirs, shift, axis=0)) for shift in range(1, len(theirs))] or [1]))
    if off > RELATED * unrelated:
        return (
            f"its answers to generated pictures have little to do with the model's: {off:.2f} off on average, where "
            f"answers to other pictures would be {unrelated:.2f} off",
        )
    return ()


def still_faults(ours: Scores, theirs: Scores) -> tuple[str, ...]:
    """Say so where a file gives nearly the same probabilities, N×classes, whatever the picture, and the model not."""
    moving, moved = _spread(ours), _spread(theirs)
    if moving > MOVING and moved < STILL * moving:
        return ("it gives nearly the same answer to every picture, and the model does not",)
    return ()


def apart(one: Scores, other: Scores) -> float:
    """Give the mean total variation of probabilities, N×classes: the share of an answer that lies elsewhere."""
    return float(np.abs(one - other).sum(axis=1).mean() / 2)


def _spread(answers: Scores) -> float:
    return apart(answers, answers.mean(axis=0, keepdims=True))
