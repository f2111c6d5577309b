"""A network as LiteRT (formerly TensorFlow Lite): converted by LiteRT Torch, quantized by AI Edge Quantizer."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.qtyping import (
    ComputePrecision,
    OpQuantizationConfig,
    TensorDataType,
    TensorQuantizationConfig,
    TFLOperationName,
)
from torch import Tensor

from mobilenets.base.cores import cores
from mobilenets.base.files import write_bytes
from mobilenets.exports.formats.deployed import Deployed, quantized, sample
from mobilenets.exports.formats.quiet import quiet
from mobilenets.exports.int8.qdq import Range, Scheme
from mobilenets.exports.job import Job
from mobilenets.models.blocks import Block
from mobilenets.models.detection.detector import Detector
from mobilenets.runtime.engines import Array, batches
from mobilenets.runtime.engines.litert import outputs_of
from mobilenets.runtime.exported import Exported

FILE = "model.tflite"
ANY = ".*"
WEIGHTED = (TFLOperationName.CONV_2D, TFLOperationName.DEPTHWISE_CONV_2D, TFLOperationName.FULLY_CONNECTED)
# What stays in float: what goes in and comes out, the softmax, whose small probabilities 8 bits do not hold ...
FLOAT = (TFLOperationName.INPUT, TFLOperationName.OUTPUT, TFLOperationName.SOFTMAX)
# ... and the numbers of the preprocessing, which are made outside of the network.
NUMBERS = (TFLOperationName.MUL, TFLOperationName.SUB, TFLOperationName.DIV)
# What puts a detector's maps together, behind heads that stay in float.
JOINING = (TFLOperationName.TRANSPOSE, TFLOperationName.RESHAPE, TFLOperationName.CONCATENATION)
OUTSIDE = "^(?!.*Network_network)"
DISTANCE = "Distance_distance"


def write(job: Job) -> Exported:
    """Write ``model.tflite``, which takes N×S×S×3; N is 1 unless ``options.batch`` says otherwise.

    float16 stores the weights in half precision and computes in float32. int8 has int8 weights, one scale per
    output channel, and int8 activations, one scale per tensor; it takes and gives float32, or takes uint8 with
    ``options.pixels``. Where the job has a ``space`` the distances follow the scores, computed in float.
    """
    options, batch = job.options, job.options.batch or 1
    about: dict[str, Any] = {name: version(name) for name in ("litert-torch", "ai-edge-quantizer")}
    deployed = Deployed(job)
    distance = deployed.distance is not None
    if options.precision == "int8":
        content, about["quantization"] = quantized(job, partial(_candidates, job, batch))
    else:
        content = _converted(deployed, job, batch)
        if options.precision == "float16":
            content = _halved(content)
    path = job.folder / FILE
    write_bytes(path, content)
    return replace(job.describe([FILE], "NHWC", batch, about), distance=distance)


def _converted(network: Deployed, job: Job, batch: int) -> bytes:
    with quiet():
        litert_torch: Any = importlib.import_module("litert_torch")
        litert_torch.config.show_progress = False
        _name_operations(network)
        return bytes(litert_torch.convert(network, (sample(job, batch),)).model_content())


class _Applied(torch.nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *values: Tensor) -> Tensor:
        return self._function(*values)


def _name_operations(network: torch.nn.Module) -> None:
    """Make each operation of a block a module that is called as in the plan, with two bars for a point.

    A tensor's name is a path of modules, each with its class: …Block_inverted3/…ConvNorm_body__inverted3__project/….
    """
    for block in [part for part in network.modules() if isinstance(part, Block)]:
        parts = [_Applied(one.function) if one.function else block.get_submodule(one.path) for one in block.steps]
        for name, _ in list(block.named_children()):
            delattr(block, name)
        block.steps = [replace(one, path=one.output.replace(".", "__"), function=None) for one in block.steps]
        for step, part in zip(block.steps, parts, strict=True):
            block.add_module(step.path, part)


def _halved(content: bytes) -> bytes:
    half = OpQuantizationConfig(
        weight_tensor_config=TensorQuantizationConfig(num_bits=16, dtype=TensorDataType.FLOAT),
        compute_precision=ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    made = quantizer.Quantizer(content)
    for operation in WEIGHTED:
        made.update_quantization_recipe(ANY, operation, half, AlgorithmName.FLOAT_CASTING)
    with quiet():
        return bytes(made.quantize(enable_progress_report=False).quantized_model)


def _candidates(
    job: Job, batch: int, scheme: Scheme, fitted: Array, judged: Array
) -> Iterator[tuple[dict[str, Any], bytes, npt.NDArray[np.float32]]]:
    """Quantize with two rules for ranges."""
    content = _converted(Deployed(job, scheme), job, batch)
    made = quantizer.Quantizer(content)
    made.add_static_config(ANY, TFLOperationName.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    for operation in FLOAT:
        made.update_quantization_recipe(ANY, operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
    for operation in NUMBERS:
        made.update_quantization_recipe(OUTSIDE, operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
    if job.space is not None:  # eight bits would put steps into its distance, and into the scores beside it
        made.update_quantization_recipe(
            OUTSIDE, TFLOperationName.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
    # Logits of 8 bits would be equal where classes are near one another: these come out in float.
    made.add_dynamic_config(ANY, TFLOperationName.FULLY_CONNECTED, num_bits=8)
    for operation in JOINING if isinstance(job.network, Detector) else ():
        made.update_quantization_recipe(ANY, operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
    made.update_quantization_recipe(DISTANCE, WEIGHTED[-1], algorithm_key=AlgorithmName.NO_QUANTIZE)
    for block in scheme.left:
        # Operators are found by the names of what they give: …Block_inverted3/…, …_inverted3; and …_heads__0__…
        made.update_quantization_recipe(
            rf"_({block.split('.')[-1]}[/;]|{block}__)",
            TFLOperationName.ALL_SUPPORTED,
            algorithm_key=AlgorithmName.NO_QUANTIZE,
        )
    with quiet():
        # The quantizer's own ranges are moving averages; this run gives their form and names.
        [(key, names)] = Interpreter(model_content=content).get_signature_list().items()
        form = made.calibrate({key: [{names["inputs"][0]: fitted[:batch]}]}, num_threads=1)
        ends = _extremes(content, fitted, batch, list(form))
    found_ends = {name: scheme.ranges[_tensor(name, scheme)] for name in form if _tensor(name, scheme) in scheme.ranges}
    for rule, chosen in (("as planned", ends | found_ends), ("extremes", ends)):
        found = {
            name: entry | {"min": np.full_like(entry["min"], low), "max": np.full_like(entry["max"], high)}
            for name, entry in form.items()
            for low, high in (chosen[name],)
        }
        with quiet():
            file = bytes(made.quantize(found, enable_progress_report=False).quantized_model)
        yield {"ranges": rule}, file, _answers(file, judged, batch)


def _tensor(name: str, scheme: Scheme) -> str:
    """Give the name that our own graph has for a tensor."""
    first = name.partition(";")[0]
    parts = [part.rpartition(".")[2].lstrip("_").partition("_")[2] for part in first.split("/")]
    inside = [part for part in parts if part not in ("", "network", "conv", "activation")]
    layer = inside[-1].replace("__", ".") if inside and "__" in inside[-1] else ".".join(dict.fromkeys(inside))
    # What a convolution gives to an activation of its own; of others the two are one operator.
    return f"{layer}.conv" if parts[-1] == "conv" and f"{layer}.conv" in scheme.ranges else layer


def _extremes(content: bytes, images: Array, batch: int, names: list[str]) -> dict[str, Range]:
    """Give the smallest and the largest number of each named tensor."""
    rows = []
    for interpreter in _runs(content, images, batch, experimental_preserve_all_tensors=True):
        places = {detail["name"]: detail["index"] for detail in interpreter.get_tensor_details()}
        values = [interpreter.get_tensor(places[name]) for name in names]
        rows.append([(value.min(), value.max()) for value in values])
    table = np.array(rows, np.float64)
    return dict(zip(names, zip(table[:, :, 0].min(axis=0), table[:, :, 1].max(axis=0), strict=True), strict=True))


def _answers(content: bytes, images: Array, batch: int) -> npt.NDArray[np.float32]:
    found = [one.get_tensor(outputs_of(one)[0]) for one in _runs(content, images, batch)]
    return np.concatenate(found)[: len(images)]


def _runs(content: bytes, images: Array, batch: int, **settings: bool) -> Iterator[Any]:
    """Run a file on each batch; gives its interpreter after each."""
    with quiet():
        interpreter = Interpreter(model_content=content, num_threads=cores(), **settings)
    interpreter.allocate_tensors()
    for run in batches(images, batch):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], run)
        interpreter.invoke()
        yield interpreter
