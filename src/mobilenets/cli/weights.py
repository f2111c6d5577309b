"""``mobilenets weights``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Verb
from mobilenets.cli.text import table


def _run(options: Namespace) -> int:
    from mobilenets.verbs.import_weights import published_weights

    print_result(options, {"weights": published_weights()}, published)
    return 0


def published(result: dict[str, Any]) -> str:
    """One line per set of weights."""
    rows = [["network", "width", "size", "top-1", "licence", "mean, deviation", "source"]]
    for entry in result["weights"]:
        about = entry["preprocessing"]
        numbers = {0.5: "±1", 0.0: "0 to 1"}.get(about["mean"][0], "ImageNet's")
        top1 = "–" if entry["top1"] is None else f"{entry['top1']:.1f} %"
        what = [entry["network"], f"{entry['width']:g}", str(entry["size"])]
        rows.append([*what, top1, entry["licence"], numbers, entry["source"]])
    use = "mobilenets train photos --model NETWORK --width W --weights imagenet --out run"
    return f"{table(rows, {1, 2, 3})}\n\nUse them:  {use}\nAddresses: mobilenets weights --json"


VERB = Verb(
    "weights",
    "list the published ImageNet weights that --weights imagenet can use",
    "mobilenets weights",
    lambda parser: None,
    _run,
)
