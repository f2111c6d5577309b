"""``mobilenets predict``, also with ``--engine``."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from mobilenets.base.cells import write_cells
from mobilenets.base.progress import duration
from mobilenets.base.text import counted, printable
from mobilenets.bulk.tables import FORMATS
from mobilenets.cli import detections
from mobilenets.cli.options import MODEL, add_engine, check_order, engine, given
from mobilenets.cli.output import print_result, to_json
from mobilenets.cli.parser import Parser, Verb
from mobilenets.errors import InputError

# What has no meaning for millions of pictures, and what has none without them.
_ALONE = ("explain", "sheet", "ids", "language")
_MANY = ("workers", "batch", "part", "timeout", "column", "ray_address")
SHOWN = 5

COLUMNS = ["image", "rank", "label", "probability", "error"]


def _arguments_of_many(parser: Parser) -> None:
    """Add what is for whole collections."""
    add = parser.add_argument_group("for millions of pictures (docs/predict-many.md)").add_argument
    add(
        "--engine",
        choices=("local", "ray"),
        help="answer a folder, shards or a list of addresses part by part into --out: by processes of this machine, or "
        "on a Ray cluster; run it again to go on",
    )
    add("--workers", type=int, metavar="N", help="processes, or actors (default: one per core)")
    add("--batch", type=int, metavar="N", help="pictures in one run of the network (default: 32)")
    add("--part", type=int, metavar="N", help="pictures in a part, each one file of answers (default: 2000)")
    add("--timeout", type=float, metavar="S", help="seconds that a picture may take (default: 60)")
    add("--column", metavar="NAME", help="the column of a list in Parquet or CSV that has the paths")
    add("--ray-address", metavar="A", help="of a Ray cluster, auto for the one running here (default: start one)")


def _refuse_alone(options: Namespace) -> None:
    """Refuse what only counts with ``--engine``."""
    asked = [name for name in _MANY if getattr(options, name) is not None]
    if options.format in FORMATS:
        raise InputError(f"--format {options.format} is for whole collections: add --engine local, and --out FOLDER")
    if asked:
        raise InputError(f"--{asked[0].replace('_', '-')} only counts with --engine local or ray")


def _run_many(options: Namespace) -> int:
    """Exit status 1 when a picture could not be read, or a part not be answered for."""
    from mobilenets.verbs.predict_many import predict_many

    if options.out is None:
        raise InputError("--engine writes files of answers: give --out FOLDER")
    if len(options.pictures) != 1 or options.pictures[0] == "-":
        raise InputError("--engine takes one source: a folder, a folder of shards, or a list of paths or addresses")
    if options.format not in (None, *FORMATS):
        raise InputError(f"--format {options.format} is for single pictures: with --engine give parquet or jsonl")
    for name in _ALONE:
        if getattr(options, name) is not None:
            raise InputError(f"--{name} is for single pictures: leave it out with --engine")
    if options.device not in ("auto", "cpu"):
        raise InputError(f"--device {options.device}: --engine answers on the CPU, without PyTorch; leave it out")
    settings = given(options, "engine", "format", "runtime", "top", "threshold", *_MANY, "threads")
    settings = {name: value for name, value in settings.items() if value is not None}
    result = predict_many(options.model, options.pictures[0], options.out, **settings)
    print_result(options, result, _of_many)
    return int(result["bad"] > 0 or result["failed_parts"] > 0)


def _of_many(result: dict[str, Any]) -> str:
    """Say what came of it."""
    now = result["answered_now"]
    speed = (
        f", {now:,} now in {duration(result['seconds'])} ({result['images_per_second']:g} per second)" if now else ""
    )
    lines = [f"{counted(result['pictures'], 'picture')} in {counted(result['parts'], 'part')}{speed}"]
    best = list(result["classes"].items())
    shown = ", ".join(f"{printable(name)} {count:,}" for name, count in best[:SHOWN])
    more = f" and {len(best) - SHOWN} more classes" if len(best) > SHOWN else ""
    lines += [f"{shown}{more}"] if best else []
    if result["none_of_these"]:
        lines.append(f"none of these: {result['none_of_these']:,}")
    if result["bad"]:
        lines.append(f"{result['bad']:,} could not be answered:")
        lines += [printable(f"  {one['image']}: {one['error']}") for one in result["first_bad"][:SHOWN]]
    if result["failed_parts"]:
        lines.append(f"{counted(result['failed_parts'], 'part')} failed; run the same command again to try once more:")
        lines += [printable(f"  {one['part']}: {one['reason']}") for one in result["failed"][:SHOWN]]
    return "\n".join([*lines, f"answers in {printable(result['answers'])}"])


def _arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help=MODEL)
    add("pictures", metavar="IMAGE|FOLDER|-", nargs="+", help="files, folders, or - for one picture on standard input")
    add("--top", type=int, metavar="K", help="number of classes to list per picture (default: 5), or of boxes (all)")
    add("--language", metavar="CODE", help="show the classes' names in this language, such as zh")
    add(
        "--threshold",
        type=float,
        metavar="T",
        help="a detector's boxes from this score on; the probability below which a classifier is not sure "
        "(default: the model's own, 0.5 for boxes)",
    )
    add("--explain", metavar="DIR", help="draw what the network looked at: one PNG per picture, into DIR")
    add("--sheet", metavar="FILE.png", help="draw one sheet of all pictures with their answers")
    add(
        "--out",
        metavar="DIR",
        help="draw a detector's boxes into copies of the pictures, in DIR; with --engine: answers",
    )
    add_engine(parser)
    add(
        "--format",
        choices=("text", "json", "csv", "coco", *FORMATS),
        help="text, json (as --json), csv, or coco: boxes as COCO's results, all of them unless --threshold is given; "
        "with --engine parquet or jsonl",
    )
    add(
        "--ids",
        metavar="FILE.json",
        help="with --format coco: COCO's instances_*.json, for the ids of pictures and classes",
    )
    _arguments_of_many(parser)


def _run(options: Namespace) -> int:
    """Exit status 1 when a picture could not be read."""
    from mobilenets.runs.predictor import Predictor
    from mobilenets.verbs.predict import predict

    check_order(options.model, options.pictures[-1], "predict")
    if options.engine is not None:
        return _run_many(options)
    _refuse_alone(options)
    predictor = Predictor(options.model, **engine(options))
    pictures = [(name, _standard_input()) if name == "-" else name for name in options.pictures]
    settings = given(options, "top", "language", "threshold", "explain", "sheet", "out")
    form = "json" if options.json else options.format or "text"
    coco = detections.coco_writer(predictor, form, options.ids)
    if coco is not None:
        if options.threshold is None:
            settings["threshold"] = 0.0
        return _coco(coco, predict(predictor, pictures, **settings))
    head, lines = (detections.COLUMNS, detections.rows) if predictor.places else (COLUMNS, rows)
    failed = begun = False
    for answer in predict(predictor, pictures, **settings):
        failed |= "error" in answer
        if form == "json":
            print(to_json(answer))
        elif form == "csv":
            # Only now, so that a wrong command writes nothing.
            sys.stdout.write(write_cells([*([] if begun else [head]), *lines(answer)]))
        else:
            print(predicted(answer))
        begun = True
        sys.stdout.flush()
    return int(failed)


def _coco(coco: detections.Coco, answers: Iterable[dict[str, Any]]) -> int:
    failed = False
    with closing(coco):
        for answer in answers:
            failed |= "error" in answer
            coco(answer)
        coco(None)
    return int(failed)


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise InputError("standard input is closed: give a file instead of -")
    return sys.stdin.buffer.read()


def predicted(answer: dict[str, Any]) -> str:
    """One line: the picture and its most probable classes."""
    if "error" in answer:
        return detections.unanswered(answer)
    name = printable(answer["image"])
    if "detections" in answer:
        return f"{name}: {detections.found(answer['detections'])}"
    words = [_entry(entry, answer.get("groups", [])) for entry in answer["predictions"]]
    unsure = "not sure: " if answer.get("sure") is False else ""
    if answer.get("known") is False:
        unsure = "none of these; nearest: "
    return f"{name}: {unsure}{', '.join(words)}"


def _entry(entry: dict[str, Any], groups: list[dict[str, Any]]) -> str:
    group = next((f" · {group['name']}" for group in groups if group["label"] == entry.get("group")), "")
    between = " · " if group else " "
    return printable(f"{entry.get('name', entry['label'])}{group}{between}{100 * entry['probability']:.1f} %")


def rows(answer: dict[str, Any]) -> list[list[str]]:
    """Rows of CSV: one an answer, or one with the error."""
    if "error" in answer:
        return [[answer["image"], "", "", "", answer["error"]]]
    return [
        [answer["image"], str(rank), entry["label"], f"{entry['probability']:.6f}", ""]
        for rank, entry in enumerate(answer["predictions"], start=1)
    ]


VERB = Verb("predict", "say what is in pictures", "mobilenets predict run photo.jpg --top 3", _arguments, _run)
