"""``mobilenets import``."""

from __future__ import annotations

from argparse import Namespace
from contextlib import nullcontext
from typing import Any

from mobilenets.base.shell import quote
from mobilenets.cli.notes import without_repeated
from mobilenets.cli.options import SIZE, given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import printable

_SETTINGS = ("size", "variant", "classes", "preprocessing", "resize", "output")


def _arguments(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "files",
        metavar="FILE",
        nargs="+",
        help=".onnx, .h5, .weights.h5, .keras, .pb, .index, .ckpt, .pth, .pt, .bin or .safetensors; a Hugging Face or "
        "SavedModel folder; or two files, a backbone and its head",
    )
    add("--out", metavar="MODEL", help="folder to write (default: models/ and the file's name)")
    add("--size", **SIZE, help="input size in pixels per side (default: the file's, or 224)")
    add(
        "--variant",
        choices=("standard", "small"),
        help="strides of the network, if the file does not say (default: standard)",
    )
    add(
        "--classes",
        metavar="FILE",
        help="class names in order, one per line or JSON; or imagenet (default: the file's own; ImageNet's for 1,000)",
    )
    add(
        "--output",
        metavar="NAME",
        help="which network, classifier or output to use if the file has several (default: as the notes say)",
    )
    add(
        "--preprocessing",
        metavar="NAME|FILE",
        help="tensorflow (values from -1 to 1), torch (ImageNet's mean and deviation) or a JSON file (default: the "
        "file's own, or what is usual in its framework)",
    )
    add(
        "--resize",
        choices=("crop", "stretch", "pad"),
        help="how pictures are made square (default: as the file says; stretch for your own Keras classifier)",
    )


def _run(options: Namespace) -> int:
    from mobilenets.verbs.import_weights import import_weights

    settings = given(options, *_SETTINGS)
    # The text ends with the notes: they are not to be shown before it too.
    with nullcontext() if options.json else without_repeated():
        result = import_weights(options.files, options.out, **settings)
    print_result(options, result, imported)
    return 0


def imported(result: dict[str, Any]) -> str:
    """What the file was, where the model is, and what to type next."""
    folder = quote(result["model"])
    kind = (
        f"{result['name']} ({result['variant']}), width {result['width']:g}, {result['size']} × {result['size']} pixels"
    )
    boxes = result["task"] == "detection"
    lines = [
        f"{result['format']}: {'SSDLite on ' * boxes}{kind}, {result['classes'] or 'no'} classes, "
        f"{result['parameters']:,} parameters",
        f"padding {result['padding']}, BatchNorm epsilon {result['norm_epsilon']:g}",
        f"The model:  {result['model']}",
        "Next:",
    ]
    if result["classes"]:
        lines.append(f"  mobilenets predict {folder} photo.jpg {'--out drawn' if boxes else '--top 3'}")
    lines.append(f"  mobilenets train {'boxes' if boxes else 'photos'} --weights {folder} --out run")
    said = [f"Assumed: {line}" for line in result["assumed"]] + [f"Note: {note}" for note in result["notes"]]
    return "\n".join([*lines, *(printable(line) for line in said)])


VERB = Verb(
    "import",
    "import weights from ONNX, Keras, TensorFlow, MindSpore or PyTorch",
    "mobilenets import mobilenet_v2.h5",
    _arguments,
    _run,
)
