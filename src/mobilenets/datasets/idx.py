"""IDX files, the format of MNIST and Fashion-MNIST, plain or in gzip.

The format (Y. LeCun, "The MNIST database of handwritten digits"): two zero bytes, a type code (8: unsigned
byte), the number of dimensions, one big-endian 32-bit length a dimension, then the data, last dimension
fastest.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobilenets.errors import InputError

LARGEST = 1 << 28  # bytes of data; Fashion-MNIST's training pictures are 47 million
_BLOCK = 1 << 20


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes: 3 dimensions for (N, H, W) pictures, 1 for (N,) labels.

    The header is believed only as far as the data bears it out: memory grows with the bytes that are there.

    Raises InputError when the file cannot be read or is not such a file.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not packed:
                return _read(raw, dimensions)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return _read(unpacked, dimensions)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: the gzip file is damaged or cut short; get it again") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path}: not an IDX file as expected: {error}") from error


def _read(file: io.BufferedIOBase, dimensions: int) -> NDArray[np.uint8]:
    magic = file.read(4)
    if magic != bytes((0, 0, 8, dimensions)):
        raise ValueError(f"it begins with {magic.hex() or 'nothing'}, not 000008{dimensions:02x}")
    lengths = file.read(4 * dimensions)
    if len(lengths) < 4 * dimensions:
        raise ValueError("it ends inside the header")
    shape = tuple(int.from_bytes(lengths[i : i + 4], "big") for i in range(0, len(lengths), 4))
    expected = math.prod(shape)
    stated = f"its header says {' x '.join(map(str, shape))}"
    if not 0 < expected <= LARGEST:
        raise ValueError(stated)
    content = bytearray()
    # One byte more than expected tells a file that goes on; at its end a gzip file checks its own CRC.
    while block := file.read(min(_BLOCK, expected + 1 - len(content))):
        content += block
    if len(content) != expected:
        has = f"only {len(content):,} bytes follow" if len(content) < expected else "more bytes follow"
        raise ValueError(f"{stated}, but {has}")
    return np.frombuffer(content, np.uint8).reshape(shape)
