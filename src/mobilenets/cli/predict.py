"""``mobilenets predict``."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from mobilenets.base.cells import write_cells
from mobilenets.base.text import printable
from mobilenets.bulk.tables import FORMATS
from mobilenets.cli import detections, many
from mobilenets.cli.options import MODEL, add_engine, check_order, engine, given
from mobilenets.cli.output import to_json
from mobilenets.cli.parser import Parser, Verb
from mobilenets.errors import InputError

COLUMNS = ["image", "rank", "label", "probability", "error"]


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
    many.add_arguments(parser)


def _run(options: Namespace) -> int:
    """Exit status 1 when a picture could not be read."""
    from mobilenets.runs.predictor import Predictor
    from mobilenets.verbs.predict import predict

    check_order(options.model, options.pictures[-1], "predict")
    if options.engine is not None:
        return many.run(options)
    many.refuse_alone(options)
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
