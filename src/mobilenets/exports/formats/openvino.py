"""A network as OpenVINO: our own ONNX graph, in int8 too, read and saved by OpenVINO.

On x86 processors without VNNI instructions sums of int8 products can saturate in 16 bits: what was measured on a
processor with them does not hold there.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.graph.distance import with_distance
from mobilenets.exports.graph.geometry import geometry_model
from mobilenets.exports.graph.suppression import end_in_boxes
from mobilenets.exports.int8.search import quantize
from mobilenets.exports.job import Job
from mobilenets.runtime.engines.ov import openvino
from mobilenets.runtime.exported import Exported

FILE, WEIGHTS = "model.xml", "model.bin"


def write(job: Job) -> Exported:
    """Write ``model.xml`` and ``model.bin``.

    float16 stores the weights in half precision and computes in float32. int8 is the graph of
    ``mobilenets.exports.int8.search``.
    """
    options = job.options
    graph = onnx_model(job.network, job.preprocessing, replace(options, precision="float32"))
    about: dict[str, Any] = {"openvino": openvino.__version__}
    if options.precision == "int8":
        graph, about["quantization"] = quantize(graph, job)
    end_in_boxes(graph, job)
    distance = job.space is not None and with_distance(graph, job.space)
    model = openvino.convert_model(io.BytesIO(graph.SerializeToString()))
    if options.camera:
        model = _with_geometry(model, job)
    openvino.save_model(model, job.folder / FILE, compress_to_fp16=options.precision == "float16")
    return replace(job.describe_onnx([FILE, WEIGHTS], about), distance=distance)


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
