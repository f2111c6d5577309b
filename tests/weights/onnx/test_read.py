"""ONNX files of others and of our own: what they become answers as ONNX Runtime says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from mobilenets.errors import InputError
from mobilenets.exports.formats import write
from mobilenets.exports.job import Job, Options
from mobilenets.models.network import Network
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle, write_bundle
from mobilenets.weights.convert import Converted, convert
from mobilenets.weights.read import read, reader_of
from mobilenets.weights.start import open_weights

FIXTURES = Path(__file__).parents[2] / "fixtures"
PICTURES = FIXTURES / "tensorflow" / "pictures.npz"
Disturbed = Callable[..., Network]
Saved = Callable[..., Path]
Agrees = Callable[[Path], Converted]
Answers = Callable[[Path, np.ndarray], np.ndarray]


@pytest.mark.parametrize(
    ("name", "kind", "size", "padding"),
    [
        ("tf2onnx_v1", "tf2onnx 1.17, Keras's V1, any size", 75, "keras"),
        ("tf2onnx_v2_bytes", "tf2onnx 1.17, V2 with its own scaling and softmax", 64, "same"),
        ("keras_torch_v1", "torch.export, Keras's V1 on PyTorch", 64, "keras"),
    ],
)
def test_files_of_converters(
    name: str, kind: str, size: int, padding: str, compared: Callable[[str, str, np.ndarray, np.ndarray], None]
) -> None:
    file = FIXTURES / "onnx" / f"{name}.onnx"
    converted = convert(file, size=size, quiet=True)
    pixels = np.load(PICTURES)[f"pictures_{size}"]
    images = torch.from_numpy(converted.model.bundle.preprocessing.normalise(pixels).transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        ours = converted.model.network(images).softmax(1).numpy()
    compared("ONNX", kind, ours, np.load(file.with_suffix(".npz"))[f"answers_{size}"])
    assert converted.model.network.architecture.table.padding == padding
    assert converted.model.bundle.preprocessing.mean == (0.5, 0.5, 0.5)
    assert converted.assigned.surplus == ()


def test_a_v3_with_its_scaling_and_hard_functions_written_out(
    compared: Callable[[str, str, np.ndarray, np.ndarray], None],
) -> None:
    file = FIXTURES / "onnx" / "tf2onnx_v3_small.onnx"
    converted = convert(file, quiet=True)
    assert converted.model.network.architecture.name == "mobilenet_v3_small"
    assert converted.model.bundle.preprocessing.mean == (0.5, 0.5, 0.5)
    pixels = np.load(PICTURES)["pictures_75"]
    images = converted.model.bundle.preprocessing.normalise(pixels).transpose(0, 3, 1, 2).copy()
    with torch.inference_mode():
        ours = converted.model.network(torch.from_numpy(images)).numpy()
    kind = "tf2onnx 1.17, Keras's V3 small with its own scaling"
    compared("ONNX", kind, ours, np.load(file.with_suffix(".npz"))["answers_75"])


@pytest.mark.parametrize(
    "name",
    ["mobilenet_v3_small", "mobilenet_v3_large", "mobilenet_v3_small_minimalistic", "mobilenet_v4_conv_small"],
)
def test_our_own_exports_of_v3_and_v4(name: str, disturbed: Disturbed, saved: Saved, agrees: Agrees) -> None:
    converted = agrees(saved(disturbed(name, 3, 0.5, size=64, variant="standard")))
    assert converted.model.network.architecture.name == name
    assert converted.model.network.classes == 3


def test_what_the_graph_does_to_pictures_is_told_apart_from_what_is_assumed() -> None:
    inside, outside = (read(FIXTURES / "onnx" / f"{name}.onnx") for name in ("tf2onnx_v2_bytes", "tf2onnx_v1"))
    assert inside.assumed == ()
    assert inside.size == 64 and outside.size is None
    (line,) = outside.assumed
    assert line.startswith("it does not say how pictures become numbers, so as TensorFlow's networks, from -1 to 1")


# Our own exports.


@pytest.mark.parametrize(
    ("name", "width", "size"),
    [
        ("mobilenet_v1", 0.25, 64),
        ("mobilenet_v2", 0.35, 75),
        ("mobilenet_v1_cifar", 1, 32),
        ("mobilenet_v3_small", 0.25, 64),  # what explains it multiplies maps, as squeeze-and-excitation does
        ("mobilenet_v4_conv_small", 0.25, 64),
    ],
)
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("inside", [False, True])
def test_our_own_exports(
    name: str,
    width: float,
    size: int,
    precision: str,
    inside: bool,
    disturbed: Disturbed,
    tmp_path: Path,
    answers: Answers,
) -> None:
    network = disturbed(name, 3, width, size=size)
    how = Preprocessing(size=size, mean=(0.1, 0.2, 0.3), resize="pad")
    exported = write(Job(network, how, Options("onnx", precision, pixels=inside, probabilities=inside), tmp_path))
    classes = ("a", "b", "c")
    write_bundle(tmp_path, Bundle(network.architecture.to_json(), classes, how, export=exported))
    converted = convert(tmp_path / "model.onnx", quiet=True)
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    images = how.normalise(pixels).transpose(0, 3, 1, 2).copy()
    with torch.inference_mode():
        ours = converted.model.network(torch.from_numpy(images))
    ours = (ours.softmax(1) if inside else ours).numpy()
    theirs = answers(tmp_path / "model.onnx", pixels if inside else images)
    assert np.abs(ours - theirs).max() <= 1e-4 * np.ptp(theirs)
    assert converted.model.bundle.classes == classes
    assert converted.model.bundle.preprocessing == how
    assert converted.model.network.architecture.name == name
    assert (converted.foreign.assumed, converted.notes) == ((), ())


def test_an_export_for_a_camera_names_its_run(disturbed: Disturbed, tmp_path: Path) -> None:
    network = disturbed("mobilenet_v1", 3, 0.25, size=64)
    options = Options("onnx", "float32", pixels=True, camera=True)
    write(Job(network, Preprocessing(size=64), options, tmp_path))
    with pytest.raises(InputError, match=r"give the run folder that it was exported from$"):
        read(tmp_path / "model.onnx")


def test_int8_is_refused(saved: Saved, disturbed: Disturbed) -> None:
    def quantise(graph: onnx.GraphProto) -> None:
        graph.node.append(helper.make_node("QuantizeLinear", ["logits", "scale"], ["q"]))
        graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "scale"))

    with pytest.raises(InputError, match=r"quantised to int8 \(QuantizeLinear\); give the float model"):
        read(saved(disturbed("mobilenet_v1", 3, 0.25, size=64), quantise))


# Changes that weights alone would not show.


def _first(graph: onnx.GraphProto, kind: str) -> onnx.NodeProto:
    return next(node for node in graph.node if node.op_type == kind)


def _without(kind: str) -> Callable[[onnx.GraphProto], None]:
    """Take the first node of a kind out; what took it takes its last input."""

    def change(graph: onnx.GraphProto) -> None:
        node = _first(graph, kind)
        for other in graph.node:
            for place, name in enumerate(other.input):
                if name == node.output[0]:
                    other.input[place] = node.input[-1] if kind == "Add" else node.input[0]
        graph.node.remove(node)

    return change


def _as(kind: str, new: str, **attributes: object) -> Callable[[onnx.GraphProto], None]:
    def change(graph: onnx.GraphProto) -> None:
        node = _first(graph, kind)
        node.op_type = new
        del node.input[1:]
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())

    return change


def _times(graph: onnx.GraphProto) -> None:
    _first(graph, "Add").op_type = "Mul"


def _attribute(kind: str, name: str, value: object) -> Callable[[onnx.GraphProto], None]:
    def change(graph: onnx.GraphProto) -> None:
        node = _first(graph, kind)
        for attribute in list(node.attribute):
            if attribute.name == name:
                node.attribute.remove(attribute)
        node.attribute.append(helper.make_attribute(name, value))

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_without("Clip"), r"'body.conv0' is a convolution 3×3 of stride 2 with no activation, where .* ReLU6"),
        (_without("Add"), r"is a convolution 1×1 of stride 1 with ReLU6, where .* a sum of two maps"),
        (_as("Clip", "Relu"), r"with ReLU, where the network that its weights fit has .* ReLU6 \(body.conv0\)"),
        (_as("Clip", "LeakyRelu"), r"it has a leaky ReLU \('body.conv0'\): no network here has that"),
        (_times, r"'body.inverted1' is a product of two maps, where .* a sum of two maps \(body.inverted1\)"),
        (_attribute("Conv", "strides", [2, 1]), r"it has strides of 2 × 1 \('body.conv0'\)"),
        (_attribute("Conv", "dilations", [2, 2]), r"Conv 'body.conv0.conv' is dilated"),
        (_attribute("Conv", "pads", [0, 0, 1, 0]), r"convolutions of stride 2 are padded by .*, in no MobileNet"),
        (_as("GlobalAveragePool", "GlobalMaxPool"), "no classifier: its GlobalMaxPool 'pool.mean' is no operation"),
    ],
)
def test_other_networks_are_refused(
    change: Callable[[onnx.GraphProto], None], why: str, saved: Saved, disturbed: Disturbed
) -> None:
    path = saved(disturbed("mobilenet_v2", 3, 0.1, size=64, variant="standard"), change)
    if why.startswith("no classifier"):
        assert any(note.startswith(why) for note in convert(path, quiet=True).notes)
        return
    with pytest.raises(InputError, match=why) as caught:
        convert(path, quiet=True)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_several_differences_are_one_line(saved: Saved, disturbed: Disturbed) -> None:
    """As in PaddleOCR's text direction classifier, a MobileNetV3 for lines of text."""

    def change(graph: onnx.GraphProto) -> None:
        _attribute("Conv", "strides", [2, 1])(graph)
        _as("Clip", "HardSigmoid", alpha=0.2)(graph)

    with pytest.raises(
        InputError, match=r"a hard sigmoid of slope 0.2 .*; strides of 2 × 1 .*: no network here has that"
    ):
        convert(saved(disturbed("mobilenet_v2", 3, 0.1, size=64, variant="standard"), change), quiet=True)


def test_what_no_mobilenet_is_gets_a_guess(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((8, 3, 7, 7), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], pads=[3] * 4),
        helper.make_node("Resize", ["y", "", "scales"], ["z"]),
        helper.make_node("Concat", ["y", "z"], ["out"], axis=1),
    ]
    scales = numpy_helper.from_array(np.ones(4, np.float32), "scales")
    with pytest.raises(InputError, match=r"no operation of a MobileNet \(by its operations, a network that detects"):
        convert(_graph(tmp_path, nodes, [weight, scales]), quiet=True)


def _graph(folder: Path, nodes: list[onnx.NodeProto], tensors: list[onnx.TensorProto]) -> Path:
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64])
    leave = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    path = folder / "model.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [entry], [leave], tensors)), path)
    return path


# Outputs, classes, sizes, names.


def _more_outputs(graph: onnx.GraphProto) -> None:
    weight = numpy_helper.from_array(np.ones((1280, 2), np.float32), "other.weight")
    graph.initializer.append(weight)
    graph.node.append(helper.make_node("MatMul", ["pool", "other.weight"], ["other"]))
    graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, None))


def test_one_of_several_outputs_is_named(saved: Saved, disturbed: Disturbed) -> None:
    path = saved(disturbed("mobilenet_v2", 3, 0.1, size=64, variant="standard"), _more_outputs)
    with pytest.raises(InputError, match="several outputs: logits, other; choose one with --output NAME"):
        convert(path, quiet=True)
    assert convert(path, quiet=True, output="other").model.network.classes == 2
    assert convert(path, quiet=True, output="logits").model.network.classes == 3
    with pytest.raises(InputError, match="it has no output 'neither'; choose one of: logits, other"):
        convert(path, quiet=True, output="neither")


def test_a_map_beside_the_scores_is_left_alone(saved: Saved, disturbed: Disturbed) -> None:
    def change(graph: onnx.GraphProto) -> None:
        graph.output.append(helper.make_tensor_value_info("body.conv18", TensorProto.FLOAT, None))

    path = saved(disturbed("mobilenet_v2", 3, 0.1, size=64, variant="standard"), change)
    assert convert(path, quiet=True).model.network.classes == 3


def test_the_best_class_at_the_end_is_passed_over(saved: Saved, disturbed: Disturbed) -> None:
    def change(graph: onnx.GraphProto) -> None:
        graph.node.append(helper.make_node("ArgMax", ["logits"], ["best"], axis=1))
        graph.output[0].name = "best"

    path = saved(disturbed("mobilenet_v2", 3, 0.1, size=64, variant="standard"), change)
    assert convert(path, quiet=True).model.network.classes == 3


@pytest.mark.parametrize("text", ["{0: 'cat', 1: \"dog's\", 2: 'fox'}", json.dumps(["cat", "dog's", "fox"])])
def test_class_names_in_the_file(text: str, saved: Saved, disturbed: Disturbed) -> None:
    path = saved(disturbed("mobilenet_v1", 3, 0.25, size=64))
    model = onnx.load(path)
    helper.set_model_props(model, {"names": text})
    onnx.save(model, path)
    assert convert(path, quiet=True).model.bundle.classes == ("cat", "dog's", "fox")


def test_pictures_that_are_not_square(saved: Saved, disturbed: Disturbed) -> None:
    def change(graph: onnx.GraphProto) -> None:
        graph.input[0].type.tensor_type.shape.dim[3].dim_value = 96

    converted = convert(saved(disturbed("mobilenet_v1", 3, 0.25, size=64), change), quiet=True)
    assert any("made for pictures of 96 × 64, which are not square" in note for note in converted.notes)


def test_grey_pictures_are_refused(saved: Saved, disturbed: Disturbed) -> None:
    def change(graph: onnx.GraphProto) -> None:
        graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
        weight = graph.initializer[0]
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[:, :1].copy(), weight.name))

    with pytest.raises(InputError, match="does not take the 3 channels"):
        convert(saved(disturbed("mobilenet_v1", 3, 0.25, size=64), change), quiet=True)


def test_any_name_will_do_and_training_starts_from_it(saved: Saved, disturbed: Disturbed) -> None:
    path = saved(disturbed("mobilenet_v1", 3, 0.25, size=64))
    other = path.rename(path.with_name("weights.bin"))
    assert reader_of(other).__module__ == "mobilenets.weights.onnx.read"
    model = open_weights(str(other), "mobilenet_v1", 0.25, 64)
    assert model is not None and model.network.classes == 3
