"""What PyTorch's own exporter makes of modules such as people write: it answers as ONNX Runtime says."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mobilenets.weights.convert import Converted, convert
from mobilenets.weights.read import read

Agrees = Callable[[Path], Converted]
Answers = Callable[[Path, np.ndarray], np.ndarray]


def _unit(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: type = nn.ReLU6) -> list:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), act()]


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, act: type) -> None:
        super().__init__()
        wide = 6 * inputs
        self.conv = nn.Sequential(*_unit(inputs, wide, 1, act=act), *_unit(wide, wide, 3, stride, wide, act))
        self.project = nn.Sequential(nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.joins = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.conv(x))
        return x + y if self.joins else y


class Tiny(nn.Module):
    """A V2 with a table of its own."""

    def __init__(self, act: type = nn.ReLU6) -> None:
        super().__init__()
        blocks = [Bottleneck(8, 16, 2, act), Bottleneck(16, 16, 1, act), Bottleneck(16, 24, 2, act)]
        self.features = nn.Sequential(*_unit(3, 8, 3, 2, act=act), *blocks, *_unit(24, 48, 1, act=act))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(48, 5))

    def pooled(self, x: Tensor) -> Tensor:
        return torch.flatten(functional.adaptive_avg_pool2d(self.features(x), 1), 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.pooled(x))
        return y


class ByMean(Tiny):
    def pooled(self, x: Tensor) -> Tensor:
        return self.features(x).mean([2, 3])


class ByView(Tiny):
    def pooled(self, x: Tensor) -> Tensor:
        y = self.features(x)
        return functional.avg_pool2d(y, y.shape[-1]).view(y.shape[0], -1)


class InARow(Tiny):
    def pooled(self, x: Tensor) -> Tensor:
        y = self.features(x)
        return y.view(y.shape[0], y.shape[1], -1).mean(2)


class RowsLast(Tiny):
    def pooled(self, x: Tensor) -> Tensor:
        return self.features(x).mean(3).mean(2)


class ColumnsLast(Tiny):
    def pooled(self, x: Tensor) -> Tensor:
        return self.features(x).mean(2, keepdim=True).mean(3, keepdim=True).flatten(1)


class RectifiedBetween(Tiny):
    def pooled(self, x: Tensor) -> Tensor:
        return (self.features(x).mean(3) - 1).relu().mean(2)


class Sixth(nn.Module):
    """Hard-swish with 1/6 as float16 has it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * functional.relu6(x + 3) * float(np.float16(1 / 6))


class Prepared(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        return super().forward((x / 255 - mean) / deviation).softmax(1)


class Hidden(Tiny):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Sequential(nn.Linear(48, 12), nn.ReLU(), nn.Linear(12, 5))


class EachClass(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sigmoid()


class TwoLinear(Tiny):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Sequential(nn.Linear(48, 12), nn.BatchNorm1d(12), nn.Linear(12, 5))


def exported(module: nn.Module, path: Path, size: int = 64, **options: object) -> Path:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.3, 2, generator=generator)
            elif name.endswith(("running_mean", "bias")):
                value.normal_(0, 0.3, generator=generator)
            elif value.ndim > 1:
                value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), (torch.rand(2, 3, size, size),), path, dynamo=False, **options)
    return path


@pytest.mark.parametrize("options", [{}, {"opset_version": 9}, {"dynamic_axes": {"x": {0: "n", 2: "h", 3: "w"}}}])
@pytest.mark.parametrize("kind", [Tiny, ByMean, InARow, RowsLast, ColumnsLast])
def test_modules_of_pytorch(kind: type[Tiny], options: dict[str, object], tmp_path: Path, agrees: Agrees) -> None:
    converted = agrees(exported(kind(), tmp_path / "model.onnx", input_names=["x"], **options))
    assert converted.foreign.size == (None if "dynamic_axes" in options else 64)
    assert converted.model.network.architecture.table.padding == "symmetric"
    assert converted.model.bundle.preprocessing.mean == (0.485, 0.456, 0.406)


def test_batchnorm_that_was_not_folded(tmp_path: Path, agrees: Agrees) -> None:
    plain = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    converted = agrees(exported(Tiny(), tmp_path / "model.onnx", **plain))
    assert converted.foreign.epsilon == 1e-5
    assert converted.assigned.placed["body.conv0"] == ("features.0", "features.1")


def test_an_average_over_windows_needs_a_fixed_size(tmp_path: Path, agrees: Agrees) -> None:
    agrees(exported(ByView(), tmp_path / "fixed.onnx"))
    open_size = {"input_names": ["x"], "dynamic_axes": {"x": {2: "h", 3: "w"}}}
    headless = read(exported(ByView(), tmp_path / "open.onnx", **open_size)).headless
    assert headless.endswith("averages 8 × 8 pixels of a map of unknown size; export it with a fixed input size")


@pytest.mark.parametrize(("act", "name"), [(nn.ReLU, "relu"), (nn.Hardswish, "hard_swish")])
@pytest.mark.parametrize("opset", [11, 17])
def test_another_activation_is_kept(act: type, name: str, opset: int, tmp_path: Path, agrees: Agrees) -> None:
    converted = agrees(exported(Tiny(act), tmp_path / "model.onnx", opset_version=opset))
    assert converted.model.network.architecture.table.activation == name


def test_a_sixth_that_float16_rounded(tmp_path: Path, answers: Answers) -> None:
    path = exported(Tiny(Sixth), tmp_path / "model.onnx")
    network = convert(path, quiet=True).model.network
    assert network.architecture.table.activation == "hard_swish"
    pictures = np.random.default_rng(0).normal(0, 1, (2, 3, 64, 64)).astype(np.float32)
    theirs = answers(path, pictures)
    with torch.inference_mode():
        ours = network(torch.from_numpy(pictures)).numpy()
    assert np.abs(ours - theirs).max() <= 2e-3 * np.ptp(theirs)


@pytest.mark.parametrize("opset", [11, 17])
def test_a_file_exported_in_training_mode(opset: int, tmp_path: Path) -> None:
    module = Tiny()
    exported(module, path := tmp_path / "model.onnx")
    assert not any("training mode" in line for line in read(path).assumed)
    mode = torch.onnx.TrainingMode.TRAINING
    pictures = torch.rand(2, 3, 64, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.train(), (pictures,), path, dynamo=False, opset_version=opset, training=mode)
    converted = convert(path, quiet=True)
    assert any("training mode" in line and "model.eval()" in line for line in converted.foreign.assumed)
    with torch.inference_mode():
        theirs = module.eval()(pictures)
        assert (converted.model.network(pictures) - theirs).abs().max() <= 1e-4 * (theirs.max() - theirs.min())


def test_normalisation_inside(tmp_path: Path, answers: Answers) -> None:
    path = exported(Prepared(), tmp_path / "model.onnx")
    converted = convert(path, quiet=True)
    how = converted.model.bundle.preprocessing
    assert (how.mean, how.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert converted.foreign.assumed == ()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    with torch.inference_mode():
        images = torch.from_numpy(how.normalise(pixels).transpose(0, 3, 1, 2).copy())
        ours = converted.model.network(images).softmax(1).numpy()
    np.testing.assert_allclose(ours, answers(path, pixels.transpose(0, 3, 1, 2).astype(np.float32)), atol=1e-5)


def test_linear_layers_in_a_row_are_one(tmp_path: Path, agrees: Agrees) -> None:
    assert agrees(exported(TwoLinear(), tmp_path / "model.onnx")).model.network.classes == 5


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Hidden, "is a convolution 1×1 of stride 1 with ReLU, where the network that its weights fit has a flattened"),
        (EachClass, "its 5 scores end in sigmoid, each class separately"),
        (RectifiedBetween, "its Sub '/Sub' is no operation of a MobileNet"),
    ],
)
def test_another_head_leaves_a_backbone(kind: type[Tiny], why: str, tmp_path: Path) -> None:
    converted = convert(exported(kind(), tmp_path / "model.onnx"), quiet=True)
    assert converted.model.network.classes == 0
    assert any(note.startswith("no classifier: ") and why in note for note in converted.notes)
