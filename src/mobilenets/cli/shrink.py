"""``mobilenets shrink``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from mobilenets.cli.further import add_run, add_threads, going_on
from mobilenets.cli.options import given
from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import percent, printable, sentence, size, table


def _arguments(parser: Parser) -> None:
    add_run(parser, "--data")
    add = parser.add_argument
    add("--within", metavar="LIMIT", help="what it may take at most: 15ms, 2MB or 60MMACs (default: no limit)")
    add("--device", metavar="JSON", help="times of a device, by the bench.py that --write writes")
    add("--minutes", type=float, metavar="M", help="how long all may take (default: as long as it needs)")
    add("--out", metavar="DIR", help="folder of the export to write (default: RUN-shrunk)")
    add("--candidates", dest="most", type=int, default=12, metavar="N", help="how many are trained (default: 12)")
    add("--epochs", type=int, metavar="N", help="epochs of the longest training (default: the run's)")
    add_threads(parser)
    add("--write", metavar="DIR", help="only write the candidates, untrained, to be timed on a device")


def _run(options: Namespace) -> int:
    from mobilenets.verbs.shrink import shrink

    names = ("within", "device", "minutes", "out", "most", "epochs", "threads", "write")
    with going_on(options, "shrink", "--data "):
        result = shrink(options.model, options.data, **given(options, *names))
    print_result(options, result, written if options.write is not None else shrunk)
    return 0


def written(result: dict[str, Any]) -> str:
    """What was written, and what to do with it."""
    return "\n".join(
        [
            f"{len(result['files'])} files and bench.py are in {printable(result['written'])}: "
            "copy it to the device, and there run",
            f"  {result['then']}",
            "then bring device.json back: mobilenets shrink RUN --data DATA --device device.json",
        ]
    )


def shrunk(result: dict[str, Any]) -> str:
    """All points, the fastest first; what was gained and lost; and what was taken."""
    rows = [["", "ms", "size", "MMACs", "epochs", "top-1", "95 % interval", ""]]
    for point in result["points"]:
        rows.append(
            [
                point["name"],
                f"{'~' * point['estimated']}{point['ms']:.3g}",
                size(point["bytes"]),
                f"{point['macs'] / 1e6:.1f}",
                str(point["epochs"]),
                percent(point["top1"]),
                "{:.1f} to {:.1f}".format(*(100 * end for end in point["top1_interval"])),
                ", ".join(_marks(point["name"], result)),
            ]
        )
    lines = [table(rows, {1, 2, 3, 4, 5}), ""]
    for pair in result["compare"]:
        low, high = pair["change_interval"]
        lines.append(
            f"{pair['second']} against {pair['first']}: {100 * pair['change']:+.1f} points   "
            f"95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
        )
    chosen, lines = result["chosen"], [*lines, *map(sentence, result["notes"]), ""]
    limit = f", within {result['within']}" if result["within"] else ""
    about = "estimated for the device" if chosen["estimated"] else "a picture"
    same = " (RUN itself: nothing that was tried is better)" if chosen["rung"] < 0 else ""
    lines.append(f"chosen: {chosen['name']}{same}, {chosen['ms']:.3g} ms {about}, {size(chosen['bytes'])}{limit}")
    lines.append(f"the export is ready: {printable(result['file'])}")
    return "\n".join(lines)


def _marks(name: str, result: dict[str, Any]) -> list[str]:
    marks = {"chosen": result["chosen"]["name"] == name, "front": name in result["front"]}
    marks["the plain narrower network"] = name == result["control"]
    return [mark for mark, given_one in marks.items() if given_one]


VERB = Verb(
    "shrink",
    "find the network, size and precision that is the most accurate within what a device allows, and export it",
    "mobilenets shrink run --data photos --within 15ms --minutes 60",
    _arguments,
    _run,
)
