"""Words of the command line into arguments of ``mobilenets.verbs``. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from mobilenets import __version__
from mobilenets.cli import Parser, commands, measure_verbs
from mobilenets.exports.catalog import FORMATS
from mobilenets.training.recipe import Recipe, parse_setting
from mobilenets.training.recipes import RECIPES

DATA_HELP = "folder with train/ and validation/, or with one folder per class"
MODEL_HELP = "run folder, or an exported file with its model.json beside it"


# The verbs by what one wants to do, in the order of the help.
GROUPS = {
    "Main commands": ("train", "predict", "export"),
    "Try it out": ("demo", "fetch"),
    "Use a model": ("serve",),
    "Measure": ("evaluate", "benchmark", "compare", "audit", "summary"),
    "Weights from elsewhere": ("import", "weights"),
}
# The settings of ``train --help``; ``--help-all`` has the others too.
MAIN_SETTINGS = ("model", "width", "size", "weights", "freeze", "augment", "epochs", "batch", "lr", "seed")


def build_parser(everything: bool = False) -> argparse.ArgumentParser:
    """Build the parser of every verb; ``everything``: the help shows what it otherwise leaves out for brevity."""
    parser = Parser(
        prog="mobilenets",
        usage="mobilenets VERB …",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="A first look:  mobilenets demo\nYour own photos:  mobilenets train PHOTOS\n"
        "Help for a verb:  mobilenets VERB --help",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mobilenets {__version__}")
    verbs = parser.add_subparsers(prog="mobilenets", metavar="VERB", dest="verb", required=True, help=argparse.SUPPRESS)
    _demo(verbs)
    _fetch(verbs)
    _train(verbs, everything)
    _evaluate(verbs)
    _predict(verbs)
    _export(verbs)
    _serve(verbs)
    _import(verbs)
    _weights(verbs)
    _summary(verbs)
    measure_verbs.add(verbs, _verb, MODEL_HELP)
    for verb in verbs.choices.values():
        # --help-all is known to every verb, so that nobody needs to remember which have more to show.
        verb.add_argument("--help-all", action="help", help=argparse.SUPPRESS)
        verb.set_defaults(flags=tuple(verb._option_string_actions))
    parser.description = _overview({name: verb.get_default("about") for name, verb in verbs.choices.items()})
    return parser


def _overview(verbs: dict[str, str]) -> str:
    """List the verbs by what one wants to do, each with its line."""
    grouped = [name for names in GROUPS.values() for name in names]
    groups = {**GROUPS, "More": tuple(name for name in verbs if name not in grouped)}
    width = max(map(len, verbs))
    lines = ["From a folder of labelled photos to a small, fast, measured MobileNet."]
    for title, names in groups.items():
        if names:
            lines += ["", f"{title}:", *(f"  {name.ljust(width)}  {verbs[name]}" for name in names)]
    return "\n".join(lines)


def _verb(verbs: Any, name: str, run: Any, help: str, example: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(
        name,
        description=f"{help[0].upper()}{help[1:]}.".replace("%%", "%"),
        epilog=f"example: {example}",
        allow_abbrev=False,
    )
    verb.add_argument("--json", action="store_true", help="print JSON on standard output, and nothing else there")
    verb.set_defaults(run=run, about=help.replace("%%", "%"))
    return verb


def _demo(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "demo",
        commands.demo,
        "train, measure and report on pictures that come with the package, offline",
        "mobilenets demo --out demo",
    )
    verb.add_argument("--out", default="demo", metavar="DIR", help="folder to write (default: demo)")
    verb.add_argument("--resume", action="store_true", help="continue a demo that was stopped")


def _fetch(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "fetch",
        commands.fetch,
        "write a well-known data set as folders of pictures",
        "mobilenets fetch fashion_mnist fashion --archive /usr/share/datasets/fashion-mnist",
    )
    verb.add_argument("name", metavar="NAME", help="cifar10, cifar100, fashion_mnist, digits or shapes")
    verb.add_argument("out", metavar="DIR", help="folder to write: train/ and validation/ with one folder per class")
    verb.add_argument("--archive", metavar="FILE", help="files that you already have, instead of a download")
    verb.add_argument(
        "--size", type=int, metavar="S", help="pixels per side, resized bicubically (default: the data set's own size)"
    )


def _train(verbs: Any, everything: bool) -> None:
    verb = _verb(
        verbs,
        "train",
        commands.train,
        "train a network on a folder of labelled pictures and measure it",
        "mobilenets train photos --size 160 --epochs 40",
    )
    verb.add_argument("data", metavar="DATA", help=DATA_HELP)
    verb.add_argument("--out", metavar="RUN", help="run folder to write (default: the next free runs/DATA-N)")
    verb.add_argument(
        "--recipe",
        metavar="NAME|FILE",
        help=f"settings to start from: {', '.join(RECIPES)}, or a recipe.json",
    )
    verb.add_argument(
        "--resume", action="store_true", help="continue the run in RUN (default: the newest unfinished run on DATA)"
    )
    more = "" if everything else "; --help-all shows the rest"
    settings = verb.add_argument_group(
        "settings", f"each overrides the recipe; the defaults are those of the recipe photos{more}"
    )
    for field in sorted(dataclasses.fields(Recipe), key=lambda field: field.name not in MAIN_SETTINGS):
        _setting(settings, field, everything or field.name in MAIN_SETTINGS)


def _setting(group: Any, field: dataclasses.Field[Any], shown: bool) -> None:
    flag = f"--{field.name.replace('_', '-')}"
    default = "auto" if field.metadata["auto"] else field.default
    if isinstance(default, bool):
        default = "yes" if default else "no"
    elif isinstance(default, float):
        default = f"{default:g}"
    help_text = f"{field.metadata['help']} (default: {str(default).lower()})" if shown else argparse.SUPPRESS
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
        help="find the confidence above which this share of the answers is right, such as 0.95; below it, the model "
        'answers "not sure" from then on',
    )
    verb.add_argument(
        "--out",
        metavar="DIR",
        help="also write metrics.json there, with plots of the confusion matrix and of the calibration",
    )
    _device(verb)


def _predict(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "predict",
        commands.predict,
        "say what is in pictures",
        "mobilenets predict run photo.jpg --top 3",
    )
    verb.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    verb.add_argument(
        "pictures",
        metavar="IMAGE|FOLDER|-",
        nargs="+",
        help="files, folders, or - for one picture on standard input",
    )
    verb.add_argument(
        "--top", type=int, default=5, metavar="K", help="number of classes to list per picture (default: 5)"
    )
    verb.add_argument("--language", metavar="CODE", help="show the classes' names in this language, such as zh")
    verb.add_argument("--explain", metavar="DIR", help="draw what the network looked at: one PNG per picture, into DIR")
    verb.add_argument("--sheet", metavar="FILE.png", help="draw one sheet of all pictures with their answers")
    _device(verb)
    verb.add_argument("--format", choices=("text", "json", "csv"), default="text", help="text, json (as --json) or csv")


def _export(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "export",
        commands.export,
        "convert a model for a phone, browser or server, and check it on your pictures",
        "mobilenets export run --format onnx --int8 --data photos",
    )
    verb.add_argument("model", metavar="MODEL", help="run folder")
    verb.add_argument(
        "--out",
        metavar="DIR",
        help="folder to write: the file and its model.json (default: exported-FORMAT in the run folder)",
    )
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
    precision.add_argument("--float16", dest="precision", action="store_const", const="float16", help="16-bit weights")
    verb.add_argument(
        "--data",
        metavar="DATA",
        help="labelled pictures to check the file on (default: those the run held out for validation)",
    )
    verb.add_argument(
        "--pixels",
        action="store_true",
        help="the file takes resized and cropped uint8 pixels and normalises them itself",
    )
    verb.add_argument(
        "--camera",
        action="store_true",
        help="the file takes one upright picture of any size in uint8 pixels, and resizes and crops it itself "
        "(onnx, openvino)",
    )
    verb.add_argument("--probabilities", action="store_true", help="the file outputs probabilities instead of logits")
    verb.add_argument("--batch", type=int, metavar="N", help="pictures per batch (default: any number)")
    verb.add_argument(
        "--tolerance",
        type=float,
        metavar="POINTS",
        help="largest loss of top-1 accuracy allowed, in percentage points (default: 0.05 for float, 0.5 for int8)",
    )
    verb.add_argument(
        "--web-runtime",
        metavar="FOLDER",
        help="for --format web: folder of the unpacked npm package onnxruntime-web (default: from node_modules, or "
        "downloaded with npm)",
    )


def _serve(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "serve",
        commands.serve,
        "serve a model: a web page to try it on, and predictions over HTTP",
        "mobilenets serve run --port 8000",
    )
    verb.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    verb.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="H",
        help="address to listen on (default: 127.0.0.1, this machine only); 0.0.0.0 lets others in; they need a "
        "token if the environment variable MOBILENETS_TOKEN sets one",
    )
    verb.add_argument("--port", type=int, default=8000, metavar="P", help="port to listen on (default: 8000)")
    _device(verb)


def _import(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "import",
        commands.import_weights,
        "import weights from ONNX, Keras, TensorFlow, MindSpore or PyTorch",
        "mobilenets import mobilenet_v2.h5",
    )
    verb.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help=".h5, .weights.h5, .keras, .pb, .index, .ckpt, .pth, .pt, .bin or .safetensors; a Hugging Face or "
        "SavedModel folder; or two files, a backbone and its head",
    )
    verb.add_argument("--out", metavar="MODEL", help="folder to write (default: models/ and the file's name)")
    verb.add_argument(
        "--size", type=int, metavar="S", help="input size in pixels per side (default: the file's, or 224)"
    )
    verb.add_argument(
        "--variant",
        choices=("standard", "small"),
        help="strides of the network, if the file does not say (default: standard)",
    )
    verb.add_argument(
        "--classes",
        metavar="FILE",
        help="class names in order, one per line or JSON; or imagenet (default: the file's own; ImageNet's for 1,000)",
    )
    verb.add_argument(
        "--output",
        metavar="NAME",
        help="which network, classifier or output to use if the file has several (default: as the notes say)",
    )
    verb.add_argument(
        "--preprocessing",
        metavar="NAME|FILE",
        help="tensorflow (values from -1 to 1), torch (ImageNet's mean and deviation) or a JSON file (default: the "
        "file's own, or what is usual in its framework)",
    )
    verb.add_argument(
        "--resize",
        choices=("crop", "stretch", "pad"),
        help="how pictures are made square (default: as the file says; stretch for your own Keras classifier)",
    )


def _weights(verbs: Any) -> None:
    _verb(
        verbs,
        "weights",
        commands.weights,
        "list the published ImageNet weights that --weights imagenet can use",
        "mobilenets weights",
    )


def _device(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    verb.add_argument("--runtime", metavar="NAME", help="runtime for an exported file (default: the fastest installed)")
    verb.add_argument("--threads", type=int, metavar="N", help="threads of the runtime (default: one per core)")


def _summary(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "summary",
        commands.summary,
        "show a network's layers, parameters and multiply-accumulates",
        "mobilenets summary mobilenet_v2 --width 0.5 --diagram v2.png",
    )
    verb.add_argument("name", metavar="NAME", help="mobilenet_v1, mobilenet_v2 or mobilenet_v1_cifar")
    verb.add_argument("--width", type=float, default=1.0, metavar="W", help="width multiplier (default: 1)")
    verb.add_argument("--size", type=int, metavar="S", help="input size in pixels per side (default: the network's)")
    verb.add_argument("--classes", type=int, default=1000, metavar="K", help="classes (default: 1000)")
    verb.add_argument(
        "--variant",
        default="auto",
        choices=("auto", "standard", "small"),
        help="auto (the default): the variant for small pictures up to 64 pixels, standard above",
    )
    verb.add_argument(
        "--table",
        metavar="FILE",
        help="JSON file with your own layer table: rows of t, c, n, s (expansion factor, channels, repeats, stride)",
    )
    verb.add_argument("--diagram", metavar="FILE", help="draw the network into FILE (.png or .svg)")
