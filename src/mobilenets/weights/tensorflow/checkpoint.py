"""TensorFlow checkpoints, ``NAME.index`` with ``NAME.data-00000-of-0000N``, read without TensorFlow.

Sources: ``tensorflow/core/util/tensor_bundle`` for the format; slim's ``nets/mobilenet_v1.py`` and
``nets/mobilenet/mobilenet_v2.py`` for the names, whose order is the forward order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mobilenets.errors import InputError
from mobilenets.weights.layers import (
    MAX_BYTES,
    TENSORFLOW_INPUT,
    Foreign,
    Layer,
    check_room,
    conv_hwio,
    depthwise_hwcm,
    linear,
    norm,
    of_kind,
    reported,
)
from mobilenets.weights.tensorflow.crc32c import crc32c, mask
from mobilenets.weights.tensorflow.sstable import TableError, read_table
from mobilenets.weights.tensorflow.tensor import KINDS, STRING, Array, from_bytes, read_shape
from mobilenets.weights.traced import habitual_padding
from mobilenets.weights.wire import Budget, WireError, blob, grouped, number_of, signed, varint

_INDEX_BYTES = 4 << 20
_MAX_SHARDS = 10_000
_FLOATS = (1, 2, 14, 19)

_AVERAGE = "/ExponentialMovingAverage"
_OBJECT = "/.ATTRIBUTES/VARIABLE_VALUE"
_SLOT = "/.OPTIMIZER_SLOT/"
_NORM_PARTS = ("gamma", "beta", "moving_mean", "moving_variance")
_KERNELS = ("weights", "depthwise_weights", "kernel", "depthwise_kernel")
_BIASES = ("biases", "bias")


@dataclass(frozen=True)
class _Entry:
    """Where a tensor lies; the fields of BundleEntryProto."""

    kind: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool


def read(path: Path) -> Foreign:
    """Read a checkpoint given as its index, one of its data files, or their common prefix; raises InputError."""
    prefix = re.sub(r"\.(index|data-\d{5}-of-\d{5})$", "", str(path))
    index = Path(prefix + ".index")
    damaged = "not a complete TensorFlow checkpoint: {}; copy its files again"
    with reported(path, damaged, WireError, TableError):
        if not index.is_file():
            raise InputError(f"{index.name!r} is not beside it; keep a checkpoint's files together")
        return _foreign(open_bundle(path, index))


def _parse(data: bytes) -> tuple[int, dict[str, _Entry]]:
    """Give the number of shards, and the entries by name."""
    table, budget = read_table(data), Budget()
    header = table.pop(b"", None)
    if header is None:
        raise TableError("its index has no header")
    told = grouped(header, budget)
    shards = number_of(told[1], 1)
    if any(told[2]):
        raise TableError("it was written on a big-endian machine")
    if not 1 <= shards <= _MAX_SHARDS:
        raise TableError(f"it claims {shards} data files")
    entries = {}
    for key, stored in table.items():
        entry = _entry(stored, budget)
        if not 0 <= entry.shard < shards:
            raise TableError(f"an entry lies in data file {entry.shard} of {shards}")
        if key[:1] != b"\0":  # the parts of a partitioned variable, whose own entry is refused where it matters
            entries[key.decode("utf-8", "backslashreplace")] = entry
    return shards, entries


def _entry(data: bytes, budget: Budget) -> _Entry:
    got = grouped(data, budget)
    shape = read_shape(blob(got[2][-1]), budget) if got[2] else ()
    if shape is None or -1 in shape:
        raise TableError("an entry has an open shape")
    kind, shard, offset, size = (signed(number_of(got[field])) for field in (1, 3, 4, 5))
    checksum = int.from_bytes(blob(got[6][-1]), "little") if got[6] else 0
    return _Entry(kind, shape, shard, offset, size, checksum, sliced=bool(got[7]))


class Bundle:
    """The tensors of a checkpoint; each is read, and its checksum verified, when it is asked for."""

    def __init__(self, path: Path, prefix: str, shards: int, entries: Mapping[str, _Entry]) -> None:
        self.path, self.prefix, self.shards, self.entries = path, prefix, shards, entries

    def has_numbers(self, name: str) -> bool:
        """Whether there is a tensor of this name, and of a kind that can be read: texts and the like cannot."""
        return name in self.entries and self.entries[name].kind in KINDS

    def check(self, names: Iterable[str]) -> None:
        """Refuse tensors that are too many, too large, or overlap; nothing is read yet."""
        wanted = [(self.entries[name], name) for name in names]
        for entry, name in wanted:
            if entry.sliced:
                raise InputError(
                    f"{self.path}: {name[:100]!r} is a partitioned variable; save the model again without a partitioner"
                )
            if entry.offset < 0 or entry.size != math.prod(entry.shape) * np.dtype(KINDS[entry.kind]).itemsize:
                raise TableError(f"{name[:100]!r} of shape {entry.shape} claims {entry.size} bytes at {entry.offset}")
        check_room(self.path, len(wanted), sum(entry.size for entry, _ in wanted))
        spans = sorted((entry.shard, entry.offset, entry.offset + entry.size, name) for entry, name in wanted)
        for (shard, _, end, name), (next_shard, start, _, next_name) in pairwise(spans):
            if shard == next_shard and start < end:
                raise TableError(f"{name[:100]!r} and {next_name[:100]!r} overlap")

    def __getitem__(self, name: str) -> Array:
        entry = self.entries[name]
        return from_bytes(entry.kind, self.raw(name)).reshape(entry.shape)

    def raw(self, name: str) -> bytes:
        """Read the bytes of an entry."""
        entry = self.entries[name]
        if not 0 <= entry.size <= MAX_BYTES or entry.offset < 0:
            raise TableError(f"{name[:100]!r} claims {entry.size} bytes at {entry.offset}")
        # Only the prefix that the user gave makes the name; nothing of it comes from within the file.
        shard = Path(f"{self.prefix}.data-{entry.shard:05d}-of-{self.shards:05d}")
        if not shard.is_file():
            raise InputError(f"{self.path}: {shard.name!r} is not beside it; keep a checkpoint's files together")
        with shard.open("rb") as file:
            file.seek(entry.offset)
            data = file.read(entry.size)
        if len(data) != entry.size:
            raise TableError(f"{shard.name!r} ends before {name[:100]!r} does")
        checked = data if entry.kind != STRING else _as_summed(data)
        if mask(crc32c(checked)) != entry.checksum:
            raise TableError(f"{name[:100]!r} does not match its checksum: the file is damaged")
        return data


def _as_summed(data: bytes) -> bytes:
    """Spell one text as its checksum takes it: its length as four bytes, then the rest as it is stored."""
    length, at = varint(data, 0)
    return length.to_bytes(8, "little")[:4] + data[at:]


def open_bundle(path: Path, index: Path) -> Bundle:
    """Open the checkpoint of an index file; errors name ``path``. Raises InputError, OSError, WireError, TableError."""
    if index.stat().st_size > _INDEX_BYTES:
        raise InputError(f"{path}: an index of {index.stat().st_size} bytes does not belong to a MobileNet")
    return Bundle(path, str(index).removesuffix(".index"), *_parse(index.read_bytes()))


def _foreign(bundle: Bundle) -> Foreign:
    names, notes = _names(bundle.entries)
    objects = any(name.endswith(_OBJECT) for name in names.values())
    modules: dict[str, dict[str, str]] = {}
    for name, stored in names.items():
        module, _, leaf = name.rpartition("/")
        modules.setdefault(module, {})[leaf] = stored
    if not any(leaf in _KERNELS for leaves in modules.values() for leaf in leaves):
        raise InputError(f"{bundle.path}: a checkpoint without convolutions under slim's or Keras's names")
    if objects and not all(re.search(r"layer_with_weights-[0-9]+$", module) for module in modules):
        raise InputError(
            f"{bundle.path}: the order of its variables does not follow from their names; in the program that built "
            "the model, restore it, then model.save('model.keras') and import that"
        )
    bundle.check(names.values())
    layers = []
    for module in sorted(modules, key=_place):
        layers += _layers(module, {leaf: bundle[stored] for leaf, stored in modules[module].items()})
    if objects:
        notes += ("padding is assumed to be that of keras.applications; a checkpoint does not tell",)
    convs, depthwises = (len(of_kind(layers, kind)) for kind in ("conv", "depthwise"))
    return Foreign(
        format="TensorFlow checkpoint",
        layers=tuple(layers),
        padding=habitual_padding(convs, depthwises) if objects else "same",
        epsilon=1e-3,
        preprocessing=TENSORFLOW_INPUT,
        ignored=tuple(sorted(bundle.entries.keys() - names.values())),
        notes=notes,
    )


def _names(entries: Mapping[str, _Entry]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Give the network's variables, each with the name under which it is stored, and what the user should know."""
    names: dict[str, str] = {}
    averaged = 0
    for stored, entry in entries.items():
        name = stored.removesuffix(_OBJECT).removesuffix(_AVERAGE)
        leaf = name.rpartition("/")[2]
        # A slot of an optimiser is named after its variable, /RMSProp and so on.
        if leaf not in (*_KERNELS, *_BIASES, *_NORM_PARTS) or entry.kind not in _FLOATS or _SLOT in name:
            continue
        if stored.endswith(_AVERAGE):
            averaged += 1
        elif name + _AVERAGE in entries:
            continue
        names[name] = stored
    notes = (
        (f"{averaged} variables are replaced by their moving averages, which slim uses for evaluation",)
        if averaged
        else ()
    )
    return names, notes


def _place(module: str) -> tuple[Any, ...]:
    """Say where slim's networks have a module; others follow, numbers in their natural order."""
    split = re.split(r"([0-9]{1,9})", module)
    natural = tuple((int(part), "") if i % 2 else (-1, part) for i, part in enumerate(split))
    parts = module.split("/")
    if "Logits" in parts:
        return (2, 0, 0, natural)
    for part in parts:
        if v1 := re.fullmatch(r"Conv2d_([0-9]{1,4})(_depthwise|_pointwise)?", part):
            return (0, int(v1[1]), 1 if v1[2] == "_depthwise" else 2, natural)
        if part == "Conv":
            return (0, -1, 0, natural)
        if v2 := re.fullmatch(r"expanded_conv(?:_([0-9]{1,4}))?", part):
            order = {"expand": 0, "depthwise": 1, "project": 2}
            return (0, int(v2[1] or 0), next((order[p] for p in parts if p in order), 3), natural)
        if re.fullmatch(r"Conv_[0-9]{1,4}", part):
            return (1, 0, 0, natural)
    return (3, 0, 0, natural)


def _layers(module: str, arrays: dict[str, Array]) -> list[Layer]:
    """Make the layers of one module: a convolution or linear layer with its bias, or a BatchNorm."""
    layers = []
    bias = next((arrays[leaf] for leaf in _BIASES if leaf in arrays), None)
    kernels = [leaf for leaf in _KERNELS if leaf in arrays]
    if len(kernels) > 1:
        raise InputError(f"{module[:100]!r} holds {' and '.join(kernels)}; that is not a MobileNet")
    for leaf in kernels:
        kernel = arrays[leaf]
        if kernel.ndim == 2:
            layers.append(linear(module, kernel.T, bias))
        # Keras 3 calls both kinds of kernel alike; a classifier of one class is one pixel wide.
        elif leaf.startswith("depthwise") or (kernel.ndim == 4 and kernel.shape[3] == 1 and kernel.shape[0] > 1):
            layers.append(depthwise_hwcm(module, kernel, bias))
        else:
            layers.append(conv_hwio(module, kernel, bias))
    if "moving_mean" in arrays or "moving_variance" in arrays:
        if not {"moving_mean", "moving_variance"} <= arrays.keys():
            raise InputError(f"{module[:100]!r} lacks part of BatchNorm's statistics; save the checkpoint again")
        parts = arrays.get("gamma"), arrays.get("beta"), arrays["moving_mean"], arrays["moving_variance"]
        layers.append(norm(module, *parts))
    elif "gamma" in arrays or "beta" in arrays:
        raise InputError(f"{module[:100]!r} has no statistics, as BatchNorm has; this network normalises otherwise")
    return layers
