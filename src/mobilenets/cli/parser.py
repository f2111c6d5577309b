"""Words of the command line into arguments of ``mobilenets.api``. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from mobilenets import __version__
from mobilenets.cli import Parser, commands, measure_verbs
from mobilenets.exports.formats import FORMATS
from mobilenets.training.recipe import Recipe, parse_setting
from mobilenets.training.recipes import RECIPES

DATA_HELP = "folder with train/ and validation/, or with one folder a class"
MODEL_HELP = "run folder, or a file beside its model.json"


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of every verb."""
    parser = Parser(
        prog="mobilenets",
        description="From a folder of labelled photos to a small, fast, measured MobileNet.",
        epilog="A first look: mobilenets demo. With photos of your own: mobilenets train PHOTOS --out run. "
        "What a verb takes: mobilenets VERB --help.",
    )
    parser.add_argument("--version", action="version", version=f"mobilenets {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    _demo(verbs)
    _fetch(verbs)
    _train(verbs)
    _evaluate(verbs)
    _predict(verbs)
    _export(verbs)
    _serve(verbs)
    _import(verbs)
    _weights(verbs)
    _summary(verbs)
    measure_verbs.add(verbs, _verb, MODEL_HELP)
    return parser


def _verb(verbs: Any, name: str, run: Any, help: str, example: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.".replace("%%", "%"),
        epilog=f"example: {example}",
        allow_abbrev=False,
    )
    verb.add_argument("--json", action="store_true", help="print JSON on standard output, and nothing else there")
    verb.set_defaults(run=run)
    return verb


def _demo(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "demo",
        commands.demo,
        "the whole way on real pictures that come with the install, offline",
        "mobilenets demo --out demo",
    )
    verb.add_argument("--out", default="demo", metavar="DIR", help="folder to write (default: demo)")
    verb.add_argument("--resume", action="store_true", help="go on with a demo that was stopped")


def _fetch(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "fetch",
        commands.fetch,
        "a known data set as folders of pictures",
        "mobilenets fetch fashion_mnist fashion --archive /usr/share/datasets/fashion-mnist",
    )
    verb.add_argument("name", metavar="NAME", help="cifar10, cifar100, fashion_mnist or digits")
    verb.add_argument("out", metavar="DIR", help="folder to write: train/ and validation/ with one folder a class")
    verb.add_argument("--archive", metavar="FILE", help="files that you have already, instead of a download")
    verb.add_argument("--size", type=int, metavar="S", help="pixels a side, bicubic (default: the data set's own)")


def _train(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "train",
        commands.train,
        "train a network on a folder of labelled pictures and measure it",
        "mobilenets train photos --out run --size 160 --epochs 40",
    )
    verb.add_argument("data", metavar="DATA", help=DATA_HELP)
    verb.add_argument("--out", required=True, metavar="RUN", help="run folder to write")
    verb.add_argument(
        "--recipe",
        metavar="NAME|FILE",
        help=f"settings to begin with: {', '.join(RECIPES)}, or a recipe.json",
    )
    verb.add_argument("--resume", action="store_true", help="go on with the run in RUN")
    settings = verb.add_argument_group(
        "settings", "each replaces that of the recipe; the defaults are the recipe photos'"
    )
    for field in dataclasses.fields(Recipe):
        _setting(settings, field)


def _setting(group: Any, field: dataclasses.Field[Any]) -> None:
    flag = f"--{field.name.replace('_', '-')}"
    default = "auto" if field.metadata["auto"] else field.default
    if isinstance(default, bool):
        default = "yes" if default else "no"
    elif isinstance(default, float):
        default = f"{default:g}"
    help_text = f"{field.metadata['help']} (default: {str(default).lower()})"
    if isinstance(field.default, bool):
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=help_text)
        return
    parse = parse_setting(field.name)
    group.add_argument(
        flag,
        type=parse,
        default=argparse.SUPPRESS,
        metavar=_METAVARS.get(field.name) or "|".join(field.metadata["choices"] or (_KINDS[parse.__name__],)),
        help=help_text,
    )


_KINDS = {"int": "N", "float": "X", "text": "NAME"}
_METAVARS = {"weights": "auto|none|imagenet|MODEL|FILE", "freeze": "auto|none|backbone|N", "table": "FILE"}


def _evaluate(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "evaluate",
        commands.evaluate,
        "measure a model on labelled pictures, with 95 %% intervals",
        "mobilenets evaluate run photos",
    )
    verb.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    verb.add_argument("data", metavar="DATA", help=DATA_HELP)
    verb.add_argument(
        "--accuracy",
        type=float,
        metavar="X",
        help="find the confidence from which on answers are right at that rate (0.95), and say not sure below it "
        "from now on",
    )
    verb.add_argument(
        "--out",
        metavar="DIR",
        help="also write metrics.json there, and the confusion (by group too) and reliability as pictures",
    )
    _device(verb)


def _predict(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "predict",
        commands.predict,
        "say what is on pictures",
        "mobilenets predict run photo.jpg --top 3",
    )
    verb.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    verb.add_argument(
        "pictures",
        metavar="IMAGE|FOLDER|-",
        nargs="+",
        help="files, folders, or - for one picture on standard input",
    )
    verb.add_argument("--top", type=int, default=5, metavar="K", help="so many classes a picture (default: 5)")
    verb.add_argument("--language", metavar="CODE", help="names of the classes in that language, such as zh")
    verb.add_argument("--explain", metavar="DIR", help="draw what the network looked at into DIR, a PNG a picture")
    verb.add_argument("--sheet", metavar="FILE.png", help="draw a contact sheet of all pictures with their answers")
    _device(verb)
    verb.add_argument("--format", choices=("text", "json", "csv"), default="text", help="text, json (as --json) or csv")


def _export(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "export",
        commands.export,
        "a model as a file for another runtime, checked on your pictures before it counts",
        "mobilenets export run --format onnx --int8 --data photos --out exported",
    )
    verb.add_argument("model", metavar="MODEL", help="run folder")
    verb.add_argument("--out", required=True, metavar="DIR", help="folder to write: the file beside its model.json")
    verb.add_argument("--format", default="onnx", metavar="NAME", help=f"{', '.join(FORMATS)} (default: onnx)")
    precision = verb.add_mutually_exclusive_group()
    precision.add_argument(
        "--int8",
        dest="precision",
        action="store_const",
        const="int8",
        default="float32",
        help="8-bit weights and activations, calibrated on the training pictures of --data",
    )
    precision.add_argument(
        "--float16", dest="precision", action="store_const", const="float16", help="weights in 16 bits"
    )
    verb.add_argument(
        "--data", metavar="DATA", help="labelled pictures to check it on (default: those held out by the run)"
    )
    verb.add_argument(
        "--pixels", action="store_true", help="the file takes uint8 pixels, resized and cropped, and makes the numbers"
    )
    verb.add_argument(
        "--camera",
        action="store_true",
        help="the file takes one upright picture of any size a run, uint8 pixels, and resizes and crops too (onnx, "
        "openvino)",
    )
    verb.add_argument("--probabilities", action="store_true", help="end in a softmax, not in logits")
    verb.add_argument("--batch", type=int, metavar="N", help="pictures a run (default: any number)")
    verb.add_argument(
        "--tolerance",
        type=float,
        metavar="POINTS",
        help="points of top-1 that may be lost (default: 0.05 for float, 0.5 for int8)",
    )
    verb.add_argument(
        "--web-runtime",
        metavar="FOLDER",
        help="for web: the unpacked npm package onnxruntime-web (default: that of node_modules, or npm fetches it)",
    )


def _serve(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "serve",
        commands.serve,
        "a page to try a model on, and predictions over HTTP",
        "mobilenets serve run --port 8000",
    )
    verb.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    verb.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="H",
        help="address to listen at (default: 127.0.0.1, this machine only); 0.0.0.0 lets others in, of whom a token in "
        "the environment variable MOBILENETS_TOKEN is asked if it is set",
    )
    verb.add_argument("--port", type=int, default=8000, metavar="P", help="port to listen at (default: 8000)")
    _device(verb)


def _import(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "import",
        commands.import_weights,
        "weights of Keras, TensorFlow, MindSpore or PyTorch as a model of ours",
        "mobilenets import mobilenet_v2.h5 --out model",
    )
    verb.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help=".h5, .weights.h5, .keras, .pb, .index, .ckpt, .pth, .pt or .safetensors; or a backbone's and its head's",
    )
    verb.add_argument("--out", required=True, metavar="MODEL", help="folder to write")
    verb.add_argument("--size", type=int, metavar="S", help="input size in pixels a side (default: the file's, or 224)")
    verb.add_argument(
        "--variant",
        choices=("standard", "small"),
        help="strides of the network, where the file does not tell them (default: standard)",
    )
    verb.add_argument(
        "--classes",
        metavar="FILE",
        help="class names in order, one a line or JSON; or imagenet (default: the file's own; ImageNet's for 1,000)",
    )
    verb.add_argument(
        "--preprocessing",
        metavar="NAME|FILE",
        help="tensorflow (numbers of ±1), torch (ImageNet's mean and deviation) or a JSON file "
        "(default: the file's own, or its framework's)",
    )


def _weights(verbs: Any) -> None:
    _verb(
        verbs,
        "weights",
        commands.weights,
        "the published ImageNet weights that --weights imagenet takes",
        "mobilenets weights",
    )


def _device(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    verb.add_argument("--runtime", metavar="NAME", help="what runs an exported file (default: the fastest installed)")
    verb.add_argument("--threads", type=int, metavar="N", help="threads of the runtime (default: one a core)")


def _summary(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "summary",
        commands.summary,
        "a network's layers, parameters and multiply-accumulates",
        "mobilenets summary mobilenet_v2 --width 0.5 --diagram v2.png",
    )
    verb.add_argument("name", metavar="NAME", help="mobilenet_v1, mobilenet_v2 or mobilenet_v1_cifar")
    verb.add_argument("--width", type=float, default=1.0, metavar="W", help="width multiplier (default: 1)")
    verb.add_argument("--size", type=int, metavar="S", help="input size in pixels a side (default: the network's)")
    verb.add_argument("--classes", type=int, default=1000, metavar="K", help="classes (default: 1000)")
    verb.add_argument(
        "--variant",
        default="auto",
        choices=("auto", "standard", "small"),
        help="auto (the default) takes the variant for small pictures up to 64 pixels",
    )
    verb.add_argument("--table", metavar="FILE", help="JSON file with a table of your own: rows of t c n s")
    verb.add_argument("--diagram", metavar="FILE", help="draw the network into FILE (.png or .svg)")
