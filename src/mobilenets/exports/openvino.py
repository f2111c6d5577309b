"""A network as OpenVINO: our own ONNX graph, read and saved by OpenVINO; int8 by NNCF.

On x86 processors without VNNI instructions sums of int8 products can saturate in 16 bits: what was measured on a
processor with them does not hold there.
"""

from __future__ import annotations

import functools
import importlib
import io
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.exports.geometry import geometry_model
from mobilenets.exports.job import Job
from mobilenets.exports.nearest import batches, divided, nearest
from mobilenets.exports.onnx import onnx_model
from mobilenets.exports.quiet import quiet
from mobilenets.runtime.engines import Array, laid_out
from mobilenets.runtime.engines.ov import openvino, unreported
from mobilenets.runtime.exported import Exported, file_hash

FILE, WEIGHTS = "model.xml", "model.bin"
# The candidates: how activations are quantized (``performance``: symmetric, ``mixed``: asymmetric), how the ranges of
# the pictures are made one, and whether biases are corrected by the faster of two ways. The first was best or near it
# wherever it was measured.
CANDIDATES: tuple[tuple[str, str, bool], ...] = (
    ("performance", "extremes", True),
    ("mixed", "extremes", True),
    ("performance", "extremes and means", True),
)


def write(job: Job) -> Exported:
    """Write ``model.xml`` and ``model.bin``.

    float16 stores the weights in half precision and computes in float32. int8 is made by NNCF's quantization after
    training, with int8 weights of one step an output channel and int8 or uint8 activations of one step a tensor.
    """
    options = job.options
    graph = onnx_model(job.network, job.preprocessing, replace(options, precision="float32"))
    # Read alone, a graph keeps each ReLU6 as a dozen operators, which NNCF does not know for one.
    model = openvino.convert_model(io.BytesIO(graph.SerializeToString()))
    about: dict[str, Any] = {"openvino": openvino.__version__}
    if options.precision == "int8":
        model, about["quantization"] = _quantized(model, job)
    if options.camera:
        model = _with_geometry(model, job)
    openvino.save_model(model, job.folder / FILE, compress_to_fp16=options.precision == "float16")
    return Exported(
        FILE,
        options.format,
        options.precision,
        {name: file_hash(job.folder / name) for name in (FILE, WEIGHTS)},
        "uint8" if options.pixels else "float32",
        "NHWC" if options.pixels else "NCHW",
        "probabilities" if options.probabilities else "logits",
        1 if options.camera else options.batch,
        about=about,
        geometry="inside" if options.camera else "outside",
    )


def _with_geometry(model: openvino.Model, job: Job) -> openvino.Model:
    """Put the geometry of the preprocessing before a finished model that takes uint8 N×S×S×3."""
    entry = model.input(0)
    made = openvino.convert_model(
        io.BytesIO(geometry_model(job.preprocessing, entry.get_any_name()).SerializeToString())
    )
    pixels = made.output(0).get_node().input_value(0)
    for place in entry.get_target_inputs():
        place.replace_source_output(pixels)
    return openvino.Model(model.get_results(), made.get_parameters(), model.get_friendly_name())


def _quantized(model: openvino.Model, job: Job) -> tuple[openvino.Model, dict[str, Any]]:
    """Quantize in several ways; returns the model nearest to float, and what was tried."""
    assert job.calibration is not None and len(job.calibration)
    fitted, judged = (_fed(job, pictures) for pictures in divided(job.calibration))
    batch = job.options.batch or 1
    made, tried = nearest(
        _candidates(model, fitted, judged, batch), _answers(model, judged, batch), job.options.probabilities
    )
    return made, {
        "weights": "int8, one step an output channel",
        "activations": "8 bits, one step a tensor",
        "nncf": _nncf().__version__,
        "pictures": len(job.calibration),
        **tried,
    }


def _candidates(
    model: openvino.Model, fitted: Array, judged: Array, batch: int
) -> Iterator[tuple[dict[str, Any], openvino.Model, npt.NDArray[np.float32]]]:
    nncf = _nncf()
    extremes = nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
    sets = {"extremes": {"activations_range_estimator_params": extremes}, "extremes and means": {}}
    # The numbers of the preprocessing, where they are inside, stay in float: they cost little and are exact.
    numbers = nncf.IgnoredScope(patterns=["numbers.*"], validate=False)
    runs = list(batches(fitted, batch))
    for preset, ranges, fast in CANDIDATES:
        with quiet():
            made = nncf.quantize(
                model,
                nncf.Dataset(runs),
                preset=nncf.QuantizationPreset(preset),
                target_device=nncf.TargetDevice.CPU,
                subset_size=len(runs),
                fast_bias_correction=fast,
                ignored_scope=numbers,
                advanced_parameters=nncf.AdvancedQuantizationParameters(**sets[ranges]),
            )
        settings = {"preset": preset, "ranges": ranges, "fast_bias_correction": fast}
        yield settings, made, _answers(made, judged, batch)


def _answers(model: openvino.Model, images: Array, batch: int) -> npt.NDArray[np.float32]:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([compiled([run])[0].copy() for run in batches(images, batch)])[: len(images)]


def _fed(job: Job, pictures: npt.NDArray[np.uint8]) -> Array:
    return pictures if job.options.pixels else laid_out(job.preprocessing.normalise(pictures), "NCHW")


@functools.cache
def _nncf() -> Any:
    """Import NNCF, which would report itself, greet on standard output, and change the class of every new logger."""
    kind = logging.getLoggerClass()
    try:
        with unreported(), quiet():
            nncf = importlib.import_module("nncf")
    finally:
        logging.setLoggerClass(kind)
    # Not by nncf.set_log_level, which sets the handlers of the root logger too.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf
