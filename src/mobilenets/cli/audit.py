"""``mobilenets audit``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from mobilenets.cli.output import print_result
from mobilenets.cli.parser import Parser, Verb
from mobilenets.cli.text import percent, table


def _arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="run folder")
    add(
        "--data",
        metavar="DATA",
        help="pictures, to find channels that never change and the error that int8 adds to the outputs",
    )
    add("--out", metavar="DIR", help="also write audit.json and audit.png there")


def _run(options: Namespace) -> int:
    from mobilenets.verbs.audit import audit

    print_result(options, audit(options.model, data=options.data, out=options.out), audited)
    return 0


def audited(result: dict[str, Any]) -> str:
    """One line per layer, then what int8 does and what could be removed."""
    seen, int8 = result["images"] is not None, result["int8"]
    head = ["layer", "kind", "kernels", "dead", "near dead", *(["constant"] if seen else [])]
    lines = [[*head, "int8 dB", "int8 dB, one scale", *(["int8 dB, output"] if int8 else [])]]
    left = tuple(f"{block}." for block in int8["quantization"]["chosen"]["float_blocks"]) if int8 else ()
    for layer in result["layers"]:
        lines.append(
            [
                layer["name"],
                layer["kind"] + (" (float)" if f"{layer['name']}.".startswith(left) else ""),
                str(layer["kernels"]),
                _some(layer["dead"]),
                _some(layer["near_dead"]),
                *([_some(layer["constant"])] if seen else []),
                f"{layer['int8_db']:.1f}",
                f"{layer['int8_one_scale_db']:.1f}",
                *([f"{layer['int8_output_db']:.1f}"] if int8 else []),
            ]
        )
    found = result["depthwise"]
    share = f", {percent(found['dead'] / found['kernels'])}" if found["kernels"] else ""
    parts = [
        table(lines, set(range(2, len(lines[0])))),
        f"depthwise kernels: {found['dead']} dead and {found['near_dead']} near dead of {found['kernels']}{share} dead",
    ]
    removable = result["removable"]
    by = f"constant on {result['images']} pictures" if seen else "dead by their weights"
    parts.append(
        f"{removable['channels']} channels could be removed ({by}): {removable['parameters']:,} parameters "
        f"({percent(removable['parameters_share'])}) and {removable['macs']:,} multiply-accumulates "
        f"({percent(removable['macs_share'])})"
    )
    if removable["top1_change"] is not None:
        parts.append(
            f"without them top-1 is {percent(removable['top1'])} on those pictures, "
            f"{100 * removable['top1_change']:+.2f} points"
        )
    if int8:
        parts.append(
            f"with int8 weights and activations, calibrated on {int8['calibrated_on']} training pictures, the "
            f"logits keep a signal-to-noise ratio of {int8['logits_db']:.1f} dB on {int8['images']} others"
            + ("; the blocks marked (float) stay in float" if left else "")
        )
    if not seen:
        parts.append(
            "add --data DATA to also find channels that never change, and the error that int8 adds to the "
            "layers' outputs"
        )
    return "\n\n".join([parts[0], "\n".join(parts[1:])])


def _some(count: int) -> str:
    return str(count) if count else "·"


VERB = Verb(
    "audit",
    "find dead kernels and channels of a trained model, and the error that int8 adds in each layer",
    "mobilenets audit run --data photos --out figures",
    _arguments,
    _run,
)
