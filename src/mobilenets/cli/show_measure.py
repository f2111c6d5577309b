"""What was measured on networks and models, as text for people."""

from __future__ import annotations

from typing import Any

from mobilenets.cli.show import percent, printable, table
from mobilenets.cli.show_exports import size


def benchmarked(rows: list[dict[str, Any]]) -> str:
    """The machine, then a line for every model, runtime, number of threads and batch."""
    columns = ["model", "runtime", "precision", "threads", "batch", "p50 ms", "p95 ms", "p99 ms", "pictures/s"]
    lines = [[*columns, "peak MB", "load ms", "file"]]
    for row in rows:
        lines.append(
            [
                # Resizing is in its time.
                printable(row["model"]) + (" (480×640)" if row["geometry"] == "inside" else ""),
                f"{row['runtime']} {row['runtime_version'].split('-')[0]}",
                row["precision"],
                str(row["threads"]),
                str(row["batch"]),
                *(_ms(row[key]) for key in ("p50_ms", "p95_ms", "p99_ms")),
                f"{row['images_per_second']:.1f}",
                f"{row['peak_rss_mb']:.0f}",
                f"{row['load_ms']:.0f}",
                size(row["bytes"]),
            ]
        )
    machine = rows[0]["machine"]
    about = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"
    return f"{printable(about)}\n\n{table(lines, set(range(3, 12)))}"


def compared(result: dict[str, Any]) -> str:
    """One line per network."""
    lines = [["network", "width", "size", "parameters", "MACs", "float32", "PyTorch ms", "ONNX Runtime ms", "top-1"]]
    for row in result["networks"]:
        top1 = "–"
        if row["top1"] is not None:
            low, high = row["top1_interval"]
            top1 = (
                f"{percent(row['top1'])} ({100 * low:.1f} to {100 * high:.1f}; {row['images']} pictures, {row['data']})"
            )
        lines.append(
            [
                printable(row["run"] or row["name"]),
                f"{row['width']:g}",
                str(row["size"]),
                f"{row['parameters']:,}",
                f"{row['macs']:,}",
                size(row["bytes"]),
                _ms(row["latency_ms"]),
                _ms(row["onnxruntime_ms"]),
                printable(top1),
            ]
        )
    machine = result["machine"]
    threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
    about = f"median for one picture, {threads}; {machine['processor']}, {machine['cores']} cores, {machine['system']}"
    return f"{table(lines, set(range(1, 8)))}\n\n{printable(about)}"


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


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 1000 else f"{value:.2f}" if value < 100 else f"{value:.1f}"
