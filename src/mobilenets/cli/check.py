"""``mobilenets check``."""

from __future__ import annotations

from argparse import Namespace
from textwrap import shorten
from typing import Any

from mobilenets.base.shell import quote
from mobilenets.base.text import say_boxes
from mobilenets.cli.options import add_data, given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import printable, sentence


def _arguments(parser: Parser) -> None:
    add = parser.add_argument
    add_data(parser)
    add(
        "--out",
        metavar="FOLDER",
        help="folder for check.html, check.json and fixes.csv (default: the next free checks/DATA-N)",
    )
    add(
        "--no-crops",
        dest="crops",
        action="store_false",
        help="find no copies that were cropped: faster on tens of thousands of pictures",
    )
    add(
        "--task",
        default="auto",
        metavar="NAME",
        help="classification, or detection for a set with boxes (default: auto, which looks for annotations)",
    )
    add("--format", default="auto", metavar="NAME", help="of the boxes: coco, voc, yolo or csv (default: auto)")
    add("--workers", type=int, metavar="N", help="threads that decode pictures (default: one per core, up to 16)")


def _run(options: Namespace) -> int:
    """Exit status 1 when faults were found."""
    from mobilenets.verbs.check import check

    chosen = given(options, "crops", "workers", "task", "format")
    result = check(options.data, options.out, **chosen)
    print_result(options, result, checked)
    return int(bool(result["faults"] or result["refused"]))


def checked(result: dict[str, Any]) -> str:
    """The worst first, then what was found by kind, then where it is to be seen and what to type next."""
    from mobilenets.datasets.listing import names
    from mobilenets.doctor.problems import KINDS, said

    total = f"{result['images']} pictures of {len(result['classes'])} classes"
    if "boxes" in result:
        total = f"{say_boxes(result['boxes'])} of {len(result['classes'])} classes in {result['images']} pictures"
    if len(result["halves"]) > 1:
        total += f" ({', '.join(f'{number} {half}' for half, number in result['halves'].items())})"
    lines = [*map(sentence, map(printable, result["headlines"]))]
    lines += ["", total] if lines else [total]
    for kind, number in result["counts"].items():
        first, *others = (one for one in result["problems"] if one["kind"] == kind)
        why = shorten(printable(first["detail"]), 90, placeholder=" …")
        # Pictures are on the page; a class is one of few.
        also = dict.fromkeys(one["path"] for one in others if one["path"] in result["classes"])
        also.pop(first["path"], None)
        too = f"; {names([*also])} too" if also else ""
        lines.append(f"  {said(kind, number)}: {printable(first['path'])} ({why}){printable(too)}")
        if kind in KINDS:
            lines.append(f"    {KINDS[kind].what_to_do}")
    if not result["faults"] and result["refused"] is None:
        lines.append("Nothing wrong was found.")
    if sizes := result.get("box_sizes"):
        lines.append(
            f"Boxes: {sizes['small']} small, {sizes['medium']} medium, {sizes['large']} large (below 32×32 and 96×96 "
            f"pixels, and the rest); {sizes['unreached']} of {sizes['held_against_anchors']} overlap no anchor by half."
        )
    lines += [sentence(printable(note)) for note in result["notes"]]
    if result["report"] is not None:
        lines += ["", f"The page:    {result['report']}"]
    if result["fixes"] is not None:
        mend = "" if result["refused"] is None else "mend the class folders, which no fix does; "
        step = f"{mend}{'' if result['report'] is None else 'look at the page, '}edit the fixes, then:"
        lines += [
            f"The fixes:   {result['fixes']}",
            f"{step[0].upper()}{step[1:]}",
            f"  mobilenets train {quote(result['data'])} --fixes {quote(result['fixes'])}",
        ]
    return "\n".join(lines)


VERB = Verb(
    "check",
    "find what is wrong with the pictures, before training",
    "mobilenets check photos",
    _arguments,
    _run,
)
