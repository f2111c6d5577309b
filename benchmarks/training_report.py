"""The table and the chart of what ``training.py`` measured.

    python benchmarks/training_report.py benchmarks/results/training.json [MORE.json] [--docs]

Prints the table. ``--docs`` puts it between the marks in ``docs/measured/training-speed.md`` instead, and draws
``docs/images/benchmarks-training.png``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from environments import OURS, PEERS, REFERENCE
from report import arguments, heads, machine, row

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "measured/training-speed.md"
CHART = DOCS / "images/benchmarks-training.png"
MARKS = ("<!-- figures: begin -->", "<!-- figures: end -->")
NAMES = {"v1": "MobileNetV1", "v2": "MobileNetV2", "v3": "MobileNetV3 large"}

Rows = list[dict[str, Any]]


def fields(results: Sequence[dict[str, Any]]) -> Iterator[tuple[str, int, Rows, dict[str, Any] | None]]:
    """Give each case on each number of threads: its rows, the fastest first, and its floor.

    The same case in two results is two fields: ratios are only of what took turns.
    """
    for result in results:
        seen = dict.fromkeys((row["case"], row["threads"]) for row in result["rows"])
        for case, threads in seen:
            mine = [row for row in result["rows"] if (row["case"], row["threads"]) == (case, threads)]
            floors = [row for row in result["floor"] if (row["case"], row["threads"]) == (case, threads)]
            mine.sort(key=lambda row: -row["pictures_per_second"])
            yield case, threads, mine, floors[0] if floors else None


def table(results: Sequence[dict[str, Any]]) -> str:
    """Write the figures in markdown."""
    lines = []
    for place, when in dict.fromkeys((machine(result["machine"]), _when(result)) for result in results):
        lines += [f"{place}; {when}", ""]
    for case, threads, rows, floor in fields(results):
        lines += [*_field(case, threads, rows, floor), ""]
    for result in results:
        for name, reason in result["left_out"].items():
            lines.append(f"- left out: {name}: {reason}")
        lines += [f"- {fault}" for fault in result["faults"]]
    return "\n".join(lines).rstrip()


def _field(case: str, threads: int, rows: Rows, floor: dict[str, Any] | None) -> list[str]:
    by = {(one["peer"], one["condition"]): one for one in rows}
    reference = by.get((REFERENCE, "quiet"))
    busy = any(one["condition"] == "busy" for one in rows)
    names = ["peer", "pictures/s", "ms a picture", "beside PyTorch", "CPU ms a picture", "peak MB", "× the floor"]
    names += ["busy, pictures/s", "of its own quiet"] * busy
    lines = [f"**{describe(case)}, {threads} thread{'s' * (threads > 1)}**", ""]
    lines += [heads(*names, numbers=len(names) - 1)]
    for one in rows:
        if one["condition"] != "quiet":
            continue
        rate = one["pictures_per_second"]
        cells = [
            PEERS[one["peer"]].title,
            _short(rate),
            f"{1e3 / rate:.1f}",
            f"{rate / reference['pictures_per_second']:.2f}" if reference else "–",
            f"{1e3 * one['cpu_seconds_per_picture']:.1f}",
            f"{one['peak_rss_mb']:.0f}",
            f"{floor['pictures_per_second'] / rate:.2f}" if floor else "–",
        ]
        if busy:
            other = by[one["peer"], "busy"]["pictures_per_second"]
            cells += [_short(other), f"{other / rate:.2f}"]
        lines.append(row(*cells))
    if floor:
        batch = floor["pictures_per_second"] * (floor["traffic_seconds"] + floor["products_seconds"])
        traffic, products = (1e3 * floor[f"{part}_seconds"] / batch for part in ("traffic", "products"))
        lines += [
            "",
            f"Floor: {floor['pictures_per_second']:.1f} pictures/s. A picture is {products:.1f} ms of multiplications "
            f"({floor['operations'] / batch / 1e9:.2f} G operations at {floor['operations_per_second'] / 1e9:.0f} G a "
            f"second) and {traffic:.1f} ms of traffic ({floor['bytes'] / batch / 1e6:.0f} MB at "
            f"{floor['bytes_per_second'] / 1e9:.1f} GB a second), one after the other.",
        ]
    return lines


def describe(case: str) -> str:
    """Say what ``v2-224x16`` is."""
    network, _, shape = case.partition("-")
    size, _, batch = shape.partition("x")
    return f"{NAMES[network]} at {size}, batch {batch}"


def _short(rate: float) -> str:
    return f"{rate:.1f}" if rate >= 1 else f"{rate:.3f}"


def _when(result: dict[str, Any]) -> str:
    packages: dict[str, str] = {}
    for one in result["rows"]:
        packages |= {name: version for name, version in one["about"]["versions"].items() if version}
    found = ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))
    known = result["load_when_it_began"]
    load = "not known" if known is None else f"{known:.1f}"
    return f"{result['date']}; load average {load}; {result['rounds']} rounds; {result['optimizer']}; {found}"


def draw(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw a bar for each peer, beside the floor, for each case and number of threads."""
    from mobilenets.drawing.style import LIGHT, dress, heading, label, new_figure, save

    found = list(fields(results))
    figure = new_figure(11, 0.6 + 2.9 * -(-len(found) // 2), LIGHT, layout="constrained")
    grid = figure.subplots(-(-len(found) // 2), min(2, len(found)), squeeze=False)
    for place in grid.flat[len(found) :]:
        place.set_visible(False)
    for axes, (case, threads, rows, floor) in zip(grid.flat, found, strict=False):
        quiet = [row for row in rows if row["condition"] == "quiet"][::-1]
        dress(axes, LIGHT, grid=False)
        heading(axes, f"{describe(case)}, {threads} thread{'s' * (threads > 1)}", LIGHT)
        rates = [row["pictures_per_second"] for row in quiet]
        colors = [LIGHT.blue if row["peer"] == OURS else LIGHT.input for row in quiet]
        titles = [PEERS[row["peer"]].title for row in quiet]
        axes.barh(titles, rates, color=colors, height=0.62)
        widest = max([*rates, floor["pictures_per_second"] if floor else 0])
        for place, rate in enumerate(rates):
            axes.text(rate + 0.01 * widest, place, _short(rate), va="center", fontsize=9, color=LIGHT.ink)
        if floor:
            axes.axvline(floor["pictures_per_second"], color=LIGHT.orange, linewidth=1.2, linestyle="--")
            axes.text(
                floor["pictures_per_second"],
                -0.72,
                f"floor {floor['pictures_per_second']:.0f} ",
                ha="right",
                va="center",
                fontsize=8.5,
                color=LIGHT.orange,
            )
            axes.set_ylim(-0.95, len(quiet) - 0.5)
        axes.set_xlim(0, 1.12 * widest)
        label(axes, LIGHT, "pictures a second")
    save(figure, path)


def update_page(text: str) -> None:
    """Put the table between the marks of the page."""
    from mobilenets.base.files import write_text

    page = PAGE.read_text("utf-8")
    before, rest = page.split(MARKS[0], 1)
    write_text(PAGE, f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{rest.split(MARKS[1], 1)[1]}")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("results", type=Path, nargs="+", metavar="JSON")
    parser.add_argument("--docs", action="store_true", help="draw the chart and write the table into docs/")
    options = parser.parse_args()
    results = [json.loads(path.read_text("utf-8")) for path in options.results]
    text = table(results)
    if options.docs:
        draw(results, CHART)
        update_page(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
