"""The formats there are. Nothing heavy is imported before one is written."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from mobilenets.base.extras import how_to_install
from mobilenets.errors import InputError


@dataclass(frozen=True)
class Format:
    """A format.

    ``module`` below ``mobilenets.exports`` has its ``write(job) -> Exported``; it imports ``packages``, which the
    optional dependency ``extra`` brings. ``camera``: the geometry of the preprocessing can go inside, and ``nms``: what
    makes finished boxes of a detector's outputs.
    """

    module: str
    precisions: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str
    camera: bool = False
    nms: bool = False


_ONNX = ("onnx", "onnxruntime")
_LITERT = (*_ONNX, "litert_torch", "ai_edge_litert", "ai_edge_quantizer")
_ALL = ("float32", "float16", "int8")
FORMATS = {
    "onnx": Format("onnx", _ALL, _ONNX, "export", camera=True, nms=True),
    "openvino": Format("openvino", _ALL, (*_ONNX, "openvino"), "openvino", camera=True, nms=True),
    "litert": Format("litert", _ALL, _LITERT, "litert"),
    "executorch": Format("executorch", ("float32", "int8"), (*_ONNX, "executorch", "torchao"), "executorch"),
    "web": Format("web", _ALL, _ONNX, "export"),
}
# What others call them, and what is made of an ONNX file.
_OTHERS = {
    **dict.fromkeys(("tflite", "tf", "tensorflow", "tf_lite", "lite", "edgetpu", "saved_model", "keras"), "litert"),
    **dict.fromkeys(("tfjs", "tensorflow.js", "js", "html", "browser"), "web"),
    **dict.fromkeys(("pte", "torch", "pytorch", "torchscript", "ptl"), "executorch"),
    **dict.fromkeys(("coreml", "ncnn", "tensorrt", "engine", "mnn", "rknn", "onnxruntime", "ort"), "onnx"),
    "ir": "openvino",
}


def find_format(name: str, precision: str, camera: bool = False, nms: bool = False) -> Format:
    """Look a format up; raises ``InputError`` where there is none, or what it needs is not installed."""
    found = FORMATS.get(name)
    if found is None:
        meant = _OTHERS.get(name.lower().lstrip("."))
        hint = f"did you mean {meant}? " if meant else ""
        raise InputError(f"format {name!r}: {hint}choose {', '.join(FORMATS)}")
    if precision not in found.precisions:
        raise InputError(f"{name} cannot be exported in {precision}: choose {', '.join(found.precisions)}")
    if camera and not found.camera:
        able = " or ".join(name for name, one in FORMATS.items() if one.camera)
        raise InputError(f"{name} cannot be exported with --camera: choose {able}, or use --pixels")
    if nms and not found.nms:
        able = " or ".join(name for name, one in FORMATS.items() if one.nms)
        raise InputError(f"{name} cannot be exported with --nms: choose {able}; mobilenets makes boxes of the others")
    missing = [package for package in found.packages if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(f"{name} needs {missing[0]}: {how_to_install(found.extra)}")
    return found
