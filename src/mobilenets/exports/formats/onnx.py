"""A network as ONNX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mobilenets.base.files import write_bytes
from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.graph.distance import with_distance
from mobilenets.exports.graph.evidence import with_evidence
from mobilenets.exports.graph.geometry import with_geometry
from mobilenets.exports.graph.nodes import OPSET
from mobilenets.exports.graph.suppression import end_in_boxes
from mobilenets.exports.int8.search import quantize
from mobilenets.exports.job import Job
from mobilenets.runtime.exported import Exported

FILE = "model.onnx"


def write(job: Job) -> Exported:
    """Write ``model.onnx``.

    float16 stores the weights in half precision and computes in float32: half the file, and every runtime runs it.
    int8 is made from the float32 graph by ``mobilenets.exports.int8.search``.
    """
    model = onnx_model(job.network, job.preprocessing, job.options)
    about: dict[str, Any] = {"opset": OPSET}
    if job.options.precision == "int8":
        model, tried = quantize(model, job)
        about["quantization"] = tried
    if job.options.camera:
        model = with_geometry(model, job.preprocessing)
    # Last, because quantizers and geometry know one output.
    end_in_boxes(model, job)
    first, step = job.network.plan.cells()
    centres = [first + step * cell for cell in range(job.network.plan.maps.side)] if with_evidence(model) else []
    distance = job.space is not None and with_distance(model, job.space)
    write_bytes(job.folder / FILE, model.SerializeToString())
    return replace(job.describe_onnx([FILE], about), evidence=tuple(centres), distance=distance)
