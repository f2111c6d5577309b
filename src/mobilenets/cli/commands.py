"""What each verb does: call ``mobilenets.verbs``, print what it gives."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from mobilenets.base.files import DiskFull
from mobilenets.base.shell import quote
from mobilenets.cli import show, show_exports, show_measure
from mobilenets.errors import InputError
from mobilenets.training.recipe import Recipe


def demo(options: Namespace) -> int:
    """``mobilenets demo``."""
    from mobilenets.verbs.demo import demo as run

    again = f"mobilenets demo --out {quote(options.out)} --resume"
    with _resumable(again, Path(options.out)):
        result = run(options.out, resume=options.resume)
    _print(options, result, show.trained)
    return 0


def fetch(options: Namespace) -> int:
    """``mobilenets fetch``."""
    from mobilenets.verbs.fetch import fetch as run

    result = run(options.name, options.out, archive=options.archive, size=options.size)
    _print(options, result, show.fetched)
    return 0


def train(options: Namespace) -> int:
    """``mobilenets train``."""
    from mobilenets.runs.folder import run_folder
    from mobilenets.verbs.train import train as run

    names = [field.name for field in dataclasses.fields(Recipe)]
    settings = {name: getattr(options, name) for name in names if hasattr(options, name)}
    with run_folder(options.data, options.out, options.resume) as out:
        again = f"mobilenets train {quote(options.data)} --out {quote(str(out))} --resume"
        with _resumable(again, out / "recipe.json"):
            result = run(options.data, out, recipe=options.recipe, resume=options.resume, **settings)
    _print(options, result | {"data": options.data}, show.trained)
    return 0


def evaluate(options: Namespace) -> int:
    """``mobilenets evaluate``: exit status 1 when no confidence gives the wished accuracy."""
    from mobilenets.verbs.evaluate import evaluate as run

    _check_order(options.model, options.data, "evaluate")
    settings = {"device": options.device, "accuracy": options.accuracy, **_engine(options)}
    result = run(options.model, options.data, out=options.out, **settings)
    _print(options, result, show.evaluated)
    for fault in result["faults"]:
        print(f"mobilenets: {fault}", file=sys.stderr)
    return int(bool(result["faults"]))


def predict(options: Namespace) -> int:
    """``mobilenets predict``: exit status 1 when a picture could not be read."""
    from mobilenets.runs.predictor import Predictor
    from mobilenets.verbs.predict import predict as run

    _check_order(options.model, options.pictures[-1], "predict")
    predictor = Predictor(options.model, options.device, **_engine(options))
    pictures = [(name, _standard_input()) if name == "-" else name for name in options.pictures]
    form = "json" if options.json else options.format
    writer = csv.writer(sys.stdout, lineterminator="\n")
    failed = begun = False
    drawn = {"explain": options.explain, "sheet": options.sheet}
    for answer in run(predictor, pictures, top=options.top, language=options.language, **drawn):
        failed |= "error" in answer
        if form == "json":
            print(_json(answer))
        elif form == "csv":
            # Only now, so that a wrong command writes nothing.
            rows = [] if begun else [show.PREDICTED_COLUMNS]
            writer.writerows(rows + show.predicted_rows(answer))
        else:
            print(show.predicted(answer))
        begun = True
        sys.stdout.flush()
    return int(failed)


def export(options: Namespace) -> int:
    """``mobilenets export``: exit status 1 when the file did not pass, and none was written."""
    from mobilenets.verbs.export import export as run

    # So that what was written aside is taken away, as with Ctrl-C.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    result = run(
        options.model,
        options.out,
        options.format,
        precision=options.precision,
        data=options.data,
        pixels=options.pixels,
        camera=options.camera,
        probabilities=options.probabilities,
        batch=options.batch,
        tolerance=options.tolerance,
        web_runtime=options.web_runtime,
    )
    _print(options, result, show_exports.exported)
    return int(not result["passed"])


def serve(options: Namespace) -> int:
    """``mobilenets serve``."""
    from mobilenets.verbs.serve import serve as run

    def started(about: dict[str, Any]) -> None:
        if options.json:
            print(_json(about), flush=True)

    run(options.model, options.host, options.port, device=options.device, started=started, **_engine(options))
    return 0


def summary(options: Namespace) -> int:
    """``mobilenets summary``."""
    from mobilenets.verbs.summary import summary as run

    result = run(
        options.name,
        options.width,
        options.size,
        options.classes,
        variant=options.variant,
        table=options.table,
        diagram=options.diagram,
    )
    _print(options, result, show.summarised)
    return 0


def import_weights(options: Namespace) -> int:
    """``mobilenets import``."""
    from mobilenets.verbs.import_weights import import_weights as run

    # The notes are in the result: they are shown at its end, and not before it too.
    said = nullcontext() if options.json else _without_notes()
    with said:
        result = run(
            options.files,
            options.out,
            size=options.size,
            variant=options.variant,
            classes=options.classes,
            preprocessing=options.preprocessing,
            resize=options.resize,
            output=options.output,
        )
    _print(options, result, show.imported)
    return 0


@contextmanager
def _without_notes() -> Iterator[None]:
    def wanted(record: logging.LogRecord) -> bool:
        return not getattr(record, "noted", False)

    log = logging.getLogger("mobilenets")
    log.addFilter(wanted)
    try:
        yield
    finally:
        log.removeFilter(wanted)


def weights(options: Namespace) -> int:
    """``mobilenets weights``."""
    from mobilenets.verbs.import_weights import published_weights as run

    _print(options, {"weights": run()}, show.published)
    return 0


def benchmark(options: Namespace) -> int:
    """``mobilenets benchmark``."""
    from mobilenets.verbs.benchmark import benchmark as run
    from mobilenets.verbs.benchmark import write_device_script

    if options.device_script is not None:
        written = write_device_script(options.device_script)
        print(f"on the device: python {quote(written.name)} model.onnx", file=sys.stderr)
    if options.models or options.device_script is None:
        result = run(
            options.models,
            runtimes=options.runtimes,
            threads=options.threads,
            **({} if options.batches is None else {"batches": options.batches}),
            seconds=options.seconds,
            out=options.out,
        )
        _print(options, result, show_measure.benchmarked)
    elif options.json:
        print("[]")
    return 0


def compare(options: Namespace) -> int:
    """``mobilenets compare``."""
    from mobilenets.verbs.compare import compare as run

    result = run(
        options.names,
        size=options.size,
        **({} if options.widths is None else {"widths": options.widths}),
        classes=options.classes,
        runs=options.runs,
        threads=options.threads,
        seconds=options.seconds,
        out=options.out,
    )
    _print(options, result, show_measure.compared)
    return 0


def audit(options: Namespace) -> int:
    """``mobilenets audit``."""
    from mobilenets.verbs.audit import audit as run

    _print(options, run(options.model, data=options.data, out=options.out), show_measure.audited)
    return 0


def _check_order(model: str, other: str, verb: str) -> None:
    """Refuse a model given behind the pictures, which are no model: it comes first."""
    from mobilenets.runtime.bundle import is_model

    if is_model(Path(other)) and not is_model(Path(model)):
        raise InputError(f"the model comes first: mobilenets {verb} {quote(other)} {quote(model)}")


def _engine(options: Namespace) -> dict[str, Any]:
    return {"runtime": options.runtime, "threads": options.threads}


def _print(options: Namespace, result: Any, words: Callable[[Any], str]) -> None:
    print(_json(result) if options.json else words(result))


def _json(value: Any) -> str:
    """Write JSON as people read it, or in ASCII where the output's encoding lacks one of its characters."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise InputError("standard input is closed: give a file instead of -")
    return sys.stdin.buffer.read()


@contextmanager
def _resumable(command: str, mark: Path) -> Iterator[None]:
    """Say at Ctrl-C, or a full disk, how to continue; ``mark`` exists when there is something to continue."""
    try:
        yield
    except DiskFull as full:
        way = command if mark.exists() else "run the same command again with --resume"
        raise DiskFull(full.path, full.reason, f"free some space, then: {way}") from full
    except KeyboardInterrupt:
        if not mark.exists():
            raise KeyboardInterrupt("stopped before anything was done: run the same command again") from None
        raise KeyboardInterrupt(f"stopped; what was done is kept; to continue: {command}") from None
