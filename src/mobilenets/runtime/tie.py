"""What ties weights to their ``model.json``: a hash of what decides how a picture reaches them and what they answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobilenets.base.files import nfc

# Labels, thresholds and the like may be changed afterwards; these may not.
DECIDING = ("task", "architecture", "classes", "preprocessing", "outputs", "detection")
# The key of the hash in the metadata of the weights' file. One key: safetensors writes several in no fixed order.
CONTRACT = "contract_sha256"
_MAX_HEADER = 16 << 20


def contract_hash(description: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what decides in the content of ``model.json``, however its numbers are written."""
    deciding = {key: _plain(description[key]) for key in DECIDING if description.get(key) is not None}
    text = json.dumps(deciding, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def contract_of_weights(path: Path) -> str | None:
    """Read from the head of a safetensors file which ``model.json`` it was written for; None where it does not say."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            head = json.loads(file.read(length)) if length <= _MAX_HEADER else {}
        found = head["__metadata__"][CONTRACT]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return None  # a damaged file is refused where it is loaded
    return found if isinstance(found, str) else None


def _plain(value: Any) -> Any:
    """Write equal values in one way: 1 and 1.0, tuples and lists, names in any Unicode form."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, str):
        return nfc(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    try:
        return float(value)
    except OverflowError:
        return str(value)
