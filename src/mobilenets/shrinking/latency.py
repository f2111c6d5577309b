"""What candidates take here in ONNX Runtime, before any is trained: time does not depend on the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mobilenets.base.progress import progress
from mobilenets.bench.candidates import Candidate as Subject
from mobilenets.bench.latency import ROUNDS
from mobilenets.bench.models import milliseconds_of
from mobilenets.bench.networks import ready
from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.int8.search import quantize
from mobilenets.exports.job import Job, Options
from mobilenets.models.architecture import Architecture
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.shrinking.candidates import FLOAT, INT8

# So many take turns with the reference; all at once would need the memory of all.
TOGETHER = 8
# Pictures of noise that int8 is made with where only its time counts.
CALIBRATION = 4


class Timed(NamedTuple):
    """Milliseconds of a picture, and the bytes of the file."""

    ms: float
    bytes: int


def onnx_file(architecture: Architecture, classes: int, precision: str, folder: Path) -> bytes:
    """Write a network without training as ONNX, for its time alone; ``folder`` is for what a quantizer needs."""
    size = architecture.size
    network = ready(Subject(architecture, classes))
    options = Options("onnx", precision)
    model = onnx_model(network, Preprocessing(size), options)
    if precision == INT8:
        pictures = np.random.default_rng(0).integers(0, 256, (CALIBRATION, size, size, 3)).astype(np.uint8)
        model, _ = quantize(model, Job(network, Preprocessing(size), options, folder, pictures))
    return bytes(model.SerializeToString())


def times(
    reference: Path,
    makers: Sequence[Callable[[], tuple[Path, int]]],
    threads: int,
    seconds: float,
    done: Callable[[int], None] = lambda _: None,
) -> list[Timed]:
    """Time models in turns with a ``reference``; the first of what is returned is that of the reference, in 0 bytes.

    ``makers`` write a model each, or say where it is, and how large it is. What else the machine does slows a model
    and the reference alike: each one's time is its ratio to the reference, whose least disturbed median counts.
    """
    own, found = list[float](), list[tuple[float, int]]()
    for start in range(0, max(1, len(makers)), TOGETHER):
        made = [make() for make in makers[start : start + TOGETHER]]
        first, *others = milliseconds_of([reference, *(model for model, _ in made)], threads, seconds)
        own.append(first)
        found += [(ms / first, size) for ms, (_, size) in zip(others, made, strict=True)]
        done(len(made))
    whole = min(own)
    return [Timed(whole, 0), *(Timed(ratio * whole, size) for ratio, size in found)]


def time_all(
    reference: Architecture,
    wanted: Sequence[tuple[Architecture, str]],
    classes: int,
    threads: int,
    seconds: float,
    folder: Path,
) -> list[Timed]:
    """Time networks, each in a precision, as ``times`` does; their files go to ``folder``."""

    def make(number: int, architecture: Architecture, precision: str) -> tuple[Path, int]:
        content, file = onnx_file(architecture, classes, precision, folder), folder / f"{number}.onnx"
        file.write_bytes(content)
        return file, len(content)

    first, _ = make(0, reference, FLOAT)
    makers = [partial(make, number, *one) for number, one in enumerate(wanted, 1)]
    with progress(f"timing {ROUNDS} rounds", len(wanted), "networks") as shown:
        return times(first, makers, threads, seconds, shown.advance)
