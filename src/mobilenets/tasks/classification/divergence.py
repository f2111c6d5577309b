"""How far the answers of a quantized classifier are from those of float."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Training pictures are known too surely for their probabilities to tell quantizers apart: they are softened, as in
# distillation (Hinton et al. 2015, arXiv 1503.02531, section 2).
TEMPERATURE = 4.0


def softened(outputs: npt.NDArray[np.float32], probabilities: bool) -> npt.NDArray[np.float64]:
    """Give the logarithms of softened probabilities, N×classes, from logits or from ``probabilities``."""
    values = outputs.astype(np.float64)
    if probabilities:
        values = np.log(np.maximum(values, 1e-30))
    values = (values - values.max(axis=1, keepdims=True)) / TEMPERATURE
    return np.asarray(values - np.log(np.exp(values).sum(axis=1, keepdims=True)))


def compared(wanted: npt.NDArray[np.float64], answers: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Compare answers with those of float, both as ``softened`` gives them.

    Returns the mean Kullback-Leibler divergence from float, in nats, and the share of pictures with the same first
    class.
    """
    divergence = float((np.exp(wanted) * (wanted - answers)).sum(axis=1).mean())
    return divergence, float((answers.argmax(axis=1) == wanted.argmax(axis=1)).mean())
