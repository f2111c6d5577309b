"""Keras's legacy HDF5 files, whole models and weights only, of Keras 2 and 3; any HDF5 file is read from here.

Layout (``keras.src.legacy.saving.legacy_h5_format``): the root, or the group ``model_weights`` beside the attribute
``model_config``, has ``layer_names`` in forward order; the group of each layer has ``weight_names``, paths of datasets
below it, such as ``conv1/kernel:0``. A nested model is one layer, and lists the weights of all its layers: first those
that are trained, then all others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from mobilenets.errors import InputError
from mobilenets.weights.keras import keras3
from mobilenets.weights.keras.config import Described, describe
from mobilenets.weights.keras.hdf5 import DAMAGED, Tree, load
from mobilenets.weights.keras.layers import PARTS, StoredLayer, foreign, known_place, natural, stored_layer
from mobilenets.weights.layers import Foreign, reported


def read(path: Path) -> Foreign:
    """Read any HDF5 file of Keras as data; raises InputError, one line that says what to do."""
    with reported(path):
        return _read(load(path))


def _read(tree: Tree) -> Foreign:
    roots = [root for root in ("model_weights", "") if _list(tree, root, "layer_names")]
    if not roots:
        return keras3.from_tree(tree, None, "Keras 3 weights (.weights.h5)")
    root = roots[0]
    if "theano" in (*_text(tree, root, "backend"), *_text(tree, "", "backend")):
        raise InputError("written by Theano, whose kernels are flipped; save it again with TensorFlow")
    config = _text(tree, "", "model_config")
    described = describe(config[0]) if config else None
    layers: list[StoredLayer] = []
    used: set[str] = set()
    listed = _list(tree, root, "layer_names") or ()
    if described is not None:  # the graph's order
        places = {named.path[0]: place for place, named in reversed([*enumerate(described.layers)])}
        listed = sorted(listed, key=lambda layer: places.get(layer, -1))
    for layer in listed:
        group = f"{root}/{layer}" if root else layer
        if group not in tree.texts:
            raise InputError(f"it lists a layer {layer[:100]!r} that it does not hold; it is {DAMAGED}")
        names = _list(tree, group, "weight_names") or ()
        if described is not None and (unknown := described.unknown(layer)):
            names = [name for name in names if (_split(name)[0] or layer).rpartition("/")[2] not in unknown]
        used.update(f"{group}/{name}" for name in names)
        layers += _in_order(layer, names, _owned(tree, group, layer, names), described)
    ignored = [name for name in (*tree.arrays, *tree.unread) if name not in used]
    form = f"Keras HDF5, {'whole model' if config else 'weights only'}"
    return foreign(form, layers, described, ignored, told=bool(config))


def _text(tree: Tree, group: str, name: str) -> Sequence[str]:
    return tree.texts.get(group, {}).get(name, ())


def _list(tree: Tree, group: str, name: str) -> Sequence[str] | None:
    """A list of names; long ones are split over name0, name1, ... (save_attributes_to_hdf5_group)."""
    texts = tree.texts.get(group, {})
    if name in texts:
        return texts[name]
    pieces: list[str] = []
    number = 0
    while f"{name}{number}" in texts:
        pieces += texts[f"{name}{number}"]
        number += 1
    return pieces if number else None


def _owned(tree: Tree, group: str, layer: str, names: Sequence[str]) -> list[StoredLayer]:
    """Join the weights of one group by the inner layers that own them, in the order of their last weight.

    The untrained weights come last and are always in forward order, so that BatchNorms, by their moving variance, are.
    """
    owners: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for name in names:
        owner, part = _split(name)
        dataset = f"{group}/{name}"
        if dataset in tree.unread:
            # A Normalization's count and the state of random layers are whole numbers.
            if part in PARTS or not tree.unread[dataset].startswith(("int", "uint")):
                raise InputError(f"{dataset[:100]!r} holds {tree.unread[dataset]}, not floating-point numbers")
            continue
        if dataset not in tree.arrays:
            raise InputError(f"it lists {dataset[:100]!r} and does not hold it; it is {DAMAGED}")
        parts = owners.pop(owner, {})
        if part in parts:
            raise InputError(f"{owner[:100]!r} has {part[:100]!r} twice; it is {DAMAGED}")
        owners[owner] = {**parts, part: tree.arrays[dataset]}
    return [stored_layer(owner or layer, parts) for owner, parts in owners.items()]


def _split(name: str) -> tuple[str, str]:
    """Take conv1_bn/gamma:0 apart: the layer and which of its weights."""
    owner, _, part = name.rpartition("/")
    return owner, re.sub(r"(?:_\d+)?(?::\d+)?$", "", part)


def _in_order(
    layer: str, names: Sequence[str], owned: Sequence[StoredLayer], described: Described | None
) -> list[StoredLayer]:
    """Put the inner layers of one group into forward order, each kind by itself."""
    if len(owned) == 1:
        return list(owned)
    ordered: list[StoredLayer] = []
    places = {} if described is None else _places(described, layer)
    for kind in dict.fromkeys(found.kind for found in owned):
        members = [found for found in owned if found.kind == kind]
        owners = [found.name for found in members]
        keys = _by_config(owners, places.get(kind, {})) or _by_known_names(owners) or _by_numbers(owners)
        if keys is not None:
            members = [members[i] for i in sorted(range(len(members)), key=keys.__getitem__)]
        elif kind != "norm" and _part_was_frozen(names):
            raise InputError(
                f"part of {layer[:100]!r} was frozen, so that its weights are out of order; "
                "save the whole model (model.save) and import that"
            )
        ordered += members
    return ordered


def _part_was_frozen(names: Sequence[str]) -> bool:
    """Whether some convolutions were trained and others not, so that they are not in forward order.

    With all of them trained, every kernel comes before the first moving mean; with all frozen, they take turns.
    """
    signs = {"kernel": "k", "depthwise_kernel": "k", "moving_mean": "m"}
    turns = "".join(signs.get(_split(name)[1], "") for name in names)
    return re.fullmatch(r"k*m*|(?:km)*k*", turns) is None


def _places(described: Described, layer: str) -> dict[str, dict[str, int]]:
    """By kind and name, where the layers of one nested model stand."""
    places: dict[str, dict[str, int]] = {}
    for place, named in enumerate(described.layers):
        if named.path[0] == layer:
            inside = places.setdefault(named.kind, {})
            # A name that two nested models share says nothing.
            inside[named.path[-1]] = -1 if named.path[-1] in inside else place
    return places


def _by_config(owners: Sequence[str], places: Mapping[str, int]) -> list[Any] | None:
    keys = []
    for owner in owners:
        name = owner.rpartition("/")[2]
        # TensorFlow 1 makes names unique once more: conv1_1/kernel:0 in the layer conv1.
        keys.append(places.get(name, places.get(re.sub(r"_\d+$", "", name), -1)))
    return keys if len(set(keys)) == len(keys) and -1 not in keys else None


def _by_known_names(owners: Sequence[str]) -> list[Any] | None:
    keys = [known_place(owner.rpartition("/")[2]) for owner in owners]
    return keys if None not in keys and len(set(keys)) == len(keys) else None


def _by_numbers(owners: Sequence[str]) -> list[Any] | None:
    """Order names that Keras made itself: conv2d, conv2d_1, conv2d_2."""
    stems = {re.sub(r"(?:_\d+)?$", "", owner) for owner in owners}
    return [natural(owner) for owner in owners] if len(stems) == 1 else None
