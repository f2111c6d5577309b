"""A foreign file as a model of ours: network, classes and preprocessing, with nothing left to guess silently."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.layers import ConvNorm
from mobilenets.models.network import Network
from mobilenets.models.saved import SavedModel
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.files import read_json
from mobilenets.runtime.preprocess import Preprocessing
from mobilenets.weights.assign import Assigned, assign, find_head
from mobilenets.weights.imagenet import BACKGROUND, imagenet_classes
from mobilenets.weights.layers import TENSORFLOW_INPUT, TORCH_INPUT, Foreign
from mobilenets.weights.read import read
from mobilenets.weights.recognise import recognise

log = logging.getLogger("mobilenets")

INPUTS = {"tensorflow": TENSORFLOW_INPUT, "torch": TORCH_INPUT}
SHOWN = 5


@dataclass(frozen=True)
class Converted:
    """A model of ours, the foreign file that it was, and what went where."""

    model: SavedModel
    foreign: Foreign
    assigned: Assigned


def convert(
    files: Path | Sequence[Path],
    *,
    size: int | None = None,
    variant: str | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Converted:
    """Read foreign weights and put them into the network that they are.

    Parameters
    ----------
    files:
        One file, or a backbone and its head.
    size:
        Input side in pixels; by default what the file says, and else the network's usual one.
    variant:
        ``standard`` or ``small``, where the file does not tell the strides.
    classes:
        Names of the classes in order; by default the file's, and ImageNet's for 1,000 or 1,001 of them.
    preprocessing:
        Fields of ``Preprocessing`` that replace those of the file or its framework.
    origin:
        What ``model.json`` is to say of where the weights came from, beside the format and the file.
    quiet:
        Say nothing of what was found, for a file that is known already.

    A file without a classifier that fits gives a model without classes, to be trained further.
    Raises ``InputError`` in one line that begins with the path.

    """
    paths = [files] if isinstance(files, Path) else list(files)
    foreign = read(paths)
    try:
        architecture = recognise(foreign, size=size, variant=variant)
        network, assigned = _build(architecture, foreign)
        names = _classes(foreign, network.classes, classes, quiet)
        settings = dict(foreign.preprocessing) | dict(preprocessing or {}) | {"size": architecture.size}
        bundle = Bundle(
            architecture.to_json(),
            names,
            Preprocessing(**settings),
            {"weights": "imported", "format": foreign.format}
            | {"files": [path.name for path in paths], "sha256": [_digest(path) for path in paths]}
            | dict(origin or {}),
        )
    except InputError as error:
        raise InputError(f"{paths[0]}: {error}") from error
    if not quiet:
        _say(foreign, architecture, network, assigned)
    return Converted(SavedModel(network.eval(), bundle), foreign, assigned)


def _build(architecture: Architecture, foreign: Foreign) -> tuple[Network, Assigned]:
    # On the meta device: no memory is taken and no random number drawn for weights that are replaced.
    with torch.device("meta"):
        body = Network(architecture, 0)
        convs = sum(isinstance(part, ConvNorm) and part.conv.groups == 1 for part in body.modules())
        head = find_head(foreign, convs, body.features)
        network = body if head is None else Network(architecture, head.arrays["weight"].shape[0])
    return network, assign(network, foreign)


def _classes(foreign: Foreign, outputs: int, given: Sequence[str] | None, quiet: bool) -> tuple[str, ...]:
    """Name the classes: as told, as the file has them, as ImageNet's, or by number."""
    if given is not None:
        if len(given) != outputs:
            raise InputError(f"{len(given)} class names for its {outputs} outputs; give one a line, in their order")
        if len(set(given)) != len(given):
            raise InputError("a class is named twice; give every class a name of its own")
        return tuple(given)
    if foreign.classes is not None and len(foreign.classes) == outputs == len(set(foreign.classes)):
        return foreign.classes
    imagenet = imagenet_classes()
    if outputs in (len(imagenet), len(imagenet) + 1):
        if not quiet:
            log.info(
                "%d outputs: taken for ImageNet's classes; if they are others, name them by import --classes FILE",
                outputs,
            )
        return imagenet if outputs == len(imagenet) else (BACKGROUND, *imagenet)
    if outputs:
        log.warning("no class names in it: the %d classes are numbered; name them by import --classes FILE", outputs)
    return tuple(f"class_{index}" for index in range(outputs))


def _say(foreign: Foreign, architecture: Architecture, network: Network, assigned: Assigned) -> None:
    for note in foreign.notes:
        log.info("%s", note)
    log.info(
        "%s: %s at width %g, %d layers placed%s",
        foreign.format,
        architecture.name + (" (a table of its own)" if architecture.variant == "custom" else ""),
        architecture.width,
        sum(len(names) for names in assigned.placed.values()),
        "" if network.classes else "; no classifier that fits: a backbone to train further",
    )
    if assigned.surplus:
        shown = ", ".join(" ".join(name[:100].split()) for name in assigned.surplus[:SHOWN])
        log.warning("left out, no place for it: %s%s", shown, ", …" if len(assigned.surplus) > SHOWN else "")


def read_classes(source: str | Path) -> tuple[str, ...]:
    """Read class names in order: a text file with one a line, or JSON (a list, or Keras's ``{"0": [id, name], …}``)."""
    path = Path(source)
    if path.suffix == ".json":
        value = read_json(path, "give a list of class names")
        if isinstance(value, dict) and all(str(number) in value for number in range(len(value))):
            value = [value[str(number)] for number in range(len(value))]
            value = [name[-1] if isinstance(name, list) and name else name for name in value]
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise InputError(f"{path}: not a list of class names")
        return tuple(value)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text; give a file with one class name a line") from error
    return tuple(line.strip() for line in lines if line.strip())


def read_input(source: str | Path) -> Mapping[str, Any]:
    """Read how pictures become numbers: ``tensorflow`` (±1), ``torch`` (ImageNet's mean), or a JSON file of fields."""
    if str(source) in INPUTS:
        return INPUTS[str(source)]
    hint = 'give tensorflow, torch, or a file such as {"mean": [0, 0, 0], "std": [1, 1, 1]}'
    if not Path(source).is_file():
        raise InputError(f"preprocessing {str(source)!r}: {hint}")
    value = read_json(Path(source), hint)
    if not isinstance(value, dict):
        raise InputError(f"{source}: {hint}")
    whole = Preprocessing(size=value.get("size", 224)).to_json()
    Preprocessing.from_json(whole | value)
    return {name: part for name, part in value.items() if name != "size"}


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
