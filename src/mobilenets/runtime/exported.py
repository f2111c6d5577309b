"""How an exported file is fed and read: the part of ``model.json`` that a runtime needs beside the preprocessing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from mobilenets.base import mounts
from mobilenets.errors import InputError

PRECISIONS = ("float32", "float16", "int8")
INPUTS = ("float32", "uint8")
LAYOUTS = ("NCHW", "NHWC")
OUTPUTS = ("logits", "probabilities", "boxes")
GEOMETRIES = ("outside", "inside")
MAX_BATCH = 4096
# The second output of a file that can say where it looked, and the optional input that asks for a class.
EVIDENCE = "evidence"
CLASS = "class"

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Golden:
    """A picture with what the exported file answered, for a port to test itself against.

    ``sha256`` is that of the picture's file, ``pixels_sha256`` that of the uint8 S×S×3 that decoding, resizing and
    cropping must give, or of the upright H×W×3 where the file resizes itself; ``outputs`` are the file's own. Of a
    detector they are its surest boxes, six numbers each: x0, y0, x1, y1 in pixels of the upright picture, score, class.
    ``pixels_grid`` has 16 of those pixels: at rows and columns 1/8, 3/8, 5/8 and 7/8 of the side, rounded down, row
    after row.
    """

    picture: str
    sha256: str
    pixels_sha256: str
    outputs: tuple[float, ...]
    pixels_grid: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class DrawnPicture:
    """A picture that any program can draw, with what the exported file answered: no decoder has a part in it.

    Channel c of pixel (x, y) is ``((x * x * (c + 1) + 3 * y * (x + 5 * c)) >> 5) & 255``. ``pixels_crc32`` is the
    CRC-32 of the uint8 S×S×3 that resizing must give, or of H×W×3 where the file resizes itself.
    """

    width: int
    height: int
    pixels_crc32: int
    outputs: tuple[float, ...]


@dataclass(frozen=True)
class Exported:
    """One exported file.

    ``sha256`` has the hash of every file that belongs to it, ``file`` being the one to open. The input is a batch in
    ``layout`` of ``input``: float32 after the whole preprocessing, or uint8 pixels after its geometry alone, with the
    numbers made inside. With ``geometry`` "inside" it is one upright picture of any size, uint8 1×H×W×3. ``output`` is
    logits (of a detector with the box codes before them), probabilities, or a detector's finished boxes. ``batch`` is
    the number of pictures a run, None for any. ``about`` says how it was made and checked. ``evidence`` is there where
    the file's second output, float32 N×h×h, is what speaks for a class at each place: the pixels, along one side of
    the S×S input, in the middle of what each place sees. ``distance``: an output of that name, float32 N, says how far
    each picture is from what the model learned (``mobilenets.runtime.bar``).
    """

    file: str
    format: str
    precision: str
    sha256: Mapping[str, str]
    input: str = "float32"
    layout: str = "NCHW"
    output: str = "logits"
    batch: int | None = None
    golden: tuple[Golden, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    geometry: str = "outside"
    drawn: DrawnPicture | None = None
    evidence: tuple[float, ...] = ()
    distance: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return what stands under ``export`` in ``model.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Exported:
        """Read what ``to_json`` wrote; raises ``InputError`` for anything else."""
        if not isinstance(value, dict):
            raise InputError("export must be an object")
        for key, known in (("precision", PRECISIONS), ("input", INPUTS), ("layout", LAYOUTS), ("output", OUTPUTS)):
            if value.get(key) not in known:
                raise InputError(f"export: {key} must be {' or '.join(known)}, not {value.get(key)!r}")
        file, form, hashes, batch = (value.get(key) for key in ("file", "format", "sha256", "batch"))
        if not isinstance(form, str) or not isinstance(hashes, dict) or not isinstance(file, str) or file not in hashes:
            raise InputError("export: it must name its file, format and hashes")
        # A description from elsewhere must not lead out of its folder.
        for name, digest in hashes.items():
            if not _PLAIN_NAME.fullmatch(name) or not isinstance(digest, str) or not _HASH.fullmatch(digest):
                raise InputError(f"export: {name!r} is not a plain file name with a SHA-256")
        if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH):
            raise InputError(f"export: batch must be null or from 1 to {MAX_BATCH}")
        # Files of earlier releases do not say it.
        geometry = value.get("geometry", "outside")
        if geometry not in GEOMETRIES:
            raise InputError(f"export: geometry must be {' or '.join(GEOMETRIES)}, not {geometry!r}")
        if geometry == "inside" and (value["input"], value["layout"], batch) != ("uint8", "NHWC", 1):
            raise InputError("export: a file that resizes pictures itself takes uint8 in NHWC, one picture at a time")
        golden, about = value.get("golden", []), value.get("about", {})
        if not isinstance(golden, list) or not isinstance(about, dict):
            raise InputError("export: golden must be a list and about an object")
        return cls(
            file,
            form,
            value["precision"],
            dict(hashes),
            value["input"],
            value["layout"],
            value["output"],
            batch,
            tuple(_golden(one) for one in golden),
            about,
            geometry,
            _drawn(value.get("drawn")),
            _centres(value.get("evidence", [])),
            value.get("distance") is True,
        )

    def check(self, folder: Path) -> Path:
        """Return the file to open; raises ``InputError`` where a file is missing or is not the one described."""
        for name, digest in self.sha256.items():
            path = folder / name
            try:
                found = file_hash(path)
            except OSError as error:
                raise InputError(f"{path}: cannot be read: {error.strerror}; export the model again") from error
            if found != digest:
                raise InputError(f"{path}: not the file that model.json describes; copy or export the model again")
        return folder / self.file


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with mounts.open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _golden(value: object) -> Golden:
    try:
        assert isinstance(value, dict)
        # Files of earlier releases have no grid.
        grid = tuple((int(red), int(green), int(blue)) for red, green, blue in value.get("pixels_grid", ()))
        return Golden(
            str(value["picture"]), str(value["sha256"]), str(value["pixels_sha256"]), _numbers(value["outputs"]), grid
        )
    except (AssertionError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError("export: a golden picture is malformed") from error


def _drawn(value: object) -> DrawnPicture | None:
    if value is None:
        return None
    try:
        assert isinstance(value, dict)
        width, height, crc32 = (int(value[key]) for key in ("width", "height", "pixels_crc32"))
        return DrawnPicture(width, height, crc32, _numbers(value["outputs"]))
    except (AssertionError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError("export: the drawn picture is malformed") from error


def _centres(value: object) -> tuple[float, ...]:
    try:
        assert isinstance(value, list)
        centres = _numbers(value)
        assert all(one < other for one, other in pairwise(centres))
    except (AssertionError, TypeError, ValueError, OverflowError) as error:
        raise InputError("export: evidence must be a list of places in order") from error
    return centres


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
