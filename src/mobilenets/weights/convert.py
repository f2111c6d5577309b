"""A foreign file as a model: network, classes and preprocessing, and a note for all that had to be assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mobilenets.base.files import nfc, read_json
from mobilenets.base.notes import log
from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.detection.detector import Detector
from mobilenets.models.network import Network
from mobilenets.models.saved import SavedModel
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import CLASSIFICATION, DETECTION, Bundle
from mobilenets.runtime.exported import file_hash
from mobilenets.weights.assign import Assigned, assign
from mobilenets.weights.class_names import BACKGROUND, COCO_OUTPUTS, checked, coco_classes, imagenet_classes
from mobilenets.weights.classifier import find_head
from mobilenets.weights.detector import classes_of
from mobilenets.weights.layers import TENSORFLOW_INPUT, TORCH_INPUT, Foreign, listed, of_kind, two_classes
from mobilenets.weights.read import path_in, read
from mobilenets.weights.recognise import recognise

INPUTS = {"tensorflow": TENSORFLOW_INPUT, "torch": TORCH_INPUT}
# With slim's class 0, the background, or without.
IMAGENET_OUTPUTS = (1000, 1001)
NAME_THEM = "if they are others, name them with import --classes FILE"


@dataclass(frozen=True)
class Converted:
    """The model, the foreign file that it was, what went where, and what was assumed or left out."""

    model: SavedModel
    foreign: Foreign
    assigned: Assigned
    notes: tuple[str, ...] = ()


def convert(
    files: Path | Sequence[Path],
    *,
    size: int | None = None,
    variant: str | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
    output: str | None = None,
    habits: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Converted:
    """Read foreign weights and put them into the network that they are.

    - ``files``: one file, or a backbone and its head.
    - ``size``: input side in pixels; by default what the file says, and else the network's usual one.
    - ``variant``: ``standard`` or ``small``, where the file does not tell the strides.
    - ``classes``: names of the classes in order; by default the file's, and ImageNet's for 1,000 or 1,001 of them.
    - ``preprocessing``: fields of ``Preprocessing`` that replace those of the file or its framework.
    - ``origin``: what ``model.json`` is to say of where the weights came from, beside the format, the file and the
      notes.
    - ``output``: what to take of a file that holds several networks, classifiers or outputs; by default what its notes
      say.
    - ``habits``: fields of ``Foreign`` that are known of the file and not told by it, such as ``padding`` and
      ``epsilon``.
    - ``quiet``: log nothing of what was found, for a file that is known already.

    All that was assumed or left out is in ``notes``, in ``model.json`` (``origin.notes``) and in the log.

    A file without a classifier that fits gives a model without classes, to be trained further.
    Raises ``InputError`` in one line that begins with the path.
    """
    paths = [files] if isinstance(files, Path) else list(files)
    paths = [path_in(path) for path in paths]
    foreign = replace(read(paths, output), **(habits or {}))
    try:
        architecture = recognise(foreign, size=size, variant=variant)
        if foreign.check is not None:
            other = foreign.check(architecture.plan(1))
            foreign = replace(foreign, headless=foreign.headless or other)
        network, assigned, of_head = _build(architecture, foreign)
        names, of_names = _classes(foreign, network.classes, classes)
        settings, of_pictures = _input(foreign, network.classes, preprocessing or {})
        left_out = [f"left out, not part of this network: {listed(assigned.surplus)}"] * bool(assigned.surplus)
        notes = (*foreign.notes, *left_out, *of_pictures, *of_head, *of_names)
        bundle = Bundle(
            architecture.to_json(),
            names,
            Preprocessing(**settings, size=architecture.size),
            task=CLASSIFICATION if foreign.detection is None else DETECTION,
            detection=network.detection if isinstance(network, Detector) else None,
            origin={"weights": "imported", "format": foreign.format}
            | {
                "files": [path.name for path in paths],
                "sha256": [file_hash(path) if path.is_file() else "" for path in paths],
            }
            | ({"assumed": list(foreign.assumed)} if foreign.assumed else {})
            | {"notes": list(notes)}
            | dict(origin or {}),
        )
    except InputError as error:
        raise InputError(f"{paths[0]}: {error}{foreign.kind and f' (by its operations, {foreign.kind})'}") from error
    if not quiet:
        _say(foreign, architecture, assigned, notes)
    return Converted(SavedModel(network.eval(), bundle), foreign, assigned, notes)


def _build(architecture: Architecture, foreign: Foreign) -> tuple[Network, Assigned, list[str]]:
    # On the meta device: no memory is taken and no random number drawn for weights that are replaced.
    if foreign.detection is not None:
        detection = foreign.detection(architecture)
        with torch.device("meta"):
            detector = Detector(architecture, classes_of(foreign.behind, detection), detection)
        return detector, assign(detector, replace(foreign, layers=(*foreign.layers, *foreign.behind))), []
    with torch.device("meta"):
        body = Network(architecture, 0)
        head = None if foreign.headless else find_head(foreign, body.plan)[1]
        outputs = 0 if head is None else head.arrays["weight"].shape[0]
        network = body if not outputs else Network(architecture, max(outputs, 2))
    notes = []
    if outputs == 1:
        layers = tuple(two_classes(layer) if layer is head else layer for layer in foreign.layers)
        foreign = replace(foreign, layers=layers)
        notes.append(
            "its one output is assumed to be the logit z of two classes, whose probabilities are 1 - sigmoid(z) and "
            "sigmoid(z), in this order; if it is anything else (a quantity, say), the answers mean nothing"
        )
    if foreign.headless:
        notes.append(f"no classifier: {foreign.headless}. The body is kept, to be trained further")
    elif not outputs and not any(note.startswith("no classifier") for note in foreign.notes):
        linear = [layer.name for layer in of_kind(foreign.layers, "linear")]
        several = f" (its head has {len(linear)} linear layers, here one)" if len(linear) > 1 else ""
        notes.append(f"no classifier that fits{several}: a backbone, to be trained further")
    return network, assign(network, foreign), notes


def _input(foreign: Foreign, outputs: int, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Say how pictures become numbers: as told, as the file tells, or by the habit of its framework."""
    known = dict(foreign.preprocessing)
    # ImageNet's own classifiers are measured on the middle of pictures; those of one's own are not.
    own = foreign.own if outputs not in (0, *IMAGENET_OUTPUTS) else {}
    settings = {**own, **known, **given}
    assumed = [name for name in own if name not in known and name not in given]
    if "resize" in assumed and settings["resize"] == "stretch":
        return settings, [
            "pictures are assumed to be stretched to the input size, as image_dataset_from_directory and load_img "
            "do by default; if the training kept their proportions, import with --resize crop (or pad)"
        ]
    return settings, []


def _classes(foreign: Foreign, outputs: int, given: Sequence[str] | None) -> tuple[tuple[str, ...], list[str]]:
    """Name the classes: as told, as the file has them, as ImageNet's, or by number; with a note where assumed."""
    if given is not None:
        if len(given) != outputs:
            raise InputError(f"{len(given)} class names for its {outputs} outputs; give one per line, in their order")
        return checked(given), []
    if foreign.classes is not None and len(foreign.classes) == outputs == len(set(map(nfc, foreign.classes))):
        return tuple(map(nfc, foreign.classes)), []
    if foreign.detection is not None and outputs == COCO_OUTPUTS:
        return coco_classes(), [f"{outputs} classes: assumed to be COCO's by their numbers; {NAME_THEM}"]
    if outputs in IMAGENET_OUTPUTS and foreign.detection is None:
        imagenet = imagenet_classes()
        note = f"{outputs} outputs: assumed to be ImageNet's classes; {NAME_THEM}"
        return imagenet if outputs == len(imagenet) else (BACKGROUND, *imagenet), [note]
    note = f"no class names in it: the {outputs} classes are numbered; name them with import --classes FILE"
    return tuple(f"class_{index}" for index in range(outputs)), [note] if outputs else []


def _say(foreign: Foreign, architecture: Architecture, assigned: Assigned, notes: Sequence[str]) -> None:
    log.info(
        "%s: %s at width %g, %d layers converted",
        foreign.format,
        architecture.name + (" (with its own layer table)" if architecture.variant == "custom" else ""),
        architecture.width,
        sum(len(names) for names in assigned.placed.values()),
    )
    for note in (*(f"assumed: {line}" for line in foreign.assumed), *notes):
        log.info("%s", note, extra={"noted": True})


def read_input(source: str | Path) -> Mapping[str, Any]:
    """Read how pictures become numbers: ``tensorflow`` (±1), ``torch`` (ImageNet's mean), or a JSON file of fields."""
    if str(source) in INPUTS:
        return INPUTS[str(source)]
    hint = 'choose tensorflow, torch, or a file such as {"mean": [0, 0, 0], "std": [1, 1, 1]}'
    if not Path(source).is_file():
        raise InputError(f"preprocessing {str(source)!r}: {hint}")
    value = read_json(Path(source), hint)
    if not isinstance(value, dict):
        raise InputError(f"{source}: {hint}")
    whole = Preprocessing(size=value.get("size", 224)).to_json()
    Preprocessing.from_json(whole | value)
    return {name: part for name, part in value.items() if name != "size"}
