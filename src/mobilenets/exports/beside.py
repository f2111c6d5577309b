"""The ONNX file that a finished model holds beside its weights, so that it answers without PyTorch."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

from mobilenets.base.notes import log
from mobilenets.exports.formats import write
from mobilenets.exports.job import Job, Options
from mobilenets.models.saved import SavedModel
from mobilenets.runtime.bundle import WEIGHTS, Bundle, write_bundle
from mobilenets.runtime.exported import Exported, file_hash
from mobilenets.tasks.registry import find_task


def write_graph(folder: Path, saved: SavedModel) -> Bundle:
    """Write ``model.onnx`` of a model whose weights are in ``folder``, and ``model.json`` with what describes it.

    Returns what ``model.json`` says. A model without a classifier, or an installation without ONNX, gets no file.
    """
    weights = file_hash(folder / WEIGHTS)
    bundle = replace(saved.bundle, graph=None, weights=weights)
    if saved.network.classes:
        if importlib.util.find_spec("onnx") is not None:
            graph = graph_of(saved, folder)
            about = {**graph.about, "weights": weights}
            bundle = replace(bundle, graph=replace(graph, about=about))
        else:
            log.warning("onnx is not installed, so the model will answer through PyTorch only: pip install onnx")
    write_bundle(folder, bundle)
    return bundle


def graph_of(saved: SavedModel, folder: Path) -> Exported:
    """Write a model as float32 ``model.onnx`` into ``folder``; returns what describes it."""
    bundle = saved.bundle
    return write(
        Job(
            saved.network, bundle.preprocessing, Options("onnx"), folder, task=find_task(bundle.task), space=saved.space
        )
    )
