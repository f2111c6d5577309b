"""Small files to begin with, one of each kind that is read; and changes of them, where no coverage guides."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from typing import Any

import numpy as np
from PIL import Image


def changed(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """Change some bytes: flipped, cut, repeated, or taken from another file."""
    content = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4, 8))):
        place, length = draw.randrange(len(content) + 1), draw.choice((1, 1, 2, 4, 16, 64))
        match draw.randrange(5):
            case 0:
                content[place : place + length] = draw.randbytes(length)
            case 1:
                del content[place : place + length]
            case 2:
                content[place:place] = content[place : place + length]
            case 3:
                begun = draw.randrange(len(other) + 1)
                content[place:place] = other[begun : begun + length]
            case _:
                content[place : place + 1] = bytes([draw.choice((0, 1, 127, 128, 255))])
    return bytes(content)


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture's file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def pictures(kind: str) -> list[bytes]:
    """Return small pictures of one kind, in several of its forms."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    grey, deep = noise.convert("L"), Image.fromarray(np.arange(221, dtype=np.uint16).reshape(13, 17) * 290)
    match kind:
        case "jpeg":
            forms: tuple[dict[str, Any], ...] = ({}, {"progressive": True}, {"subsampling": 0, "exif": exif})
            return [
                *(saved(noise, "JPEG", **form) for form in forms),
                saved(grey, "JPEG"),
                saved(noise.convert("CMYK"), "JPEG"),
            ]
        case "png":
            return [
                saved(noise, "PNG", exif=exif),
                saved(noise.convert("RGBA"), "PNG"),
                saved(noise.quantize(8), "PNG", transparency=0),
                saved(deep, "PNG"),
                saved(grey.convert("1"), "PNG"),
            ]
        case "tiff":
            packed = ("raw", "tiff_lzw", "packbits", "jpeg", "tiff_adobe_deflate")
            return [
                *(saved(noise, "TIFF", compression=how) for how in packed),
                saved(deep, "TIFF"),
                saved(noise.quantize(8), "TIFF"),
            ]
        case "webp":
            return [
                saved(noise, "WEBP", exif=exif),
                saved(noise, "WEBP", lossless=True),
                saved(noise, "WEBP", save_all=True, append_images=[noise]),
            ]
        case "gif":
            return [saved(noise, "GIF"), saved(noise, "GIF", save_all=True, append_images=[grey], transparency=1)]
        case "bmp":
            return [saved(noise, "BMP"), saved(grey, "BMP"), saved(noise.convert("RGBA"), "BMP")]
    plain = b"P3\n# made by hand\n2 2\n254\n" + b"0 1 2 " * 4
    return [
        *(saved(noise, "PPM"), saved(grey, "PPM"), plain, b"P1 4 2 0101 #x\n 1010", b"P2 2 1 9 3 9"),
        *(b"P6 2 1 254\n" + bytes(6), b"P5 2 1 1000\n" + bytes(4), b"P6 1 1 999\n" + bytes(6), b"P4 9 1\n\xff\x80"),
    ]


def _field(number: int, value: bytes | int) -> bytes:
    """Write one field of protobuf."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def graph_def() -> bytes:
    """Return a TensorFlow graph: a placeholder, a convolution with its constant, a ReLU6."""

    def node(name: str, kind: str, *inputs: str, **attributes: bytes) -> bytes:
        parts = _field(1, name.encode()) + _field(2, kind.encode())
        parts += b"".join(_field(3, one.encode()) for one in inputs)
        for key, value in attributes.items():
            parts += _field(5, _field(1, key.encode()) + _field(2, value))
        return _field(1, parts)

    sides = (3, 3, 3, 4)
    shape = b"".join(_field(2, _field(1, side)) for side in sides)
    tensor = _field(1, 1) + _field(2, shape) + _field(4, np.ones(sides, "<f4").tobytes())
    numbers = _field(1, b"".join(_field(3, one) for one in (1, 2, 2, 1)))
    return (
        node("input", "Placeholder", dtype=_field(6, 1))
        + node("w", "Const", dtype=_field(6, 1), value=_field(8, tensor))
        + node("conv", "Conv2D", "input", "w", strides=numbers, padding=_field(2, b"SAME"), T=_field(6, 1))
        + node("relu", "Relu6", "conv", T=_field(6, 1))
    )


def saved_model() -> bytes:
    """Return a SavedModel's graph without functions."""
    return _field(1, 1) + _field(2, _field(1, _field(4, b"serve")) + _field(2, graph_def()))


def mindspore() -> bytes:
    """Return a MindSpore checkpoint with two parameters."""
    parts = b""
    for name, sides in (("network.conv.weight", (4, 3, 3, 3)), ("network.bn.gamma", (4,))):
        content = np.ones(sides, "<f4").tobytes()
        tensor = b"".join(_field(1, side) for side in sides) + _field(2, b"Float32") + _field(3, content)
        parts += _field(1, _field(1, name.encode()) + _field(2, tensor))
    return parts


def onnx_file() -> bytes:
    """Return an ONNX model of one convolution and a clip."""
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    ends = [numpy_helper.from_array(np.float32(value), name) for name, value in (("low", 0), ("high", 6))]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["y", "low", "high"], ["z"]),
        helper.make_node("GlobalAveragePool", ["z"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("f", TensorProto.FLOAT, [1, 4])],
        [weight, *ends],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString()


def torch_files() -> list[bytes]:
    """Return what ``torch.save`` makes of a few tensors, and of a checkpoint around them; both forms of the file."""
    import torch

    state = {
        "features.0.0.weight": torch.ones(4, 3, 3, 3),
        "features.0.1.weight": torch.ones(4),
        "features.0.1.num_batches_tracked": torch.tensor(3),
        "classifier.1.bias": torch.zeros(2, dtype=torch.bfloat16),
    }
    whole = {"model": state, "epoch": 3, "args": {"lr": 0.1, "names": ["a", "b"]}, "classes": ["cat", "dog"]}
    found = []
    for value in (state, whole):
        for zipped in (True, False):
            file = io.BytesIO()
            torch.save(value, file, _use_new_zipfile_serialization=zipped)
            found.append(file.getvalue())
    return found


def torch_pickles() -> list[bytes]:
    """Return the pickles alone, which the checksums of an archive would keep from any change."""
    found = []
    for content in torch_files():
        if content.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                found.append(archive.read(name))
    return found


def torch_archive(pickle: bytes) -> bytes:
    """Put a pickle into an archive as ``torch.save`` writes it, with storages of the seeds' sizes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle)
        for key, size in enumerate((432, 16, 8, 4)):
            archive.writestr(f"archive/data/{key}", bytes(size))
    return file.getvalue()


def safetensors_file() -> bytes:
    """Return a safetensors file of three tensors."""
    from safetensors.numpy import save

    state = {"features.0.0.weight": np.ones((4, 3, 3, 3), np.float32), "features.0.1.weight": np.ones(4, np.float16)}
    return save(state | {"classifier.1.bias": np.zeros(2, np.float32)})


def distance_file() -> bytes:
    """Return the arrays of a distance: 6 features, 2 axes, 3 classes."""
    from safetensors.numpy import save

    shapes = {"centre": (6,), "axes": (6, 2), "whiten": (2, 2), "means": (3, 2), "rest": (1,), "near": (2,)}
    shapes |= {"doubt": (2,), "scale": (1,)}
    return save({name: np.ones(shape, np.float16 if name == "axes" else np.float32) for name, shape in shapes.items()})


def keras_config() -> bytes:
    """Return the ``config.json`` of a small Keras model."""

    def layer(kind: str, name: str, *inputs: str, **config: Any) -> dict[str, Any]:
        nodes = [[[one, 0, 0, {}] for one in inputs]] if inputs else []
        return {"class_name": kind, "name": name, "config": {"name": name} | config, "inbound_nodes": nodes}

    layers = [
        layer("InputLayer", "x", batch_input_shape=[None, 32, 32, 3]),
        layer("Conv2D", "c", "x", filters=4, kernel_size=[3, 3], strides=[2, 2], padding="same", activation="linear"),
        layer("BatchNormalization", "b", "c", axis=[3], epsilon=0.001),
        layer("ReLU", "r", "b", max_value=6.0),
        layer("GlobalAveragePooling2D", "g", "r"),
        layer("Dense", "d", "g", units=2, activation="softmax"),
    ]
    config = {"name": "m", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [["d", 0, 0]]}
    return json.dumps({"class_name": "Functional", "config": config}).encode()


def idx() -> list[bytes]:
    """Return pictures and labels in the format of MNIST."""
    return [struct.pack(">4B3I", 0, 0, 8, 3, 2, 3, 3) + bytes(18), struct.pack(">4BI", 0, 0, 8, 1, 2) + bytes(2)]


def form() -> bytes:
    """Return a multipart form with a picture and a field; its first line gives the boundary."""
    parts = [
        b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        + saved(Image.new("RGB", (2, 2)), "PNG"),
        b'--xyz\r\nContent-Disposition: form-data; name="top"\r\n\r\n3',
        b"--xyz--\r\n",
    ]
    return b"xyz\n" + b"\r\n".join(parts)


def requests() -> list[bytes]:
    """Return requests as they come from a socket."""
    picture = saved(Image.new("RGB", (2, 2), "red"), "PNG")
    head = b"POST /predict?top=2&language=zh HTTP/1.1\r\nHost: localhost\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (picture[:9], picture[9:])) + b"0\r\n\r\n"
    body = form().partition(b"\n")[2]
    return [
        b"GET /model HTTP/1.1\r\nHost: localhost\r\n\r\nGET /metrics HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n",
        head + b"Content-Length: %d\r\n\r\n" % len(picture) + picture,
        head + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n" + chunks,
        head + b"Content-Type: multipart/form-data; boundary=xyz\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
        b"PUT /health HTTP/1.0\r\nOrigin: http://a.b\r\nAuthorization: Bearer x\r\nSec-Fetch-Site: cross-site\r\n\r\n",
    ]


def hdf5() -> list[bytes]:
    """Return a Keras 2 file of weights, as small as it can be."""
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w", libver="latest") as root:
        root.attrs["layer_names"] = [b"c"]
        layer = root.create_group("c")
        layer.attrs["weight_names"] = [b"c/kernel:0"]
        layer["c/kernel:0"] = np.ones((3, 3, 3, 4), np.float32)
    return [file.getvalue()]


YOLO = b"path: .\ntrain: images\nnc: 2\nnames:\n  0: cat\n  1: 'dog'\n"


def annotations(format: str) -> list[bytes]:
    """Return files with boxes in the pictures a.png and b.png, 17x13 pixels, in one of the formats that are read."""
    box = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 5, 6.5], "area": 32.5, "iscrowd": 0}
    outline = {"id": 2, "image_id": 2, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 8]], "iscrowd": 1}
    images = [{"id": n, "file_name": name, "width": 17, "height": 13} for n, name in ((1, "a.png"), (2, "b.png"))]
    named = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    whole = {"images": images, "annotations": [box, outline], "categories": named}
    found = {
        "coco": [json.dumps(whole).encode()],
        "voc": [
            b"<annotation><filename>a.png</filename><size><width>17</width><height>13</height></size><object>"
            b"<name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax>"
            b"<ymax>8.5</ymax></bndbox></object></annotation>"
        ],
        "yolo": [b"0 0.5 0.5 0.25 0.4\n1 0.2 0.3 0.1 0.2\n", b"1 0.1 0.1 0.6 0.1 0.6 0.7 0.2 0.8\n"],
        "csv": [
            b"filename,width,height,class,xmin,ymin,xmax,ymax\na.png,17,13,cat,1,2,9,8\nb.png,17,13,dog,0,0,5,5\n",
            b"a.png,1,2,9,8,cat\nb.png,,,,,\n",
        ],
    }
    return found[format]
