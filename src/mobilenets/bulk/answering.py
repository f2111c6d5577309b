"""From the pictures of a part to its rows: the loop that every worker runs. Never torch."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mobilenets.errors import FaultFound, UnreadablePicture
from mobilenets.pictures.inputs import Source
from mobilenets.pictures.stream import grouped
from mobilenets.runtime.predictor import EnginePredictor

# Where a worker is while no picture is being read: in the network.
NETWORK = -1
# How a worker says at which picture it is, and how many are answered for.
PLACE = struct.Struct("<qq")
# Bad pictures that a part names in the summary; all are in its rows.
NAMED = 5


def answers(
    predictor: EnginePredictor,
    named: Iterable[tuple[str, Source | UnreadablePicture]],
    *,
    batch: int = 32,
    top: int | None = None,
    at: Callable[[int], None] = lambda index: None,
) -> Iterator[dict[str, Any]]:
    """Answer pictures as ``predict`` does, in this thread alone; every picture gives a row, in order.

    One that cannot be read, whatever the reason, has ``error`` in place of an answer. ``at`` is told which picture is
    about to be decoded, or ``NETWORK``.
    """
    for group in grouped(enumerate(named), predictor.at_once(batch)):
        prepared, faults = [], dict[int, str]()
        for index, (_, picture) in group:
            at(index)
            try:
                if isinstance(picture, UnreadablePicture):
                    raise picture
                prepared.append(predictor.prepare(picture))
            except (UnreadablePicture, MemoryError) as error:
                faults[index] = str(error) or "it needs more memory than there is"
            except Exception as error:  # a fault of a decoder's, which must not cost the other pictures theirs
                faults[index] = f"cannot be read: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        at(NETWORK)
        rows = iter(zip(*predictor.asked(prepared), strict=True)) if prepared else iter(())
        for index, (name, _) in group:
            yield {"image": name} | (
                {"error": faults[index]} if index in faults else _said(predictor, *next(rows), top)
            )


def _said(predictor: EnginePredictor, row: Any, far: float | None, top: int | None) -> dict[str, Any]:
    try:
        return predictor.answer(row, top, None, far)
    except FaultFound as fault:
        return {"error": str(fault)}


def counted(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Count rows: ``pictures``, ``bad`` by reason, ``classes`` by the best one or by box, and "none of these"."""
    pictures, strange = 0, 0
    classes, reasons, first = Counter[str](), Counter[str](), list[list[str]]()
    for row in rows:
        pictures += 1
        if "error" in row:
            reasons[row["error"]] += 1
            if len(first) < NAMED:
                first.append([row["image"], row["error"]])
        elif "detections" in row:
            classes.update(one["label"] for one in row["detections"])
        elif row.get("known") is False:
            strange += 1
        else:
            classes[row["predictions"][0]["label"]] += 1
    return {
        "pictures": pictures,
        "bad": sum(reasons.values()),
        "classes": dict(classes),
        "none_of_these": strange,
        "reasons": dict(reasons.most_common(20)),
        "first_bad": first,
    }
