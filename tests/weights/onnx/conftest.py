from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from mobilenets.exports.formats.onnx import onnx_model
from mobilenets.exports.job import Options
from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.weights.convert import Converted, convert

Change = Callable[[onnx.GraphProto], None]


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Give ``saved(network, change)``: our own export of a network, with its graph changed, as if from elsewhere."""

    def save(network: Network, change: Change = lambda graph: None, **options: object) -> Path:
        size = network.architecture.size
        settings: dict[str, object] = {"format": "onnx", "precision": "float32"} | options
        model = onnx_model(network, Preprocessing(size=size), Options(**settings))  # type: ignore[arg-type]
        model.producer_name = "elsewhere"
        change(model.graph)
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return path

    return save


@pytest.fixture
def answers() -> Callable[[Path, np.ndarray], np.ndarray]:
    """Give what ONNX Runtime computes of a file's first output."""

    def run(path: Path, given: np.ndarray) -> np.ndarray:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        first: np.ndarray = session.run(None, {session.get_inputs()[0].name: given})[0]
        return first

    return run


@pytest.fixture
def agrees(answers: Callable[[Path, np.ndarray], np.ndarray]) -> Callable[[Path], Converted]:
    """Give ``agrees(path)``: convert a file of float pictures and compare with ONNX Runtime on random ones."""

    def check(path: Path) -> Converted:
        converted = convert(path, quiet=True)
        size = converted.model.network.architecture.size
        pictures = np.random.default_rng(0).normal(0, 1, (2, 3, size, size)).astype(np.float32)
        theirs = answers(path, pictures)
        with torch.inference_mode():
            ours = converted.model.network(torch.from_numpy(pictures)).numpy()
        assert np.ptp(theirs) > 0.1
        assert np.abs(ours - theirs).max() <= 1e-4 * np.ptp(theirs)
        return converted

    return check
