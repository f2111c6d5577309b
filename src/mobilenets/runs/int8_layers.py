"""What int8 does to each layer's output: the file that an export would write, beside the network."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.base.notes import log
from mobilenets.base.progress import progress
from mobilenets.errors import InputError
from mobilenets.exports.catalog import find_format
from mobilenets.exports.formats import write
from mobilenets.exports.job import Job, Options
from mobilenets.models.saved import SavedModel
from mobilenets.runs.held_out import fitted_pictures, pictures_to_export
from mobilenets.runtime.exported import Exported

CALIBRATED_ON = 128
MEASURED_ON = 32
# Pixels of the pictures whose maps of all layers are held at once: 4 pictures at 224.
AT_ONCE = 4 * 224 * 224


@dataclass(frozen=True, eq=False)
class Int8Layers:
    """What was seen.

    ``decibels`` has the signal to noise ratio of the output of each layer, of blocks with a sum and of the logits, over
    all ``images`` pictures together; ``quantization`` is what ``export`` reports under that name.
    """

    decibels: Mapping[str, float]
    calibrated_on: int
    images: int
    quantization: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return what is no layer's own, as in ``audit --json``."""
        return {
            "calibrated_on": self.calibrated_on,
            "images": self.images,
            "logits_db": self.decibels["logits"],
            "quantization": self.quantization,
        }


def int8_layers(saved: SavedModel, model: Path, data: Path) -> Int8Layers | None:
    """Quantize weights and activations as ``export`` does for ONNX, and compare every layer's output with float's.

    Of ``data``, up to 128 training pictures calibrate, and up to 32 of those held out are measured on, both evenly over
    their order. None, with a note to the user, where what an export needs is not installed, or there is nothing to
    calibrate on.
    """
    try:
        find_format("onnx", "int8")
        halves = pictures_to_export(model, data, saved.bundle.classes, training=True)
    except InputError as error:
        log.warning("the int8 error of the activations was not measured: %s", error)
        return None

    preprocessing = saved.bundle.preprocessing
    calibration, measured = (
        fitted_pictures(samples, preprocessing, most, f"int8: {doing} pictures")
        for samples, most, doing in (
            (halves.training, CALIBRATED_ON, "calibration"),
            (halves.measured, MEASURED_ON, "held-out"),
        )
    )
    if not len(calibration) or not len(measured):
        log.warning("the int8 error of the activations was not measured: %s has no pictures to calibrate on", data)
        return None
    with tempfile.TemporaryDirectory() as name:
        job = Job(saved.network, preprocessing, Options("onnx", "int8"), Path(name), calibration)
        exported = write(job)
        decibels = _decibels(job, exported, measured)
    return Int8Layers(decibels, len(calibration), len(measured), exported.about["quantization"])


def _decibels(job: Job, exported: Exported, pictures: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Give the ratio of every layer that both have, a few pictures at a time."""
    from mobilenets.exports.check.layers import outputs_of_file, outputs_of_network, power, ratio

    signal: defaultdict[str, float] = defaultdict(float)
    noise: defaultdict[str, float] = defaultdict(float)
    each = max(1, AT_ONCE // job.preprocessing.size**2)
    with progress("int8: comparing layers with float", len(pictures), "pictures") as shown:
        for start in range(0, len(pictures), each):
            images = job.preprocessing.normalise(pictures[start : start + each])
            ours = outputs_of_network(job.network, images)
            theirs = outputs_of_file(job.folder / exported.file, exported, images)
            for layer in (name for name in ours if name in theirs):
                signal[layer] += power(ours[layer])
                noise[layer] += power(theirs[layer] - ours[layer])
            shown.advance(len(images))
    return {layer: ratio(signal[layer], noise[layer]) for layer in signal}
