"""``export``: a trained model as a file for another runtime, checked on the user's own pictures before it counts."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilenets.base.files import explaining, sync, write_json
from mobilenets.datasets.folder import Sample, relative
from mobilenets.datasets.listing import say
from mobilenets.datasets.readable import check_readable
from mobilenets.errors import InputError
from mobilenets.exports.catalog import find_format
from mobilenets.exports.check.gate import probe_answers, probes
from mobilenets.exports.job import Job, Options, write
from mobilenets.exports.use.code import write_device_code
from mobilenets.models.saved import SavedModel, load_classifier
from mobilenets.pictures.decode import decode
from mobilenets.runs.folder import export_folder
from mobilenets.runs.held_out import Halves, data_of_run, fitted_pictures, pictures_to_export
from mobilenets.runs.predictor import Predictor
from mobilenets.runtime.bundle import DESCRIPTION, Bundle, find_bundle, read_bundle, write_bundle
from mobilenets.runtime.exported import Drawn, Exported, Golden, file_hash
from mobilenets.tasks.base import Comparison, Task, Verdict
from mobilenets.tasks.evaluate import evaluate_predictors
from mobilenets.tasks.registry import find_task

log = logging.getLogger("mobilenets")

REPORT = "export.json"
PICTURE = "export.png"
GOLDEN_PICTURES = 8
CALIBRATION_PICTURES = 512
FEW_PICTURES = 64
LAYER_PICTURES = 8


def export(
    model: str | Path,
    out: str | Path | None = None,
    format: str = "onnx",
    *,
    precision: str = "float32",
    data: str | Path | None = None,
    pixels: bool = False,
    probabilities: bool = False,
    batch: int | None = None,
    tolerance: float | None = None,
    web_runtime: str | Path | None = None,
    camera: bool = False,
) -> dict[str, Any]:
    """Write a model as a file for another runtime, if it answers there as the model does.

    Parameters
    ----------
    model:
        A run folder or a bundle.
    out:
        The folder to write: the file, its ``model.json``, ``export.json`` with all figures, ``export.png``, and
        ``USE.md`` and ``use/`` with code for Python, browsers, Android and C++. By default ``exported-<format>`` in the
        run folder.
    format:
        ``onnx``, ``openvino``, ``litert``, ``executorch`` or ``web``.
    precision:
        ``float32``, ``float16`` or ``int8``.
    data:
        The labelled pictures to check it on, by default those that the run learned from, of which the held out are
        taken. int8 is calibrated on the training half of it, and must be told.
    pixels:
        Make the numbers inside: the file takes uint8 N×S×S×3 after resizing and cropping.
    probabilities:
        End in a softmax.
    batch:
        Pictures a run; by default any number.
    tolerance:
        Points of top-1 that may be lost: by default 0.05 for float, 0.5 for int8.
    web_runtime:
        For ``web``: the folder of the unpacked npm package onnxruntime-web. By default it is looked for in
        ``node_modules``, and else fetched by npm.
    camera:
        Resize and crop inside as well: the file takes one upright picture a run, uint8 1×H×W×3 for any H and W.
        ``onnx`` and ``openvino`` only.

    Returns the object of ``export --json``. Where ``passed`` is false nothing was written, ``faults`` says why and
    ``layer`` which layer differs first. Raises ``InputError`` for what cannot be used.

    """
    options = Options(
        format, precision, pixels, probabilities, batch, None if web_runtime is None else Path(web_runtime), camera
    )
    find_format(format, precision, camera)
    source = Path(model)
    task = find_task(read_bundle(find_bundle(source)).task)
    points = task.tolerance(tolerance, precision)
    folder = export_folder(find_bundle(source), format, precision) if out is None else Path(out)
    _check_out(folder, format)
    saved = load_classifier(source)
    if camera:
        from mobilenets.exports.graph.geometry import check_geometry

        check_geometry(saved.bundle.preprocessing)
    data = _data(source, data, precision)
    halves = pictures_to_export(source, Path(data), saved.bundle.classes, training=precision == "int8")
    measured = _readable(halves.measured)
    calibration = _calibration(_readable(halves.training), saved.bundle) if precision == "int8" else None
    with _aside(folder) as draft:
        exported = write(Job(saved.network, saved.bundle.preprocessing, options, draft, calibration))
        _describe(draft, saved, exported, source)
        verdict, candidate = _judge(task, source, draft, measured, halves, points)
        result = {
            "file": str(folder / exported.file),
            "format": format,
            "precision": precision,
            "bytes": sum((draft / name).stat().st_size for name in exported.sha256),
            **verdict.to_json(),
            "evaluated_on": halves.which,
            "runtime": exported_runtime(candidate),
            "quantization": exported.about.get("quantization"),
            "layer": None,
        }
        if verdict.faults:
            result |= {"file": None, "layer": _layer(saved, draft, exported, measured)}
            return result
        golden = _golden(candidate, measured, halves.root)
        about = {**exported.about, "gate": verdict.to_json() | {"evaluated_on": halves.which}}
        described = replace(exported, golden=golden, about=about, drawn=_drawn(candidate))
        _describe(draft, saved, described, source)
        write_device_code(draft, read_bundle(draft))
        write_json(draft / REPORT, result)
        verdict.draw(draft / PICTURE, saved.bundle.labels)
        _move(draft, folder)
    return result


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """Give a folder beside the final one, so that moving files there is a renaming; it is removed in the end."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); use another --out") from error
    # What is written there is written by each runtime's own library.
    with place as name, explaining(folder):
        yield Path(name)


def exported_runtime(predictor: Predictor) -> str:
    """Name the runtime that a predictor of an exported file runs in, with its version."""
    engine: Any = predictor.engine
    return f"{engine.runtime} {engine.version}"


def _data(model: Path, data: str | Path | None, precision: str) -> str | Path:
    if data is not None:
        return data
    if precision == "int8":
        raise InputError("int8 is calibrated on your training pictures: add --data DATA")
    found = data_of_run(find_bundle(model))
    if found is None:
        raise InputError(
            f"{model}: an export is checked on labelled pictures, but the folder that the model was trained on is "
            "unknown or missing: add --data DATA"
        )
    log.info("checking on the pictures of %s that the run held out", found)
    return found


def _check_out(folder: Path, format: str) -> None:
    """Refuse a place where something of the user's would be replaced; an earlier export may be."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: use another --out")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        known = read_bundle(folder).export
    except InputError:
        known = None
    if known is None:
        raise InputError(f"{folder} holds something other than an export: use another --out")
    if known.format != format:
        raise InputError(f"{folder} already holds an export in format {known.format}: use another --out")


def _readable(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    good, problems = check_readable(samples)
    say(problems)
    return good


def _calibration(samples: Sequence[Sample], bundle: Bundle) -> npt.NDArray[np.uint8]:
    if not samples:
        raise InputError(
            "int8 is calibrated on training pictures, and there are none: use a --data folder that has train/"
        )
    if len(samples) < FEW_PICTURES:
        log.warning(
            "int8 is calibrated on only %d training pictures: %d or more are better", len(samples), FEW_PICTURES
        )
    return fitted_pictures(samples, bundle.preprocessing, CALIBRATION_PICTURES, "calibration pictures")


def _describe(draft: Path, saved: SavedModel, exported: Exported, source: Path) -> None:
    origin = {**saved.bundle.origin, "exported_from": file_hash(find_bundle(source) / "model.safetensors")}
    write_bundle(draft, replace(saved.bundle, origin=origin, export=exported, graph=None))


def _judge(
    task: Task, source: Path, draft: Path, measured: Sequence[Sample], halves: Halves, points: float
) -> tuple[Verdict, Predictor]:
    """Open the file as a user would, from its own description, and ask both about every picture."""
    if not measured:
        raise InputError(f"{halves.root}: no readable picture is held out to check the export on: add more pictures")
    # The checkpoint counts, and not the file beside it.
    reference, candidate = Predictor(source, "cpu", runtime="torch"), Predictor(draft)
    ours, theirs = evaluate_predictors([reference, candidate], measured, halves.root, "checking the export")
    exported = candidate.bundle.export
    assert exported is not None
    resized = exported.geometry == "inside" and exported.format == "openvino"
    probed = probe_answers(reference, candidate)
    return task.compare(Comparison(ours, theirs, probed, exported.precision, resized, points)), candidate


def _layer(saved: SavedModel, draft: Path, exported: Exported, measured: Sequence[Sample]) -> dict[str, Any] | None:
    """Find the layer that breaks a file, where the runtime lets it be looked into."""
    if exported.format not in ("onnx", "web"):
        return None
    from mobilenets.exports.check.layers import breaking_layer, decibels, layer_errors

    bundle = read_bundle(draft)
    pictures = [decode(sample.path) for sample in measured[:: max(1, len(measured) // LAYER_PICTURES)][:LAYER_PICTURES]]
    pictures += probes(saved.bundle.preprocessing.size)[:LAYER_PICTURES]
    path, how = draft / exported.file, saved.bundle.preprocessing
    if exported.geometry == "inside":
        from mobilenets.exports.graph.geometry import NAME, pixels_inside

        # A picture a run, and the network is asked about the very pixels that the file makes, if these are right.
        fed = np.asarray(pictures[0])[None]
        fitted, made = np.asarray(how.fit(pictures[0])), pixels_inside(path, fed[0])
        if np.abs(made.astype(int) - fitted).max() > 1:
            return {"layer": NAME, "decibels": decibels(fitted.astype(np.float32), made.astype(np.float32))}
        images = how.normalise(made)[None]
    else:
        images = np.stack([how(picture) for picture in pictures])
        fed = _fed(bundle, pictures, exported)
    errors = layer_errors(saved.network, images, path, exported, fed)
    worst = breaking_layer(errors)
    return None if worst is None else {"layer": worst.layer, "decibels": worst.decibels}


def _fed(bundle: Bundle, pictures: Sequence[Image.Image], exported: Exported) -> npt.NDArray[Any]:
    fitted = [np.asarray(bundle.preprocessing.fit(picture)) for picture in pictures]
    return np.stack(fitted) if exported.input == "uint8" else bundle.preprocessing.normalise(np.stack(fitted))


def _golden(candidate: Predictor, measured: Sequence[Sample], root: Path) -> tuple[Golden, ...]:
    """Describe a few pictures of as many classes as there are, with what the file answers."""
    places = np.unique(np.linspace(0, len(measured) - 1, GOLDEN_PICTURES).round().astype(int))
    golden = []
    for place in places:
        path = measured[place].path
        # Decoded whole, as a port will, and as the hash of the pixels says.
        pixels, outputs = _seen_and_said(candidate, decode(path))
        rows, columns = (np.arange(1, 8, 2) * side // 8 for side in pixels.shape[:2])
        grid = tuple(
            (int(red), int(green), int(blue)) for red, green, blue in pixels[np.ix_(rows, columns)].reshape(-1, 3)
        )
        hashed = sha256(pixels.tobytes()).hexdigest()
        golden.append(Golden(relative(path, root), file_hash(path), hashed, outputs, grid))
    return tuple(golden)


def _drawn(candidate: Predictor) -> Drawn:
    """Describe a picture that others can draw, half as large again as the input, with what the file answers."""
    height = candidate.bundle.preprocessing.size * 3 // 2
    width = height + 1
    y, x, channel = np.ogrid[:height, :width, :3]
    picture = Image.fromarray(((x * x * (channel + 1) + 3 * y * (x + 5 * channel)) >> 5 & 255).astype(np.uint8))
    pixels, outputs = _seen_and_said(candidate, picture)
    return Drawn(width, height, crc32(pixels.tobytes()), outputs)


def _seen_and_said(candidate: Predictor, image: Image.Image) -> tuple[npt.NDArray[np.uint8], tuple[float, ...]]:
    """Give the pixels that the file is to be given, before they become numbers, and what it answers."""
    exported = candidate.bundle.export
    assert exported is not None
    prepared = candidate.prepare_image(image)
    inside = exported.geometry == "inside"
    pixels = np.asarray(image if inside else candidate.bundle.preprocessing.fit(image))
    [outputs] = candidate.engine(prepared[None])
    return pixels, tuple(float(value) for value in outputs)


def _move(draft: Path, folder: Path) -> None:
    """Bring the finished files to their place, the description last: until then no reader takes them."""
    for path in draft.iterdir():
        sync(path)
    folder.mkdir(exist_ok=True)
    names = sorted((path.name for path in draft.iterdir()), key=lambda name: (name == DESCRIPTION, name))
    for name in names:
        if (draft / name).is_dir():
            shutil.rmtree(folder / name, ignore_errors=True)
        (draft / name).replace(folder / name)
    sync(folder)
