"""Weights that PyTorch keeps in parts and computes: pruned ones, and those of ``weight_norm``.

Sources: ``torch/nn/utils/prune.py`` (``_orig`` times ``_mask``), ``weight_norm.py`` (``_g`` and ``_v``) and
``parametrizations.py`` (``original0`` and ``original1``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mobilenets.errors import InputError

Array = npt.NDArray[Any]

_PART = re.compile(r"(?P<of>(?:.*\.)?(?:weight|bias))_(?P<part>orig|mask|g|v|u)")
_PARAMETRISED = re.compile(r"(?P<before>(?:.*\.)?)parametrizations\.(?P<of>weight|bias)\.(?P<part>.+)")
_PRUNED, _NORMED = {"orig", "mask"}, ({"g", "v"}, {"original0", "original1"})


def joined(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Give the arrays with each weight in place of its parts; raises ``InputError`` for parts of other kinds."""
    parts: dict[str, dict[str, Array]] = {}
    whole: dict[str, Array] = {}
    for name, array in arrays.items():
        found = _PART.fullmatch(name) or _PARAMETRISED.fullmatch(name)
        if found is None:
            whole[name] = array
            continue
        of = found["of"] if found.re is _PART else found["before"] + found["of"]
        parts.setdefault(of, {})[found["part"]] = array
        whole.setdefault(of, array)  # in its place among the others
    for of, these in parts.items():
        value = _joined(these)
        if value is None:
            raise InputError(
                f"{of[:60]!r} is computed from parts ({', '.join(these)[:60]}); in PyTorch, make it permanent "
                "(torch.nn.utils.parametrize.remove_parametrizations, remove_spectral_norm, prune.remove) and save "
                "model.state_dict() again"
            )
        whole[of] = value
    return whole


def _joined(parts: Mapping[str, Array]) -> Array | None:
    if parts.keys() == _PRUNED:
        weight, mask = parts["orig"], parts["mask"]
        return weight * mask.astype(weight.dtype) if weight.shape == mask.shape else None
    if parts.keys() not in _NORMED:
        return None
    length, direction = (parts[key] for key in sorted(parts))
    # One length for each part along one axis, the first unless told otherwise.
    if length.ndim != direction.ndim or any(
        a not in (1, b) for a, b in zip(length.shape, direction.shape, strict=True)
    ):
        return None
    over = tuple(axis for axis, side in enumerate(length.shape) if side != direction.shape[axis])
    over = over or tuple(range(1, direction.ndim))
    norm = np.sqrt(np.square(direction).sum(axis=over, keepdims=True))
    return length * direction / np.where(norm == 0, 1, norm)
