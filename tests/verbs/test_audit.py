from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mobilenets
from mobilenets.base.extras import how_to_install
from mobilenets.cli.audit import audited
from mobilenets.datasets.folder import Sample
from mobilenets.drawing.audit import Curves, Kernels, audit_figure
from mobilenets.errors import InputError
from mobilenets.measure.cost import cost
from mobilenets.measure.kernels import constant_channels, int8_decibels, weak_kernels
from mobilenets.models.architecture import Architecture
from mobilenets.models.network import Network
from mobilenets.models.rows import Conv, Inverted, PooledHead, Separable
from mobilenets.models.saved import load_model, save_weights
from mobilenets.models.tables import Table
from mobilenets.pictures.decode import decode, decode_scaled
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runs.held_out import fitted_pictures
from mobilenets.runtime.bundle import Bundle, read_bundle, write_bundle

CLASSES = ("cat", "dog", "owl")


def architecture(*body: Any) -> Architecture:
    return Architecture("own", 1.0, 32, "custom", Table(body, PooledHead(), rounding="exact"))


def saved(folder: Path, network: Network) -> Path:
    save_weights(folder / "model.safetensors", network.state_dict())
    write_bundle(folder, Bundle(network.architecture.to_json(), CLASSES, Preprocessing(32)))
    return folder


@pytest.fixture(scope="module")
def whole(trained: Any) -> dict[str, Any]:
    return mobilenets.audit(trained.run, data=trained.data)


def test_every_convolution_has_a_row(whole: dict[str, Any], trained: Any) -> None:
    network = load_model(trained.run).network
    kinds = {layer.name: layer for layer in cost(network.architecture, 3).layers}
    assert [layer["name"] for layer in whole["layers"]] == [
        name for name, layer in kinds.items() if "pool" not in layer.kind and layer.kind != "linear"
    ]
    assert all(layer["kernels"] == kinds[layer["name"]].output[0] for layer in whole["layers"])
    assert whole["images"] == 12
    json.dumps(whole, allow_nan=False)


def test_a_scale_for_each_channel_loses_less(whole: dict[str, Any]) -> None:
    for layer in whole["layers"]:
        assert 30 < layer["int8_db"] < 70
        assert layer["int8_one_scale_db"] < layer["int8_db"] + 0.1


def test_int8_of_the_activations(whole: dict[str, Any], trained: Any) -> None:
    pytest.importorskip("onnx")
    rows = whole["layers"]
    # Errors add up, and those of the activations come to those of the weights.
    assert all(10 < row["int8_output_db"] < row["int8_db"] for row in rows[1:])
    assert rows[0]["int8_output_db"] > rows[-1]["int8_output_db"]
    assert {key: whole["int8"][key] for key in ("calibrated_on", "images")} == {"calibrated_on": 48, "images": 12}
    assert 10 < whole["int8"]["logits_db"] < 60
    assert whole["int8"]["quantization"]["pictures"] == 48
    assert "int8 dB, output" in audited(whole)
    assert (
        "calibrated on 48 training pictures, the logits keep a signal-to-noise ratio of "
        f"{whole['int8']['logits_db']:.1f} dB" in audited(whole)
    )


def test_without_pictures_it_says_what_to_add(whole: dict[str, Any], trained: Any) -> None:
    alone = mobilenets.audit(trained.run)
    assert alone["int8"] is None
    assert "add --data DATA to also" in audited(alone)
    assert "add --data" not in audited(whole)
    assert "int8 dB, output" not in audited(alone)
    assert [row | {"constant": None, "int8_output_db": None} for row in whole["layers"]] == alone["layers"]


def test_a_layer_that_int8_breaks_is_seen(trained: Any, tmp_path: Path, whole: dict[str, Any]) -> None:
    pytest.importorskip("onnx")
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    network = load_model(run).network
    layer: Any = network.get_submodule("body.separable3.pointwise")
    after: Any = network.get_submodule("body.separable4.depthwise")
    with torch.no_grad():
        # Within ReLU6 a channel of 1/1000 does as much as before, but a step of 8 bits is larger than all of it.
        for part in (layer.norm.weight, layer.norm.bias):
            part[1:] /= 1000
        after.conv.weight[1:] *= 1000
    write_bundle(run, replace(read_bundle(run), weights=None))
    save_weights(run / "model.safetensors", network.state_dict())
    found = {row["name"]: row["int8_output_db"] for row in mobilenets.audit(run, data=trained.data)["layers"]}
    before = {row["name"]: row["int8_output_db"] for row in whole["layers"]}
    assert found["body.separable3.depthwise"] == pytest.approx(before["body.separable3.depthwise"], abs=3)
    assert found["body.separable4.depthwise"] < before["body.separable4.depthwise"] - 10


def test_int8_without_what_it_needs(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name))
    found = mobilenets.audit(trained.run, data=trained.data)
    assert found["int8"] is None
    assert found["images"] == 12
    assert how_to_install("export") in caplog.text


def test_int8_without_pictures_to_calibrate_on(trained: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # One picture a class cannot be split.
    for name in CLASSES:
        (tmp_path / name).mkdir()
        shutil.copy(next((trained.data / name).iterdir()), tmp_path / name)
    found = mobilenets.audit(trained.run, data=tmp_path)
    assert (found["images"], found["int8"]) == (3, None)
    assert "the int8 error of the activations was not measured" in caplog.text


def test_fitted_pictures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = [Sample(tmp_path / f"{number}.png", 0) for number in range(9)]
    for number, sample in enumerate(samples):
        Image.new("RGB", (40, 50), (number, 0, 0)).save(sample.path)
    samples[4].path.write_bytes(b"no picture")

    def reds(most: int) -> list[int]:
        made = fitted_pictures(samples, Preprocessing(32), most, "reading")
        assert made.dtype == np.uint8 and made.shape[1:] == (32, 32, 3)
        return [int(value) for value in made[:, 0, 0, 0]]

    assert reds(2) == [0, 8]
    assert not caplog.records
    assert reds(100) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert "4.png" in caplog.text
    assert fitted_pictures([], Preprocessing(32), 5, "reading").shape == (0, 32, 32, 3)


def test_pictures_are_fitted_as_predict_sees_them(tmp_path: Path) -> None:
    """A large JPEG is not decoded whole."""
    colours = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    Image.fromarray(colours).resize((640, 480), Image.Resampling.BICUBIC).save(tmp_path / "large.jpg")
    [made] = fitted_pictures([Sample(tmp_path / "large.jpg", 0)], Preprocessing(32), 1, "reading")
    decoded = decode_scaled(tmp_path / "large.jpg", Preprocessing(32).surplus)
    assert decoded.whole == (640, 480) and decoded.image.width < 640
    assert (made == np.asarray(Preprocessing(32).fit(decoded.image))).all()
    assert (made != np.asarray(Preprocessing(32).fit(decode(tmp_path / "large.jpg")))).any()


def alive(*body: Any) -> Network:
    """Build a network in which every channel changes with the picture."""
    torch.manual_seed(0)
    network = Network(architecture(*body), 3).eval()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(part.bias, 2.0)
    return network


def killed(network: Network, layer: str, channels: list[int]) -> Network:
    """Set a layer's channels to a constant, as training does: the norm's scale is all but nothing."""
    norm: Any = network.get_submodule(layer).norm
    with torch.no_grad():
        norm.weight[channels] = 1e-9
    return network


CASES = {
    "v1": (
        (Conv(8, stride=2), Separable(12), Separable(16)),
        ("body.separable1.depthwise", [1, 5]),
        (Conv(6, stride=2), Separable(12), Separable(16)),
    ),
    "v1, filters of a separable before": (
        (Conv(8), Separable(12, stride=2), Separable(16)),
        ("body.separable2.depthwise", [0, 3, 11]),
        (Conv(8), Separable(9, stride=2), Separable(16)),
    ),
    "v2 without expansion": (
        (Conv(8), Inverted(16, expand=1), Conv(20, kernel=1)),
        ("body.inverted1.depthwise", [7]),
        (Conv(7), Inverted(16, expand=1), Conv(20, kernel=1)),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("by_pictures", [False, True])
def test_what_goes_is_what_a_narrower_network_lacks(case: str, by_pictures: bool, tmp_path: Path, photos: Path) -> None:
    body, (layer, channels), narrower = CASES[case]
    run = saved(tmp_path, killed(alive(*body), layer, channels))
    data = None
    if by_pictures:
        data = tmp_path / "data"
        for name, given in zip(CLASSES, ("blue", "green", "red"), strict=True):
            shutil.copytree(photos / given, data / name)
    found = mobilenets.audit(run, data=data)
    row = next(row for row in found["layers"] if row["name"] == layer)
    assert row["dead"] == len(channels)
    assert row["constant"] == (len(channels) if by_pictures else None)
    wide, narrow = cost(architecture(*body), 3), cost(architecture(*narrower), 3)
    assert found["removable"]["channels"] == len(channels)
    assert found["removable"]["parameters"] == wide.parameters - narrow.parameters
    assert found["removable"]["macs"] == wide.macs - narrow.macs
    assert found["removable"]["macs_share"] == pytest.approx(1 - narrow.macs / wide.macs)
    assert found["removable"]["top1_change"] == (0.0 if by_pictures else None)


def test_weights_that_two_layers_share_go_once(tmp_path: Path) -> None:
    network = alive(Conv(8), Separable(12), Separable(16))
    killed(killed(network, "body.separable1.depthwise", [2]), "body.separable2.depthwise", [4, 5])
    found = mobilenets.audit(saved(tmp_path, network))["removable"]
    wide, narrow = (cost(architecture(Conv(a), Separable(b), Separable(16)), 3) for a, b in ((8, 12), (7, 10)))
    assert (found["parameters"], found["macs"]) == (wide.parameters - narrow.parameters, wide.macs - narrow.macs)


def test_what_others_use_stays(tmp_path: Path) -> None:
    # The channels before the second block are also what is added to it; its own expansion goes with the kernel.
    body = (Conv(8), Inverted(8, expand=1), Inverted(8, expand=3))
    network = killed(alive(*body), "body.inverted1.depthwise", [3])
    found = mobilenets.audit(saved(tmp_path, network))["removable"]
    assert found["parameters"] == (9 + 2) + 8
    network = killed(alive(*body), "body.inverted2.depthwise", [20])
    found = mobilenets.audit(saved(tmp_path, network))["removable"]
    assert found["parameters"] == (8 + 2) + (9 + 2) + 8


def test_a_channel_that_a_relu_holds_at_zero_is_found_by_pictures_only(tmp_path: Path, trained: Any) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    network = load_model(run).network
    layer: Any = network.get_submodule("body.separable2.depthwise")
    with torch.no_grad():
        layer.norm.bias[:4] = -100.0
    write_bundle(run, replace(read_bundle(run), weights=None))
    save_weights(run / "model.safetensors", network.state_dict())
    [before, after] = [
        next(row for row in found["layers"] if row["name"] == "body.separable2.depthwise")
        for found in (mobilenets.audit(run), mobilenets.audit(run, data=trained.data))
    ]
    assert before["dead"] == after["dead"] == 0
    assert after["constant"] >= 4


def test_weak_kernels() -> None:
    weight = np.ones((10, 1, 3, 3), np.float32)
    weight[0], weight[1], weight[2:8] = 1e-3, 0.03, 0
    weak = weak_kernels(weight)
    # More than half are dead, so the median would be.
    assert np.flatnonzero(weak.dead).tolist() == [0, 2, 3, 4, 5, 6, 7]
    assert np.flatnonzero(weak.near_dead).tolist() == [1]
    assert weak_kernels(np.zeros((2, 1, 3, 3), np.float32)).dead.all()


def test_constant_channels() -> None:
    low, high = np.array([0, 0, 1, 5], np.float32), np.array([1, 0.001, 1, 6], np.float32)
    assert constant_channels(low, high).tolist() == [False, True, True, False]


def test_int8_decibels() -> None:
    exact = np.arange(-127, 128, dtype=np.float32).reshape(1, -1, 1, 1) / 127
    assert int8_decibels(exact) > 100
    uneven = np.stack([exact[0], exact[0] * np.float32(1e-3)])
    assert int8_decibels(uneven) > 100
    assert int8_decibels(uneven[1:] + 0) > 100
    # With one scale the small kernel is rounded to nothing, and all of it is noise.
    alone = np.square(uneven[1].astype(np.float64)).sum() / np.square(uneven.astype(np.float64)).sum()
    assert int8_decibels(uneven, each=False) == pytest.approx(-10 * np.log10(alone), abs=0.1)
    assert int8_decibels(np.zeros((2, 3, 1, 1), np.float32)) == 200


@pytest.fixture
def drawn(trained: Any, tmp_path: Path) -> Iterator[Path]:
    mobilenets.audit(trained.run, out=tmp_path / "out")
    yield tmp_path / "out"


def test_out(drawn: Path) -> None:
    assert sorted(path.name for path in drawn.iterdir()) == ["audit.json", "audit.png"]
    assert json.loads((drawn / "audit.json").read_bytes())["images"] is None
    with Image.open(drawn / "audit.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300


CURVES = Curves(("body.conv0", "body.inverted1.depthwise"), (40.0, 45.0), (38.0, -2.0))
ONES = np.ones((3, 1, 3, 3), np.float32)


@pytest.mark.parametrize("kernels", [None, Kernels("body.inverted1.depthwise", ONES, weak_kernels(ONES))])
def test_curves(kernels: Kernels | None) -> None:
    figure = audit_figure(kernels, CURVES)
    assert len(figure.axes) == (1 if kernels is None else 2)
    axes = figure.axes[-1]
    assert [list(np.asarray(line.get_ydata())) for line in axes.lines] == [[40.0, 45.0], [38.0, -2.0]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["conv0", "inverted1.depthwise"]
    assert axes.get_ylim()[0] <= -2.0


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        audit_figure(None, None)


def test_nothing_depthwise_is_nothing_to_draw(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = saved(tmp_path / "run", alive(Conv(8), Conv(8)))
    found = mobilenets.audit(run, out=tmp_path / "out")
    assert found["depthwise"] == {"kernels": 0, "dead": 0, "near_dead": 0}
    assert "no plot was drawn" in caplog.text
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["audit.json"]


def test_an_exported_file_is_not_looked_into(trained: Any, tmp_path: Path) -> None:
    from mobilenets.runtime.exported import Exported

    bundle = load_model(trained.run).bundle
    exported = Exported("model.onnx", "onnx", "float32", {"model.onnx": "0" * 64})
    write_bundle(tmp_path, dataclasses.replace(bundle, export=exported))
    with pytest.raises(InputError, match="give the run folder it was made from"):
        mobilenets.audit(tmp_path)
