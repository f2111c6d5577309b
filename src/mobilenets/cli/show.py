"""Results as text for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobilenets.base.progress import duration
from mobilenets.base.shell import quote

# Blanks other than the usual one, and what joins letters of Persian or Hindi and the people of an emoji.
_SHOWN = "\u00a0\u2002\u2003\u2009\u202f\u3000\u200c\u200d"


def printable(text: str) -> str:
    """Write what no terminal shows, or what would break the line, as its escape: a name may hold any byte."""
    return "".join(c if c.isprintable() or c in _SHOWN else ascii(c)[1:-1] for c in text)


def percent(fraction: float) -> str:
    """Write a fraction as a percentage."""
    return f"{100 * fraction:.2f} %"


def table(rows: list[list[str]], right: set[int]) -> str:
    """Align columns; those in ``right`` to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def summarised(result: dict[str, Any]) -> str:
    """One line per layer, and the totals."""
    rows = [["layer", "kind", "output", "parameters", "MACs"]]
    for layer in result["layers"]:
        shape = " × ".join(map(str, layer["output"]))
        rows.append([layer["name"], layer["kind"], shape, f"{layer['parameters']:,}", f"{layer['macs']:,}"])
    rows.append(["total", "", "", f"{result['parameters']:,}", f"{result['macs']:,}"])
    head = (
        f"{result['name']} ({result['variant']}), width {result['width']:g}, {result['size']} × {result['size']} "
        f"pixels, {result['classes']} classes"
    )
    totals = f"{result['parameters'] / 1e6:.2f} M parameters, {result['macs'] / 1e6:.1f} M multiply-accumulates"
    return f"{head}\n\n{table(rows, {3, 4})}\n\n{totals}"


def evaluated(result: dict[str, Any]) -> str:
    """The figures with their intervals, then one line per class."""
    rows = [["class", "pictures", "precision", "recall", "F1"]]
    for name, score in result["classes"].items():
        figures = ["–" if score[key] is None else f"{100 * score[key]:.1f} %" for key in ("precision", "recall", "f1")]
        shown = name if result["names"] is None else result["names"][name]
        rows.append([printable(shown), str(score["images"]), *figures])
    parts = [headline(result), *_by_group(result), table(rows, {1, 2, 3, 4})]
    return "\n\n".join([*parts, "\n".join(map(sentence, result["notes"]))]).rstrip()


def _by_group(result: dict[str, Any]) -> list[str]:
    """The figures of the groups, and of the threshold, where there are any."""
    parts = []
    if result["groups"] is not None:
        groups = result["groups"]
        low, high = groups["top1_interval"]
        total = result["images"]
        lines = [f"group  {percent(groups['top1'])}   95 % interval {100 * low:.2f} to {100 * high:.2f}"]
        for words, key in (("wrong class, right group", "wrong_class_right_group"), ("wrong group", "wrong_group")):
            lines.append(f"{words}  {groups[key]} of {total}, {percent(groups[key] / total)}")
        rows = [["group", "pictures", "precision", "recall", "F1"]]
        for name, score in groups["groups"].items():
            keys = ("precision", "recall", "f1")
            figures = ["–" if score[key] is None else f"{100 * score[key]:.1f} %" for key in keys]
            rows.append([printable(name), str(score["images"]), *figures])
        parts += ["\n".join(lines), table(rows, {1, 2, 3, 4})]
    if result["sure"] is not None:
        sure = result["sure"]
        low, high = sure["accuracy_interval"]
        right = "none" if sure["accuracy"] is None else percent(sure["accuracy"])
        parts.append(
            f"sure from a confidence of {_confidence(sure['threshold'])}: {percent(sure['answered'])} of the pictures, "
            f"{right} of them right   95 % interval {100 * low:.2f} to {100 * high:.2f}"
        )
    return parts


def _confidence(threshold: float) -> str:
    """Write a confidence that is below one as such, however near."""
    return "over 99.99 %" if 0.99995 <= threshold < 1 else percent(threshold)


def headline(result: dict[str, Any]) -> str:
    """Top-1, top-5, what always the largest class would have, loss and calibration."""
    lines = []
    # The best five of five classes or fewer are all of them.
    shown = ("top1", "top5") if len(result["classes"]) > 5 else ("top1",)
    for key in shown:
        low, high = result[f"{key}_interval"]
        lines.append(f"top-{key[-1]}  {percent(result[key])}   95 % interval {100 * low:.2f} to {100 * high:.2f}")
    largest = max(result["classes"], key=lambda name: result["classes"][name]["images"])
    lines.append(f"always answering the largest class, {printable(largest)}:  {percent(result['baseline_top1'])}")
    loss = f"loss   {result['loss']:.4f}"
    if result["loss_interval"]:
        loss += f"    95 % interval {result['loss_interval'][0]:.4f} to {result['loss_interval'][1]:.4f}"
    lines += [loss, f"expected calibration error  {percent(result['ece'])}"]
    return f"{result['images']} pictures ({result['evaluated_on']})\n" + "\n".join(lines)


def trained(result: dict[str, Any]) -> str:
    """What came out, where it is, and what to type next."""
    run = result["run"]
    pictures = Path(result["data"])
    epochs = "1 epoch" if result["epochs"] == 1 else f"{result['epochs']} epochs"
    total = duration(result["total_seconds"])
    kept = f"model of epoch {result['epoch']}" if result["epoch"] else "the weights it started from were kept"
    return "\n".join(
        [
            headline(result),
            f"{epochs}, {kept}; {total} in all, {duration(result['seconds'])} of it training",
            *_before(result),
            *map(sentence, result["notes"]),
            *(["", "What would help next:"] if result["next_steps"] else []),
            *(f"  {number}. {step}" for number, step in enumerate(result["next_steps"], 1)),
            "",
            f"The run:     {run}",
            f"The report:  {result['report']}",
            "Next:",
            f"  mobilenets predict {quote(run)} {quote(str(pictures))} --top 3",
            f"  mobilenets evaluate {quote(run)} {quote(str(pictures))}",
        ]
    )


def _before(result: dict[str, Any]) -> list[str]:
    """The model that training began with, on the same pictures."""
    before = result.get("before")
    if before is None:
        return []
    low, high = before["change_interval"]
    images = f"the {before['images']} pictures"
    if len(before["classes"]) < len(result["classes"]):
        images += f" of the {len(before['classes'])} classes it knows"
    if result["seen_by_source"]:
        images += " that it did not learn from"
    change = f"{100 * before['change']:+.2f} points (95 % interval {100 * low:+.2f} to {100 * high:+.2f})"
    now = f"now {percent(before['top1_now'])}, {change}: {before['gained']} newly right, {before['lost']} newly wrong"
    if not before["gained"] and not before["lost"]:
        now = "now exactly the same pictures are right"
    return [f"Before ({before['model']}): top-1 {percent(before['top1'])} on {images}; {now}"]


def sentence(note: str) -> str:
    """Write a note as a sentence."""
    if note.endswith((".", "!", "?")):
        return note
    name = "/" in note.partition(" ")[0]  # of a folder, whose case is its own
    return f"{note}." if name else f"{note[:1].upper()}{note[1:]}."


def fetched(result: dict[str, Any]) -> str:
    """What was written and what to type next."""
    folder = result["folder"]
    pictures = f"{result['train']} training and {result['validation']} validation pictures"
    if not result["validation"]:
        pictures = f"{result['train']} pictures"
    # Small pictures would be enlarged to the usual 224 pixels, for nothing.
    size = f" --size {result['size']}" if result["size"] <= 64 else ""
    return (
        f"{result['name']}: {pictures} of {len(result['classes'])} classes in {folder}\n"
        f"Next:  mobilenets train {quote(folder)} --out run{size}"
    )


def imported(result: dict[str, Any]) -> str:
    """What the file was, where the model is, and what to type next."""
    folder = quote(result["model"])
    kind = (
        f"{result['name']} ({result['variant']}), width {result['width']:g}, {result['size']} × {result['size']} pixels"
    )
    lines = [
        f"{result['format']}: {kind}, {result['classes'] or 'no'} classes, {result['parameters']:,} parameters",
        f"padding {result['padding']}, BatchNorm epsilon {result['norm_epsilon']:g}",
        f"The model:  {result['model']}",
        "Next:",
    ]
    if result["classes"]:
        lines.append(f"  mobilenets predict {folder} photo.jpg --top 3")
    lines.append(f"  mobilenets train photos --weights {folder} --out run")
    said = [f"Assumed: {line}" for line in result["assumed"]] + [f"Note: {note}" for note in result["notes"]]
    return "\n".join([*lines, *(printable(line) for line in said)])


def published(result: dict[str, Any]) -> str:
    """One line per set of weights."""
    rows = [["network", "width", "size", "top-1", "licence", "mean, deviation", "source"]]
    for entry in result["weights"]:
        about = entry["preprocessing"]
        numbers = "±1" if tuple(about["mean"]) == (0.5, 0.5, 0.5) else "ImageNet's"
        top1 = "–" if entry["top1"] is None else f"{entry['top1']:.1f} %"
        rows.append(
            [
                entry["network"],
                f"{entry['width']:g}",
                str(entry["size"]),
                top1,
                entry["licence"],
                numbers,
                entry["source"],
            ]
        )
    use = "mobilenets train photos --model NETWORK --width W --weights imagenet --out run"
    return f"{table(rows, {1, 2, 3})}\n\nUse them:  {use}"


def predicted(answer: dict[str, Any]) -> str:
    """One line: the picture and its most probable classes."""
    name = printable(answer["image"])
    if "error" in answer:
        return f"{name}: not read: {answer['error']}"
    words = [_entry(entry, answer.get("groups", [])) for entry in answer["predictions"]]
    unsure = "not sure: " if answer.get("sure") is False else ""
    return f"{name}: {unsure}{', '.join(words)}"


def _entry(entry: dict[str, Any], groups: list[dict[str, Any]]) -> str:
    group = next((f" · {group['name']}" for group in groups if group["label"] == entry.get("group")), "")
    between = " · " if group else " "
    return f"{entry.get('name', entry['label'])}{group}{between}{100 * entry['probability']:.1f} %"


PREDICTED_COLUMNS = ["image", "rank", "label", "probability", "error"]


def predicted_rows(answer: dict[str, Any]) -> list[list[Any]]:
    """Rows of CSV: one an answer, or one with the error."""
    if "error" in answer:
        return [[answer["image"], "", "", "", answer["error"]]]
    return [
        [answer["image"], rank, entry["label"], f"{entry['probability']:.6f}", ""]
        for rank, entry in enumerate(answer["predictions"], start=1)
    ]
