"""A network as ExecuTorch with XNNPACK; int8 by quantization of the exported graph (PT2E)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
from executorch.exir import to_edge_transform_and_lower
from torchao.quantization.pt2e import HistogramObserver, MinMaxObserver
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from mobilenets.base.files import write_bytes
from mobilenets.exports.formats.deployed import Deployed, quantized, sample, scores_of
from mobilenets.exports.formats.quiet import quiet
from mobilenets.exports.int8.qdq import Scheme
from mobilenets.exports.job import Job
from mobilenets.runtime.engines import Array, batches
from mobilenets.runtime.exported import Exported

FILE = "model.pte"
# What watches the activations: the smallest and largest numbers, or a histogram, cut where that errs less.
OBSERVERS = {"extremes": MinMaxObserver, "histogram": HistogramObserver}


def write(job: Job) -> Exported:
    """Write ``model.pte``, which takes N×S×S×3; N is 1 unless ``options.batch`` says otherwise.

    int8 has int8 weights, one scale per output channel, and int8 activations, one scale per tensor; it takes and gives
    float32, or takes uint8 with ``options.pixels``. Where the job has a ``space`` the distances follow the scores,
    computed in float.
    """
    options, batch = job.options, job.options.batch or 1
    about: dict[str, Any] = {name: version(name) for name in ("executorch", "torchao")}
    graph: torch.nn.Module
    deployed = Deployed(job)
    if options.precision == "int8":
        graph, about["quantization"] = quantized(job, partial(_candidates, job, batch))
    else:
        graph = deployed
    with quiet():
        program = torch.export.export(graph, (sample(job, batch),))
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    path = job.folder / FILE
    write_bytes(path, bytes(lowered.buffer))
    return replace(job.describe([FILE], "NHWC", batch, about), distance=deployed.distance is not None)


def _candidates(
    job: Job, batch: int, scheme: Scheme, fitted: Array, judged: Array
) -> Iterator[tuple[dict[str, Any], torch.nn.Module, npt.NDArray[np.float32]]]:
    """Quantize with several observers."""
    with quiet():
        captured = torch.export.export(Deployed(job, scheme), (sample(job, batch),)).module()
    for ranges, observer in OBSERVERS.items():
        settings = get_symmetric_quantization_config(is_per_channel=True)
        watched = replace(settings.input_activation, observer_or_fake_quant_ctr=observer.with_args(eps=2**-12))
        settings = replace(settings, input_activation=watched, output_activation=watched)
        quantizer = XNNPACKQuantizer().set_global(settings)
        # Logits of 8 bits would be equal where classes are near one another: these come out in float.
        quantizer.set_operator_type(
            torch.ops.aten.linear.default, get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
        )
        # None means float; set_module_name would not take it. Eight bits would put steps into the distance.
        quantizer.module_name_config |= {f"network.{block}": None for block in scheme.left} | {"distance": None}
        with quiet():
            prepared = prepare_pt2e(copy.deepcopy(captured), quantizer)
            _answers(prepared, fitted, batch)
            made = convert_pt2e(prepared)
        yield {"ranges": ranges}, made, _answers(made, judged, batch)


def _answers(graph: torch.nn.Module, images: npt.NDArray[Any], batch: int) -> npt.NDArray[np.float32]:
    with torch.no_grad():
        found = [scores_of(graph(torch.from_numpy(np.ascontiguousarray(run)))) for run in batches(images, batch)]
    return np.asarray(torch.cat(found)[: len(images)].numpy())
