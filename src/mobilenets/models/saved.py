"""mobilenets models on disk: ``model.safetensors`` beside ``model.json``."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mobilenets.base.files import writing
from mobilenets.base.notes import log
from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.detection.detector import Detector
from mobilenets.models.distance import Space, load_space
from mobilenets.models.int8 import PREFIX, Rounding
from mobilenets.models.network import Network
from mobilenets.runtime.bar import SPACE
from mobilenets.runtime.bundle import WEIGHTS, Bundle, check_weights, find_bundle, is_model, read_bundle
from mobilenets.runtime.exported import file_hash
from mobilenets.runtime.tie import CONTRACT, contract_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@dataclass(frozen=True)
class SavedModel:
    """A network with its weights, and what its ``model.json`` says; ``space`` has the arrays of its distance."""

    network: Network
    bundle: Bundle
    space: Space | None = None


def save_weights(path: Path, state: Mapping[str, Tensor], bundle: Bundle | None = None) -> None:
    """Write a state dictionary as safetensors, whole or not at all.

    The file says which ``bundle`` it is for, by default the ``model.json`` beside it, if there is one.
    """
    if bundle is None and is_model(path.parent):
        bundle = read_bundle(path.parent)
    metadata = None if bundle is None else {CONTRACT: contract_hash(bundle.to_json())}
    with writing(path) as aside:
        # Dense and contiguous: channels_last weights are stored as any reader expects them.
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, aside, metadata)


def calibrated(saved: SavedModel, calibration: Mapping[str, Any]) -> SavedModel:
    """Return a copy whose last layer is divided by the ``temperature`` of ``calibration``, which its bundle records.

    Of one that is calibrated already the earlier temperature goes out. Where the probabilities change, a threshold that
    was found on them goes too.
    """
    factor = calibration["temperature"] / temperature_of(saved)
    network = copy.deepcopy(saved.network)
    with torch.no_grad():
        for tensor in network.classifier.parameters():
            tensor.copy_((tensor.double() / factor).to(tensor.dtype))
    record = {**calibration, "layer": _layer_hash(network)}
    threshold = saved.bundle.threshold if factor == 1 else None
    space = None if saved.space is None else replace(saved.space, scale=(saved.space.scale * factor).astype(np.float32))
    bundle = replace(saved.bundle, calibration=record, threshold=threshold)
    return replace(saved, network=network, bundle=bundle, space=space)


def is_calibrated(saved: SavedModel) -> bool:
    """Say whether the record of a calibration is that of these weights, and not of those before or of others."""
    return saved.bundle.calibration.get("layer") == _layer_hash(saved.network)


def temperature_of(saved: SavedModel) -> float:
    """Return the temperature that a model's last layer is divided by; 1 where none was fitted."""
    return float(saved.bundle.calibration.get("temperature", 1)) if is_calibrated(saved) else 1.0


def _layer_hash(network: Network) -> str:
    """Return the SHA-256 of the last layer."""
    found = hashlib.sha256()
    for tensor in network.classifier.parameters():
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def load_model(model: Path) -> SavedModel:
    """Load a run folder or a bundle in evaluation mode.

    Raises ``InputError`` when a file is missing or damaged, or when the weights are not those that ``model.json``
    describes.
    """
    folder = find_bundle(model)
    if model.is_file() and model.suffix not in (".safetensors", ".json"):
        raise InputError(f"{model}: only {WEIGHTS} is read; give the folder {folder}")
    bundle = read_bundle(folder)
    if bundle.export is not None:
        raise InputError(f"{model}: an exported file; give the run folder it was made from")
    try:
        architecture = Architecture.from_json(bundle.architecture)
    except InputError as error:
        raise InputError(f"{folder / 'model.json'}: {error}") from error
    path = folder / WEIGHTS
    try:
        if path.is_file():
            path.open("rb").close()  # the loader takes one that may not be read for a damaged one
        state = load_file(path)
    except PermissionError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (OSError, SafetensorError, ValueError, MemoryError) as error:
        reason = "is missing" if not path.exists() else "is damaged: not a complete safetensors file"
        raise InputError(f"{path}: {reason}; copy or train the model again") from error
    # Built on the meta device: a wrong description takes no memory, and no random number is drawn.
    with torch.device("meta"):
        network = (
            Network(architecture, bundle.network_outputs)
            if bundle.detection is None
            else Detector(architecture, len(bundle.classes), bundle.detection)
        )
        if any(name.startswith(PREFIX) for name in state):
            network.int8 = Rounding(network.plan)
    problem = mismatch(network.state_dict(), state)
    if problem:
        raise InputError(f"{path}: not the weights that model.json describes: {problem}")
    check_weights(folder, bundle)
    network.load_state_dict(state, assign=True)
    saved = SavedModel(network.eval(), bundle)
    space = _space(folder, bundle, network.features)
    if space is None:
        return saved
    # The file has the temperature at which it was learned; the last layer may have been divided by another since.
    scale = np.asarray(temperature_of(saved) / space.scale, np.float32)
    return replace(saved, space=replace(space, scale=scale))


def _space(folder: Path, bundle: Bundle, features: int) -> Space | None:
    """Read the arrays of the distance, if the description and the file of one another are there."""
    path = folder / SPACE
    if bundle.none_of_these is None:
        return None
    if not path.is_file() or file_hash(path) != bundle.none_of_these.sha256:
        log.warning('%s: not there, or not of this model: without it nothing is called "none of these"', path)
        return None
    return load_space(path, features)


def load_classifier(model: Path) -> SavedModel:
    """Load a model as ``load_model`` does, and refuse one without a classifier."""
    saved = load_model(model)
    if not saved.bundle.classes:
        raise InputError(f"{model}: it has no classifier; train it: mobilenets train DATA --weights {model} --out RUN")
    return saved


def mismatch(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str | None:
    """Say how a state dictionary differs from what a network expects, or return None."""
    missing = [name for name in expected if name not in given]
    surplus = [name for name in given if name not in expected]
    if missing or surplus:
        parts = [f"{len(missing)} missing ({missing[0]})"] if missing else []
        parts += [f"{len(surplus)} surplus ({surplus[0]})"] if surplus else []
        return ", ".join(parts)
    for name, tensor in expected.items():
        if tensor.shape != given[name].shape:
            return f"{name} is {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
        if tensor.dtype != given[name].dtype:
            return f"{name} is {given[name].dtype}, not {tensor.dtype}"
        if tensor.is_floating_point() and not torch.isfinite(given[name]).all():
            return f"{name} holds values that are not finite"
    return None
