from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from PIL import Image

import mobilenets
from mobilenets.errors import InputError
from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.graph.geometry import PIXELS, geometry_model, with_geometry
from mobilenets.exports.job import Options
from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing

Pixels = npt.NDArray[np.uint8]

# Height and width: wide, tall, smaller than the input, of its size, twice its size, strips, and one pixel.
SIZES = [(48, 64), (75, 64), (33, 91), (7, 5), (40, 40), (80, 80), (100, 93), (300, 211), (1, 5000), (1, 1), (2, 3)]
# Which Pillow from 13 on, left to itself, would resize columns first.
SIZES += [(91, 33), (300, 100), (500, 333), (5000, 1)]


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng((height, width)).integers(0, 256, (height, width, 3), np.uint8)


def photo(height: int, width: int) -> Pixels:
    small = Image.fromarray(np.random.default_rng((width, height)).integers(0, 256, (9, 12, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def differences(found: Pixels, pixels: Pixels, how: Preprocessing) -> npt.NDArray[np.int64]:
    return np.abs(found.astype(np.int64) - np.asarray(how.fit(Image.fromarray(pixels))))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
def test_gives_the_pixels_of_the_preprocessing(resize: str, interpolation: str) -> None:
    """On noise and on smooth pictures, and at sides that are no multiple of a block."""
    for size in (40, 32, 17):
        how = Preprocessing(size, resize=resize, interpolation=interpolation, fill=(9, 130, 250))
        run = session(geometry_model(how, "images"))
        for height, width in SIZES:
            for pixels in (noise(height, width), photo(height, width)):
                [found] = run.run(None, {"images": pixels[None]})
                assert found.shape == (1, size, size, 3) and found.dtype == np.uint8
                assert differences(found[0], pixels, how).max() == 0


@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
def test_openvino_gives_them_too(resize: str) -> None:
    pytest.importorskip("openvino")
    from mobilenets.runtime.engines.ov import openvino

    how = Preprocessing(40, resize=resize)
    model = openvino.convert_model(io.BytesIO(geometry_model(how, "images").SerializeToString()))
    run = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for height, width in SIZES:
        pixels = noise(height, width)
        off = differences(run(pixels[None])[0][0], pixels, how)
        assert off.max() <= 1 and (off > 0).mean() < 0.02


@pytest.mark.parametrize("size", [(1000, 1), (7, 2), (641, 480), (99, 101)])
def test_a_half_is_rounded_to_the_even_neighbour(size: tuple[int, int]) -> None:
    """Offsets and sides of one pixel more or less would show on pictures of stripes as wide as a pixel."""
    stripes = np.zeros((*size, 3), np.uint8)
    stripes[::2, 1::2] = 255
    for crop_fraction in (0.875, 0.97, 1.0):
        for resize in ("crop", "pad"):
            how = Preprocessing(33, resize=resize, crop_fraction=crop_fraction, fill=(255, 0, 255))
            how = replace(how, interpolation="bilinear")
            [found] = session(geometry_model(how, "images")).run(None, {"images": stripes[None]})
            assert differences(found[0], stripes, how).max() == 0


def test_before_a_network() -> None:
    network, how = mobilenets.create_model("mobilenet_v1_cifar", classes=5, size=32).eval(), Preprocessing(32)
    assert isinstance(network, Network)
    inner = onnx_model(network, how, Options("onnx", pixels=True))
    before = inner.SerializeToString()
    whole = with_geometry(inner, how)
    [entry], [leave] = whole.graph.input, whole.graph.output
    assert [side.dim_value for side in entry.type.tensor_type.shape.dim] == [1, 0, 0, 3]
    assert entry.name == "images" and leave.type.tensor_type.shape.dim[0].dim_value == 1
    assert [one.version for one in whole.opset_import] == [one.version for one in inner.opset_import]
    alone = onnxruntime.InferenceSession(before, providers=["CPUExecutionProvider"])
    both = session(whole)
    pixels = session(geometry_model(how, "images"))
    for height, width in ((48, 64), (90, 31)):
        picture = noise(height, width)[None]
        [made] = pixels.run([PIXELS], {"images": picture})
        [expected], [found] = alone.run(None, {"images": made}), both.run(None, {"images": picture})
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_nearest_has_no_form() -> None:
    with pytest.raises(InputError, match="but this model uses nearest: use --pixels"):
        geometry_model(Preprocessing(32, interpolation="nearest"), "images")
