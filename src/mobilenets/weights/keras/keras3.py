"""Keras 3's own files: ``.weights.h5``, and ``.keras``, a zip of ``config.json`` and ``model.weights.h5``.

Layout (``keras.src.saving.saving_lib``): a model has a group ``layers``, where each layer has a group named after its
class and its place among the layers of that class, ``layers/conv2d_3``; that has ``vars`` with datasets ``0``, ``1``,
... in the order in which the layer made them, and a nested model again has ``layers``. TensorFlow 2.12 and 2.13 call
``layers`` ``_layer_checkpoint_dependencies``, and put a backslash for the slash on Windows.
"""

from __future__ import annotations

import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from mobilenets.errors import InputError
from mobilenets.weights.keras.config import Described, WeightedLayer, describe
from mobilenets.weights.keras.hdf5 import Tree, load
from mobilenets.weights.keras.layers import StoredLayer, foreign, natural, stored_layer
from mobilenets.weights.layers import MAX_BYTES, Foreign, check_room, reported

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MAX_CONFIG = 16 << 20
_PIECE = 1 << 20
_MAXIMUM = re.compile(r"(global_)?max_pooling2d(_\d+)?")


def read(path: Path) -> Foreign:
    """Read a ``.keras`` archive as data; raises InputError, one line that says what to do."""
    damaged = "a damaged or incomplete .keras archive; copy or download it again"
    errors = (RuntimeError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, struct.error)
    with reported(path, damaged, *errors):
        # The list of an archive's members is read whole, and is no longer than the archive.
        check_room(path, 0, path.stat().st_size)
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(prefix="mobilenets-") as folder:
            check_room(path, len(archive.infolist()), 0)
            config = b"".join(_pieces(path, archive, _CONFIG, _MAX_CONFIG))
            weights = Path(folder, "weights.h5")
            with weights.open("wb") as out:
                # Beside arrays within the limit there is room for names.
                for piece in _pieces(path, archive, _WEIGHTS, MAX_BYTES + _MAX_CONFIG):
                    out.write(piece)
            tree = load(path, weights)
        return from_tree(tree, describe(config.decode("utf-8")), "Keras 3 archive (.keras)")


def from_tree(tree: Tree, described: Described | None, form: str) -> Foreign:
    """Make the layers of a Keras 3 weights file; raises InputError where it is none."""
    stores = _stores(tree)
    # The state of training stands beside the layers.
    groups = [group for group in stores if group.startswith("layers/")] or list(stores)
    named: dict[str, WeightedLayer] = {}
    if described is not None and {layer.store for layer in described.layers} <= stores.keys():
        named = {layer.store: layer for layer in described.layers}
        order = [*named]
    else:
        order = sorted(groups, key=_place)
    if not order:
        raise InputError("an HDF5 file without the layers of a Keras model; give one that Keras saved")
    owned = [layer for group in order if (layer := _layer(tree, group, stores[group], named.get(group)))]
    ignored = [name for group in stores if group not in order for name in stores[group]]
    # Layers without weights have groups too.
    pool = next((name for group in tree.texts if _MAXIMUM.fullmatch(name := group.rpartition("/")[2])), None)
    headless = f"it has a layer {pool!r}, which takes the maximum of a map rather than its average" if pool else ""
    return foreign(form, owned, described, ignored, told=form.endswith("(.keras)"), headless=headless)


def _pieces(path: Path, archive: zipfile.ZipFile, name: str, most: int) -> Any:
    """Yield the content of a member, which is never more than it declares: ``zipfile`` stops there."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise InputError(f"a zip file without {name}; give a .keras archive that Keras 3 saved") from None
    if info.file_size > most:
        check_room(path, 0, max(info.file_size, MAX_BYTES + 1))
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{name} is packed in a way that Keras does not use; save the model again")
    with archive.open(info) as member:
        while piece := member.read(_PIECE):
            yield piece


def _stores(tree: Tree) -> dict[str, list[str]]:
    """By the group of each layer, spelt as today's Keras does, the paths of its datasets in order."""
    stores: dict[str, list[str]] = {}
    for dataset in sorted((*tree.arrays, *tree.unread), key=natural):
        group, _, inner = dataset.replace("\\", "/").rpartition("/vars/")
        if group and "/" not in inner:
            stores.setdefault(group.replace("_layer_checkpoint_dependencies", "layers"), []).append(dataset)
    return stores


def _place(group: str) -> list[tuple[bool, Any]]:
    """Sort key: in each model nested ones come first, as a body comes before a new head; else by number."""
    parts = group.split("/")
    return [(depth == len(parts) - 1, natural(part)) for depth, part in enumerate(parts)]


def _layer(tree: Tree, group: str, datasets: Sequence[str], named: WeightedLayer | None) -> StoredLayer | None:
    """Give names to the numbered arrays of one layer; None where it has no weights of a network."""
    label = next(iter(tree.texts.get(datasets[0].rpartition("/")[0], {}).get("name", ())), group)
    whole = [dataset for dataset in datasets if dataset in tree.unread]
    for dataset in whole:
        # A Normalization's count and the state of random layers are whole numbers.
        if tree.unread[dataset] not in ("int32", "int64", "uint32", "uint64"):
            raise InputError(f"{dataset[:100]!r} holds {tree.unread[dataset]}, not floating-point numbers")
    arrays = [tree.arrays[dataset] for dataset in datasets if dataset in tree.arrays]
    if not arrays:
        return None
    names = _names(arrays, len(whole), named)
    if names is None or len(names) != len(arrays):
        shapes = ", ".join(str(array.shape) for array in arrays[:4])
        raise InputError(
            f"{label[:100]!r} holds arrays of shapes {shapes}, as no layer of a MobileNet does; "
            "give the whole model as .keras, or a MobileNet's weights"
        )
    return stored_layer(label, dict(zip(names, arrays, strict=True)))


def _names(arrays: Sequence[npt.NDArray[Any]], whole: int, named: WeightedLayer | None) -> Sequence[str] | None:
    """Keras's names of a layer's arrays, by the model_config or, without one, by their shapes."""
    if arrays[0].ndim != 1:
        return ("kernel", "bias")[: len(arrays)]
    if (len(arrays), whole) == (2, 1):
        return "mean", "variance"
    if len(arrays) == 4:
        return "gamma", "beta", "moving_mean", "moving_variance"
    if named is None or named.kind != "norm":
        return None
    return [*["gamma"] * named.scale, *["beta"] * named.center, "moving_mean", "moving_variance"]
