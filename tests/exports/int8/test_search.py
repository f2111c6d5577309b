from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from mobilenets.exports import job
from mobilenets.exports.formats import onnx as writer
from mobilenets.exports.formats.onnx import write
from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.int8 import search as int8
from mobilenets.exports.int8.observe import observe
from mobilenets.exports.int8.qdq import Scheme, activation_scale, flowing, in_int8, weight_steps
from mobilenets.exports.job import Job, Options
from mobilenets.models.network import Network
from mobilenets.models.saved import load_classifier
from mobilenets.pictures.decode import decode
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.verbs.export import export

Lively = Callable[..., Network]

SMALL_NETWORKS = [
    ("mobilenet_v1", {"width": 0.25, "size": 33}),
    ("mobilenet_v2", {"width": 0.35, "size": 32}),
    ("mobilenet_v1_cifar", {"size": 28}),
]


def pictures(count: int, size: int) -> np.ndarray:
    """Noise in a colour of its own a picture."""
    rng = np.random.default_rng(0)
    return (rng.integers(0, 256, (count, size, size, 3)) * rng.random((count, 1, 1, 3))).astype(np.uint8)


def a_job(tmp_path: Path, made: Network, count: int = 4, **options: Any) -> Job:
    size = made.architecture.size
    return Job(made, Preprocessing(size), Options("onnx", "int8", **options), tmp_path, pictures(count, size))


def run(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def both(task: Job) -> tuple[onnx.ModelProto, onnx.ModelProto, dict[str, Any]]:
    model = onnx_model(task.network, task.preprocessing, task.options)
    return model, *int8.quantize(model, task)


@pytest.mark.parametrize("options", [{}, {"pixels": True}, {"probabilities": True}, {"batch": 2}])
@pytest.mark.parametrize(("name", "settings"), SMALL_NETWORKS)
def test_answers_nearly_as_float(
    tmp_path: Path, name: str, settings: dict[str, Any], options: dict[str, Any], lively: Lively
) -> None:
    task = a_job(tmp_path, lively(name, **settings), **options)
    model, quantized, _ = both(task)
    assert quantized.graph.input == model.graph.input
    assert quantized.graph.output == model.graph.output
    images: np.ndarray = pictures(2, task.preprocessing.size)
    if not task.options.pixels:
        images = task.preprocessing.normalise(images).transpose(0, 3, 1, 2)
    one, other = run(model, images), run(quantized, images)
    assert not np.array_equal(one, other)
    assert np.abs(one - other).max() < 0.1 * np.ptp(one)


def test_runs_on_integers(tmp_path: Path, lively: Lively) -> None:
    """ONNX Runtime must take the pairs for what they mean, or int8 is slower than float."""
    made = lively("mobilenet_v2", width=0.35, size=32)
    task = a_job(tmp_path, made)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    quantized = both(task)[1].SerializeToString()
    onnxruntime.InferenceSession(quantized, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("QLinearConv") == 52
    assert kinds.count("QLinearAdd") == sum(block.residual for block in made.plan.blocks)
    assert kinds.count("QGemm") == kinds.count("QLinearGlobalAveragePool") == kinds.count("QuantizeLinear") == 1
    assert {"Conv", "Clip", "Add", "Gemm", "DequantizeLinear"}.isdisjoint(kinds)


def test_size_is_about_a_quarter_and_weights_have_a_step_a_channel(tmp_path: Path, lively: Lively) -> None:
    made = lively("mobilenet_v2", classes=1000, size=32)
    model = onnx_model(made, Preprocessing(32), Options("onnx", "int8"))
    scheme = Scheme(dict.fromkeys(flowing(model), (-1.0, 1.0)), weight_steps(model, "largest"))
    quantized = in_int8(model, scheme)
    assert 0.25 < quantized.ByteSize() / model.ByteSize() < 0.28
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    weights = [name.removesuffix(".int8") for name in tensors if name.endswith(".int8")]
    assert len(weights) == 53
    for name in weights:
        whole = tensors[f"{name}.int8"]
        assert whole.dtype == np.int8
        assert tensors[f"{name}.step"].shape == (len(whole),)
        assert (np.abs(whole.reshape(len(whole), -1).astype(int)).max(axis=1) == 127).all()


def test_same_pictures_same_file(tmp_path: Path, lively: Lively) -> None:
    made = lively("mobilenet_v1_cifar", size=20)
    files = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        write(a_job(tmp_path / str(number), made, count=20))
        files.append((tmp_path / str(number) / "model.onnx").read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("count", [1, 5, 20])
def test_says_what_was_tried(tmp_path: Path, count: int, lively: Lively) -> None:
    tried = both(a_job(tmp_path, lively("mobilenet_v1_cifar", size=20), count))[2]
    assert tried["pictures"] == count
    assert tried["pictures_held_back"] == (5 if count == 20 else 0)
    assert {one["activations"] for one in tried["candidates"]} == {"min-max", "percentile 99.99", "least squares"}
    assert {one["bias_correction"] for one in tried["candidates"]} == {True, False}
    assert tried["chosen"] == min(tried["candidates"], key=lambda one: one["divergence"])


def test_bias_correction_brings_the_mean_back(tmp_path: Path, lively: Lively) -> None:
    made = lively("mobilenet_v2", width=0.35, size=32)
    task = a_job(tmp_path, made, count=12)
    model = onnx_model(made, task.preprocessing, task.options)
    images = np.ascontiguousarray(task.preprocessing.normalise(pictures(12, 32)).transpose(0, 3, 1, 2))
    seen = observe(model, images)
    scheme = Scheme(seen.ranges("min-max", range(12)), weight_steps(model, "largest"))
    # Rounded down, every weight pulls the same way.
    scheme = replace(scheme, steps={name: steps * 3 for name, steps in scheme.steps.items()})
    means = {name: rows.mean(axis=0) for name, rows in seen.means.items()}
    better = replace(scheme, biases=int8.corrected_biases(in_int8(model, scheme), images, means))
    errors = [run(in_int8(model, one), images).mean(axis=0) - seen.outputs.mean(axis=0) for one in (scheme, better)]
    assert np.abs(errors[1]).max() < 0.2 * np.abs(errors[0]).max()


def test_a_block_that_int8_breaks_stays_in_float(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = load_classifier(trained.run)
    preprocessing = saved.bundle.preprocessing
    photos = [np.asarray(preprocessing.fit(decode(path))) for path in sorted(trained.data.glob("*/*.png"))[::5]]
    task = Job(saved.network, preprocessing, Options("onnx", "int8"), tmp_path, np.stack(photos))
    steps = int8.weight_steps

    def coarse(model: onnx.ModelProto, rule: str, one: bool) -> dict[str, np.ndarray]:
        found = steps(model, rule)
        # Every weight becomes 0, and the pictures look alike.
        found["body.conv0.weight"] *= 1000
        return found

    monkeypatch.setattr(int8, "weight_steps", coarse)
    monkeypatch.setattr(int8, "SMALL", 0.0)
    _, quantized, tried = both(task)
    assert "body.conv0" in tried["chosen"]["float_blocks"]
    tensors = {tensor.name: tensor.data_type for tensor in quantized.graph.initializer}
    assert tensors["body.conv0.weight"] == onnx.TensorProto.FLOAT
    assert "body.separable2.depthwise.weight" not in tensors


def test_zero_is_exact() -> None:
    """Padding is zero: a step that cannot hold it shifts every border."""
    assert activation_scale(0.0, 6.0) == (np.float32(6 / 255), 0)
    scale, zero = activation_scale(-1.0, 3.0)
    assert zero == 64
    assert scale == np.float32(4 / 255)
    assert activation_scale(0.5, 1.0)[1] == 0
    assert activation_scale(-2.0, -1.0)[1] == 255
    assert activation_scale(0.0, 0.0) == (1, 0)


def test_dead_channels_keep_their_bias(tmp_path: Path, lively: Lively) -> None:
    made = lively("mobilenet_v1_cifar", size=20)
    convolution = made.body.conv0.conv  # type: ignore[union-attr]
    convolution.weight.data[0] = 0.0  # type: ignore[union-attr, index, operator]
    convolution.weight.data[1] = 1e-30  # type: ignore[union-attr, index, operator]
    made.body.conv0.norm.running_mean[:2] = 0.0  # type: ignore[union-attr, index]
    made.body.conv0.norm.bias.data[:2] = 3.0  # type: ignore[union-attr, index]
    task = a_job(tmp_path, made)
    model = onnx_model(made, task.preprocessing, task.options)
    images = np.ascontiguousarray(task.preprocessing.normalise(pictures(4, 20)).transpose(0, 3, 1, 2))
    scheme = Scheme(observe(model, images).ranges("min-max", range(4)), weight_steps(model, "largest"))
    quantized = in_int8(model, scheme)
    quantized.graph.output.append(onnx.ValueInfoProto(name="body.conv0"))
    session = onnxruntime.InferenceSession(quantized.SerializeToString(), providers=["CPUExecutionProvider"])
    kept = session.run(["body.conv0"], {"images": images})[0][:, :2]
    assert np.abs(kept - 3.0).max() < 0.05


def test_looks_at_training_pictures_only(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    quantize = int8.quantize

    def spy(model: onnx.ModelProto, task: job.Job) -> Any:
        seen.append(task.calibration)
        return quantize(model, task)

    monkeypatch.setattr(writer, "quantize", spy)
    result = export(trained.run, tmp_path / "out", precision="int8", data=trained.data, tolerance=100)
    preprocessing = load_classifier(trained.run).bundle.preprocessing
    rows = [line.split(",") for line in (trained.run / "split.csv").read_text().splitlines()[1:]]
    halves: dict[str, set[bytes]] = {"train": set(), "validation": set()}
    for path in sorted(trained.data.glob("*/*.png")):
        [row] = [row for row in rows if path.relative_to(trained.data).as_posix() in row]
        [half] = {"train", "validation"} & set(row)
        halves[half].add(np.asarray(preprocessing.fit(decode(path))).tobytes())
    [calibration] = seen
    given = {picture.tobytes() for picture in calibration}
    assert given == halves["train"]
    assert given.isdisjoint(halves["validation"])
    assert halves["validation"]
    assert result["passed"]
    assert result["quantization"]["pictures"] == len(calibration)
