"""``mobilenets evaluate``."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from mobilenets.base.text import printable
from mobilenets.cli.boxes_text import box_scores, headline_of_boxes
from mobilenets.cli.notes import without_repeated
from mobilenets.cli.options import MODEL, add_data, add_engine, check_order, engine, given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import headline, interval, leak, percent, scores, sentence


def _arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help=MODEL)
    add_data(parser)
    add(
        "--accuracy",
        type=float,
        metavar="X",
        help="find the confidence above which this share of the answers is right, such as 0.95; below it, the model "
        'answers "not sure" from then on; of a detector: the score from which on this share of its boxes is right, and '
        "below which none is shown",
    )
    add(
        "--calibrate",
        action="store_true",
        help="fit the temperature of a run or imported model anew, so that its probabilities are true; train does "
        "it at its end",
    )
    add(
        "--false-alarms",
        type=float,
        metavar="X",
        help='move the bar of "none of these" so that this share of the pictures of known classes is called so, such '
        "as 0.01 (default: 0.05, set by train)",
    )
    add(
        "--out",
        metavar="DIR",
        help="also write metrics.json there, with plots of the confusion matrix and of the calibration",
    )
    add_engine(parser)


def _run(options: Namespace) -> int:
    """Exit status 1 when no confidence gives the wished accuracy."""
    from mobilenets.verbs.evaluate import evaluate

    check_order(options.model, options.data, "evaluate")
    settings = given(options, "out", "accuracy", "calibrate", "false_alarms")
    with without_repeated(options.json):
        result = evaluate(options.model, options.data, **settings, **engine(options))
    print_result(options, result, evaluated)
    for fault in result["faults"]:
        print(f"mobilenets: {printable(fault)}", file=sys.stderr)
    return int(bool(result["faults"]))


def evaluated(result: dict[str, Any]) -> str:
    """The figures with their intervals, then one line per class."""
    if "ap50" in result:
        return evaluated_boxes(result)
    parts = [
        *leak(result),
        headline(result),
        *_no_copies(result),
        *_by_group(result),
        *_unknown(result),
        scores("class", result["classes"], result["names"]),
    ]
    return "\n\n".join([*parts, "\n".join(map(sentence, result["notes"]))]).rstrip()


def _no_copies(result: dict[str, Any]) -> list[str]:
    copies = result.get("copies")
    if copies is None:
        return ["whether these pictures have copies in training is not known"]
    if copies["images"]:
        return []
    looked = "" if copies["limited"] is None else f" (looked for {copies['limited']})"
    return [f"no picture has a copy in training{looked}"]


def evaluated_boxes(result: dict[str, Any]) -> str:
    """The figures of a detector with their intervals, then one line per class."""
    parts = [
        *leak(result),
        headline_of_boxes(result),
        *_no_copies(result),
        box_scores(result["classes"], result["names"]),
    ]
    return "\n\n".join([*parts, "\n".join(map(sentence, result["notes"]))]).rstrip()


def _by_group(result: dict[str, Any]) -> list[str]:
    """The figures of the groups, and of the threshold, where there are any."""
    parts = []
    if result["groups"] is not None:
        groups, total = result["groups"], result["images"]
        lines = [f"group  {percent(groups['top1'])}   {interval(groups['top1_interval'])}"]
        for words, key in (("wrong class, right group", "wrong_class_right_group"), ("wrong group", "wrong_group")):
            lines.append(f"{words}  {groups[key]} of {total}, {percent(groups[key] / total)}")
        parts += ["\n".join(lines), scores("group", groups["groups"])]
    if result["sure"] is not None:
        sure = result["sure"]
        right = "none" if sure["accuracy"] is None else percent(sure["accuracy"])
        parts.append(
            f"sure from a confidence of {_confidence(sure['threshold'])}: {percent(sure['answered'])} of the pictures, "
            f"{right} of them right   {interval(sure['accuracy_interval'])}"
        )
    return parts


def _unknown(result: dict[str, Any]) -> list[str]:
    """How many pictures of its own classes the model called none of them."""
    found = result["none_of_these"]
    if found is None:
        return []
    return [
        f'called "none of these"  {found["called"]} of {result["images"]}, {percent(found["share"])}   '
        f"{interval(found['interval'])}"
    ]


def _confidence(threshold: float) -> str:
    """Write a confidence that is below one as such, however near."""
    return "over 99.99 %" if 0.99995 <= threshold < 1 else percent(threshold)


VERB = Verb(
    "evaluate",
    "measure a model on labelled pictures, with 95 % intervals",
    "mobilenets evaluate run photos",
    _arguments,
    _run,
)
