"""The reader of a file, found by what the file holds rather than by its name."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mobilenets.errors import InputError
from mobilenets.weights import mindspore
from mobilenets.weights.elsewhere import explain
from mobilenets.weights.keras import h5, keras3
from mobilenets.weights.layers import MAX_BYTES, Foreign
from mobilenets.weights.onnx import read as onnx_file
from mobilenets.weights.pytorch import safetensors_file, torch_file
from mobilenets.weights.pytorch.described import in_folder
from mobilenets.weights.tensorflow import checkpoint, graph, saved_model

Reader = Callable[..., Foreign]
# Those of files that may hold several networks or end in several outputs, one of which can be named.
_CHOOSING: tuple[Reader, ...] = (torch_file.read, safetensors_file.read, graph.read, onnx_file.read)

KNOWN = ".onnx, .h5, .keras, .pb, .index, .ckpt, .pth, .pt, .bin, .safetensors or a SavedModel's folder"


def read(paths: Path | Sequence[Path], output: str | None = None) -> Foreign:
    """Read foreign weights; of several files (a backbone and its head) the layers and notes of all, in their order.

    ``output`` names what to take of a first file that holds several networks or ends in several outputs. Raises
    ``InputError`` in one line that begins with the path for a file that is missing, damaged, hostile or of another
    kind.
    """
    if isinstance(paths, Path):
        paths = [paths]
    found = [_read(path, output if number == 0 else None) for number, path in enumerate(paths)]

    def all_of(field: str) -> Any:
        return tuple(part for one in found for part in getattr(one, field))

    joined = {field: all_of(field) for field in ("layers", "ignored", "notes", "assumed")}
    return replace(found[0], **joined, classes=next((one.classes for one in found if one.classes), None))


def path_in(path: Path) -> Path:
    """Give the weights in a folder of the Hugging Face hub; any other path as it is."""
    return (in_folder(path) or path) if path.is_dir() else path


def _read(path: Path, output: str | None) -> Foreign:
    reader = reader_of(path)
    if output is None:
        return reader(path)
    if reader in _CHOOSING:
        return reader(path, output)
    raise InputError(
        f"{path}: --output works with an ONNX file, a frozen graph or a PyTorch file; leave it out for this one"
    )


def reader_of(path: Path) -> Reader:
    """Find the reader of a file; raises ``InputError`` where there is none."""
    if saved_model.find(path) is not None:
        return saved_model.read
    if not path.name:
        raise InputError(f"{path}: a folder; give a file of weights ({KNOWN})")
    # A checkpoint is several files, and people name any of them, or what they have in common.
    if path.suffix == ".index" or ".data-" in path.name or path.with_name(f"{path.name}.index").is_file():
        return checkpoint.read
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: {explain(path, b'') or f'no file; give a file of weights ({KNOWN})'}")
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
        if known := explain(path, head):
            raise InputError(f"{path}: {known}")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give a file of weights ({KNOWN})") from error
    if size > MAX_BYTES:
        raise InputError(f"{path}: {size} bytes, more than any MobileNet has; give the weights of one network")
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return h5.read
    if head.startswith(b"PK"):
        return keras3.read if _is_keras(path) else torch_file.read
    if head[8:9] == b"{":
        return safetensors_file.read
    if head[:1] == b"\x80":
        return torch_file.read
    if path.suffix == ".ckpt":
        return mindspore.read
    if path.suffix == ".pb":
        return graph.read
    # ONNX has no signature: its first field is the version of the format.
    if path.suffix.lower() == ".onnx" or (
        head[:1] == b"\x08" and head[1:2] and 3 <= head[1] < 32 and head[2:3] in b"\x12\x3a"
    ):
        return onnx_file.read
    raise InputError(f"{path}: not a known format of weights; give {KNOWN}")


def _is_keras(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "config.json" in archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: damaged, not a complete zip archive; copy or download it again") from error
