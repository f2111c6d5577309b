"""A finished model on the disk: a file of weights beside ``model.json``, which says all that is needed to use it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mobilenets.base.files import nfc, write_json
from mobilenets.base.notes import log
from mobilenets.errors import InputError
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bar import Bar
from mobilenets.runtime.detection import Detection
from mobilenets.runtime.exported import Exported, file_hash
from mobilenets.runtime.labels import Labels
from mobilenets.runtime.tie import CONTRACT, contract_hash, contract_of_weights

FORMAT = "mobilenets model"
VERSION = 1
CLASSIFICATION = "classification"
DETECTION = "detection"
DESCRIPTION = "model.json"
WEIGHTS = "model.safetensors"
MAX_DESCRIPTION_BYTES = 64 << 20


@dataclass(frozen=True)
class Bundle:
    """What ``model.json`` says.

    ``classes`` is empty for a model without a classifier. ``architecture`` is left as plain values, for
    ``mobilenets.models`` to read: a predictor of an exported file has no use for it. ``origin`` says where the weights
    came from. ``labels`` gives the classes names and groups. Below the probability ``threshold`` of the best class the
    answer is "not sure". ``export`` is there where the model is an exported file. ``graph`` describes the ONNX file
    that lies beside the weights and answers for them; its ``about`` has the SHA-256 of the ``weights`` it was made of.
    Above the distance of ``none_of_these`` it is "none of these".
    ``task`` is what was learned of each picture, and ``outputs`` how many numbers the network gives, None for one a
    class. ``weights`` is the SHA-256 of ``model.safetensors``, once a model is finished. ``calibration`` records the
    temperature by which its last layer was divided, and what that did; empty where none was fitted. Nobody divides
    again: weights and files hold it. ``detection`` says how a detector's outputs become boxes; then the network's
    columns are the background and ``classes``.
    """

    architecture: Mapping[str, Any]
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    origin: Mapping[str, Any] = field(default_factory=dict)
    labels: Labels | None = None
    threshold: float | None = None
    export: Exported | None = None
    graph: Exported | None = None
    task: str = CLASSIFICATION
    outputs: int | None = None
    weights: str | None = None
    calibration: Mapping[str, Any] = field(default_factory=dict)
    none_of_these: Bar | None = None
    detection: Detection | None = None

    @property
    def network_outputs(self) -> int:
        """How many numbers the network gives for a picture; 0 for a model without a last layer."""
        return len(self.classes) if self.outputs is None else self.outputs

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``model.json``; what is optional only where there is any."""
        optional: dict[str, Any] = {
            "labels": self.labels,
            "threshold": self.threshold,
            "export": self.export,
            "graph": self.graph,
            "outputs": self.outputs,
            "weights_sha256": self.weights,
            "calibration": dict(self.calibration) or None,
            "none_of_these": self.none_of_these,
            "detection": self.detection,
        }
        said = {
            "format": FORMAT,
            "version": VERSION,
            "task": self.task,
            "architecture": dict(self.architecture),
            "classes": list(self.classes),
            "classes_sha256": classes_hash(self.classes),
            "preprocessing": self.preprocessing.to_json(),
            "origin": dict(self.origin),
        }
        for key, part in optional.items():
            if part is not None:
                said[key] = part.to_json() if hasattr(part, "to_json") else part
        return said | {CONTRACT: contract_hash(said)}


def classes_hash(classes: tuple[str, ...]) -> str:
    """Return the SHA-256 of the class names in order, as JSON."""
    return hashlib.sha256(json.dumps(list(classes), ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Write ``model.json`` into ``folder``."""
    write_json(folder / DESCRIPTION, bundle.to_json())


def is_model(path: Path) -> bool:
    """Whether a path is that of a folder with a ``model.json``."""
    try:
        return (path / DESCRIPTION).is_file()
    except OSError:  # a folder that may not be looked into
        return False


def find_bundle(model: Path) -> Path:
    """Return the folder of a model given as a run folder, a bundle, or a file beside its ``model.json``."""
    if not model.exists():
        raise InputError(f"{model}: no such model; give a run folder, or a file beside its {DESCRIPTION}")
    folder = model if model.is_dir() else model.parent
    if not (folder / DESCRIPTION).is_file():
        raise InputError(f"{model}: no {DESCRIPTION} there; give the folder that `mobilenets train --out` wrote")
    return folder


def read_bundle(folder: Path) -> Bundle:
    """Read ``model.json``; raises ``InputError`` in one line for anything that is not whole and understood."""
    path = folder / DESCRIPTION
    try:
        if path.stat().st_size > MAX_DESCRIPTION_BYTES:
            raise InputError(f"{path}: over {MAX_DESCRIPTION_BYTES >> 20} MiB, so not the description of a model")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged, not JSON; copy or train the model again") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InputError(f"{path}: not a model description written by mobilenets")
    if value.get("version") != VERSION:
        raise InputError(f"{path}: version {value.get('version')!r}, but this release reads version {VERSION}")
    try:
        return _understood(value)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _understood(value: dict[str, Any]) -> Bundle:
    classes = value.get("classes")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise InputError("classes must be a list of names")
    if len({nfc(name) for name in classes}) != len(classes):
        raise InputError("a class name occurs twice")
    if value.get("classes_sha256") != classes_hash(tuple(classes)):
        raise InputError("the class names do not match their hash; the file was edited or damaged")
    architecture, origin = value.get("architecture"), value.get("origin", {})
    if not isinstance(architecture, dict) or not isinstance(origin, dict):
        raise InputError("architecture and origin must be objects")
    labels, threshold, export, graph = (value.get(key) for key in ("labels", "threshold", "export", "graph"))
    if threshold is not None and (
        isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1
    ):
        raise InputError("threshold must be a probability")
    # Files of earlier releases do not say it.
    task, outputs = value.get("task", CLASSIFICATION), value.get("outputs")
    if not isinstance(task, str):
        raise InputError("task must be a name")
    if outputs is not None and (isinstance(outputs, bool) or not isinstance(outputs, int) or outputs < 1):
        raise InputError("outputs must be a number of at least 1")
    weights = value.get("weights_sha256")
    if weights is not None and not isinstance(weights, str):
        raise InputError("weights_sha256 must be a hash")
    calibration = value.get("calibration", {})
    if not isinstance(calibration, dict) or not _is_positive(calibration.get("temperature", 1)):
        raise InputError("calibration must be an object with a temperature above 0")
    bundle = Bundle(
        architecture,
        tuple(map(nfc, classes)),
        Preprocessing.from_json(value.get("preprocessing")),
        origin,
        None if labels is None else Labels.from_json(labels),
        threshold,
        None if export is None else Exported.from_json(export),
        None if graph is None else Exported.from_json(graph),
        task,
        outputs,
        weights,
        calibration,
        None if value.get("none_of_these") is None else Bar.from_json(value["none_of_these"]),
        None if value.get("detection") is None else Detection.from_json(value["detection"]),
    )
    _check_contract(value)
    return bundle


def _check_contract(value: dict[str, Any]) -> None:
    """Refuse a description whose deciding part was changed since it was written; earlier releases wrote no hash."""
    if value.get(CONTRACT) is None:
        return
    try:
        found = contract_hash(value)
    except RecursionError as error:
        raise InputError("nested too deeply; copy or train the model again") from error
    if value[CONTRACT] != found:
        raise InputError(
            "its task, architecture, classes or preprocessing were changed after it was written: put them back; or, if "
            f'you mean it, set "{CONTRACT}" there to "{found}"'
        )


def check_weights(folder: Path, bundle: Bundle) -> None:
    """Raise ``InputError`` where ``model.safetensors`` in ``folder`` is not the one that ``bundle`` describes.

    What an earlier release wrote does not say it: then a note is logged, once.
    """
    path = folder / WEIGHTS
    if bundle.export is not None or not path.is_file():
        return
    if bundle.weights is not None:
        try:
            found = file_hash(path)
        except OSError:
            return  # said where they are loaded
        if found != bundle.weights:
            raise InputError(
                f"{path}: is damaged, or not what {DESCRIPTION} describes: copy both from one run; or, if you mean it, "
                f'set "weights_sha256" in {DESCRIPTION} to "{found}"'
            )
        return
    made_for = contract_of_weights(path)
    if made_for is None:
        _say_untied(folder)
    elif made_for != contract_hash(bundle.to_json()):
        raise InputError(f"{path}: the weights of another run, or of another {DESCRIPTION}: copy both from one run")


@cache
def _say_untied(folder: Path) -> None:
    log.info(
        "%s: of an earlier release, whose files do not say whether %s and %s belong together",
        folder,
        WEIGHTS,
        DESCRIPTION,
    )
