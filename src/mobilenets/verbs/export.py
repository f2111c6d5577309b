"""``export``: a trained model as a file for another runtime, checked on the user's own pictures before it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.base.drafts import drafting, publish
from mobilenets.base.files import write_json
from mobilenets.base.notes import log
from mobilenets.base.shell import quote
from mobilenets.datasets.folder import Sample
from mobilenets.datasets.listing import say
from mobilenets.datasets.readable import check_readable
from mobilenets.datasets.shards.open import open_data
from mobilenets.errors import InputError
from mobilenets.exports.catalog import find_format
from mobilenets.exports.check.gate import judge
from mobilenets.exports.check.golden import drawn_picture, golden_pictures
from mobilenets.exports.draft import check_place
from mobilenets.exports.formats import write
from mobilenets.exports.job import Job, Options
from mobilenets.exports.use.code import write_device_code
from mobilenets.models.saved import SavedModel, load_classifier
from mobilenets.pictures.preprocess import UNFILTERED, Preprocessing
from mobilenets.runs.detection.measured import boxes_to_export
from mobilenets.runs.folder import export_folder
from mobilenets.runs.held_out import Halves, fitted_pictures, pictures_to_export
from mobilenets.runs.predictor import Predictor
from mobilenets.runs.record import RECIPE, data_folder
from mobilenets.runtime.bundle import CLASSIFICATION, DESCRIPTION, Bundle, find_bundle, read_bundle, write_bundle
from mobilenets.runtime.exported import Exported, file_hash
from mobilenets.tasks.base import Task
from mobilenets.tasks.registry import find_task
from mobilenets.training.recipes import load_recipe

REPORT = "export.json"
PICTURE = "export.png"
CALIBRATION_PICTURES = 512
# Of a detector, whose outputs for a picture are thousands of numbers: they are all held.
CALIBRATION_SCENES = 128
FEW_PICTURES = 64


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
    nms: bool = False,
    per_tensor: bool = False,
) -> dict[str, Any]:
    """Write a model as a file for another runtime, if its answers are the model's as far as its precision allows.

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
        Points of top-1 that may be lost: by default 0.05 for float, 0.5 for int8. Of a detector points of AP, by
        default 0.1 for float32, 0.3 for float16, 1.5 for int8.
    web_runtime:
        For ``web``: the folder of the unpacked npm package onnxruntime-web. By default it is looked for in
        ``node_modules``, and else fetched by npm.
    camera:
        Resize and crop inside as well: the file takes one upright picture a run, uint8 1×H×W×3 for any H and W.
        ``onnx`` and ``openvino`` only.
    nms:
        End a detector's file in finished boxes, non-maximum suppression inside: float32 N×100×6, rows of x0, y0, x1, y1
        as shares of the picture, score and class (−1 in rows that only fill up). ``onnx`` and ``openvino`` only.
    per_tensor:
        int8 for chips that know nothing else: each weight has one scale and not one a channel, and no block stays in
        float. It loses more. ``onnx``, ``openvino`` and ``web`` only.

    Returns the object of ``export --json``; ``seen_in_training`` and ``notes`` are as in ``evaluate``. Where ``passed``
    is false nothing was written, ``faults`` says why, ``layer`` which layer differs first, and ``advice`` the command
    that trains the model for int8, where that may help. Raises ``InputError`` for
    what cannot be used.

    >>> result = mobilenets.export("run", "exported", data="photos")
    >>> result["passed"], result["format"], result["images"]
    (True, 'onnx', 12)

    """
    runtime = None if web_runtime is None else Path(web_runtime)
    options = Options(format, precision, pixels, probabilities, batch, runtime, camera, nms, per_tensor)
    find_format(format, precision, camera, nms)
    source = Path(model)
    task = _task(source, options)
    points = task.tolerance(tolerance, precision)
    folder = export_folder(find_bundle(source), format, precision) if out is None else Path(out)
    check_place(folder, format)
    saved = load_classifier(source)
    _check_geometry(saved.bundle.preprocessing, options)
    halves, calibration = pictures_of(source, _data(source, data, precision), saved.bundle, precision)
    with drafting(folder) as draft:
        job = Job(saved.network, saved.bundle.preprocessing, options, draft, calibration, task, saved.space)
        exported = write(job)
        describe(draft, saved, exported, source)
        # Opened as a user would, from its own description; beside it the checkpoint, and not the run's own file.
        candidate = Predictor(draft)
        reference = Predictor(source, "cpu", runtime="torch")
        verdict = judge(task, reference, candidate, halves.measured, halves.root, points)
        result = {
            "file": str(folder / exported.file),
            "format": format,
            "precision": precision,
            "bytes": sum((draft / name).stat().st_size for name in exported.sha256),
            **verdict.to_json(),
            **halves.to_json(),
            "runtime": exported_runtime(candidate),
            "quantization": exported.about.get("quantization"),
            "layer": None,
            "advice": _advice(saved, source, halves.root, options) if verdict.faults else None,
        }
        if verdict.faults:
            return result | {"file": None, "layer": _breaking_layer(saved, draft, exported, halves.measured)}
        exported = _unless_strayed(saved, verdict, exported, result)
        about = {**exported.about, "gate": verdict.to_json() | {"evaluated_on": halves.which}}
        golden = golden_pictures(candidate, halves.measured, halves.root)
        describe(draft, saved, replace(exported, golden=golden, about=about, drawn=drawn_picture(candidate)), source)
        if task.has_device_code:
            write_device_code(draft, read_bundle(draft))
        write_json(draft / REPORT, result)
        verdict.draw(draft / PICTURE, saved.bundle.labels)
        publish(draft, folder, DESCRIPTION)
    return result


def _check_geometry(preprocessing: Preprocessing, options: Options) -> None:
    if options.pixels and preprocessing.interpolation in UNFILTERED:
        raise InputError(
            f"--{'camera' if options.camera else 'pixels'}: the file would take whole levels, but this model resizes "
            f"by {preprocessing.interpolation}, which does not round to them: leave it out"
        )
    if options.camera:
        from mobilenets.exports.graph.geometry import check_geometry  # onnx, which not every export needs

        check_geometry(preprocessing)


def _advice(saved: SavedModel, model: Path, data: Path, options: Options) -> str | None:
    """Name the command that trains a refused model for int8; None where it cannot, as a sparse one, or was."""
    if options.precision != "int8" or saved.bundle.task != CLASSIFICATION or saved.network.int8 is not None:
        return None
    recipe = find_bundle(model) / RECIPE
    if not recipe.is_file() or load_recipe(recipe).share_of_zeros:
        return None
    return f"mobilenets quantize {quote(str(model))} {quote(str(data))}" + " --per-tensor" * options.per_tensor


def _breaking_layer(
    saved: SavedModel, draft: Path, exported: Exported, measured: Sequence[Sample]
) -> dict[str, Any] | None:
    """Name the first layer of a failed file that differs from the network's, where its runtime lets one look."""
    from mobilenets.exports.check.layers import find_breaking_layer

    paths = [sample.path for sample in measured]
    worst = find_breaking_layer(saved.network, saved.bundle.preprocessing, draft, exported, paths)
    return None if worst is None else {"layer": worst.layer, "decibels": worst.decibels}


def exported_runtime(predictor: Predictor) -> str:
    """Name the runtime that a predictor of an exported file runs in, with its version."""
    engine: Any = predictor.engine
    return f"{engine.runtime} {engine.version}"


def _task(model: Path, options: Options) -> Task:
    bundle = read_bundle(find_bundle(model))
    task = find_task(bundle.task)
    if options.probabilities and not task.answers.softmax:
        raise InputError(f"probabilities: a model for {task.name} gives none; leave --probabilities out")
    if options.per_tensor and options.precision != "int8":
        raise InputError("--per-tensor only works with --int8: add it, or leave --per-tensor out")
    if options.nms:
        if bundle.detection is None:
            raise InputError(f"nms: a model for {task.name} finds no boxes; leave --nms out")
        from mobilenets.exports.graph.suppression import check_suppression  # onnx, which not every export needs

        check_suppression(bundle.preprocessing)
    return task


def _data(model: Path, data: str | Path | None, precision: str) -> Path:
    if data is not None:
        return open_data(data)
    if precision == "int8":
        raise InputError("int8 is calibrated on your training pictures: add --data DATA")
    found = data_folder(model)
    if found is None:
        raise InputError(
            f"{model}: an export is checked on labelled pictures, but the folder that the model was trained on is "
            "unknown or missing: add --data DATA"
        )
    log.info("checking on pictures of %s, from which the run learned", found)
    return open_data(found)


def pictures_of(model: Path, data: Path, bundle: Bundle, precision: str) -> tuple[Halves, npt.NDArray[np.uint8] | None]:
    """Give the readable pictures to check a file on and, for int8, those to calibrate it on."""
    if bundle.detection is None:
        halves = pictures_to_export(model, data, bundle.classes, training=precision == "int8")
    else:
        halves = boxes_to_export(model, data, bundle.classes)
    halves = replace(halves, measured=_readable(halves.measured))
    if not halves.measured:
        raise InputError(f"{halves.root}: no readable picture is held out to check the export on: add more pictures")
    return halves, _calibration(_readable(halves.training), bundle) if precision == "int8" else None


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
    most = CALIBRATION_PICTURES if bundle.detection is None else CALIBRATION_SCENES
    return fitted_pictures(samples, bundle.preprocessing, most, "calibration pictures")


def _unless_strayed(saved: SavedModel, verdict: Any, exported: Exported, result: dict[str, Any]) -> Exported:
    """Take "none of these" from a file whose distances are not the model's, and say where it has none."""
    strayed = getattr(verdict, "strayed", None)
    result["none_of_these"] = None if saved.space is None else exported.distance and strayed is None
    if result["none_of_these"] is not False:
        return exported
    why = strayed or f"a file in {exported.format}, {exported.precision}, gives no distance"
    note = f'{why}: so this file does not say "none of these"'
    log.warning("%s", note)
    result["notes"].append(note)
    return replace(exported, distance=False)


def describe(draft: Path, saved: SavedModel, exported: Exported, source: Path) -> None:
    """Write the ``model.json`` of an exported file that was made of the model in ``source``."""
    known = saved.bundle.none_of_these if exported.distance else None
    origin = {**saved.bundle.origin, "exported_from": file_hash(find_bundle(source) / "model.safetensors")}
    about = replace(saved.bundle, origin=origin, export=exported, graph=None, weights=None, none_of_these=known)
    write_bundle(draft, about)
