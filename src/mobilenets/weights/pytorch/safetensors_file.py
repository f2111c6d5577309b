"""Files of safetensors: the format of the Hugging Face hub, of timm's weights and of this package.

The ``safetensors`` library reads the header and holds it against the file: its length, the JSON, and that the arrays
are as long as their shapes say, follow one another without gap or overlap, and fill the file.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize

from mobilenets.errors import InputError
from mobilenets.weights.layers import MAX_ARRAYS, Foreign, bfloat16, check_room, reported
from mobilenets.weights.pytorch.described import from_folder
from mobilenets.weights.pytorch.state import read_state

# The longest names in use are below a hundred characters; the format itself admits a hundred million for all.
MAX_HEADER = 1000 * MAX_ARRAYS

_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "u1", "I8": "i1", "BOOL": "?"}


def read(path: Path, output: str | None = None) -> Foreign:
    """Read the weights of a ``.safetensors`` file; ``output`` is the prefix of one network where it holds several.

    Raises ``InputError`` in one line for a file that is missing, damaged, or holds no MobileNet's layers.
    """
    damaged = "damaged, not a complete safetensors file; copy or download it again"
    with reported(path, damaged, SafetensorError, ValueError, OverflowError, MemoryError):
        with path.open("rb") as file:
            check_room(path, 0, path.stat().st_size)
            length = int.from_bytes(file.read(8), "little")
            if length > MAX_HEADER:
                raise InputError(f"damaged: a header of {length} bytes; copy or download it again")
            file.seek(0)
            entries: list[tuple[str, dict[str, Any]]] = deserialize(file.read())  # type: ignore[no-untyped-call]
        check_room(path, len(entries), sum(4 * math.prod(entry["shape"]) for _, entry in entries))
        # The library gives them in another order each time, and has written them by type and name.
        entries.sort(key=lambda entry: entry[0], reverse=True)
        arrays = {}
        for _ in range(len(entries)):
            name, entry = entries.pop()  # a copy of the file's bytes, freed once it is converted
            arrays[name] = _array(name, entry)
        return from_folder(path, read_state(path, "safetensors", arrays, ordered=False, output=output))


def _array(name: str, entry: dict[str, Any]) -> npt.NDArray[Any]:
    kind, shape, data = entry["dtype"], entry["shape"], entry["data"]
    if kind == "BF16":
        return bfloat16(np.frombuffer(data, "<u2")).reshape(shape)
    if kind not in _TYPES:
        raise InputError(f"{name[:100]!r} holds numbers of type {kind}; save the weights as float32")
    return np.frombuffer(data, _TYPES[kind]).reshape(shape)
