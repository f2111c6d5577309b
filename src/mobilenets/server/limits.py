"""What the server takes on, and how it says no."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from mobilenets.errors import UnreadablePicture
from mobilenets.pictures.decode import PictureTooLarge, UnknownKind, open_picture
from mobilenets.server.structure import TooManyParts, TooManyScans, check_structure

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds of a server; times in seconds."""

    body_bytes: int = 32 * MIB
    """Of one request."""
    bodies_bytes: int = 256 * MIB
    """Of all requests that are in at once."""
    pixels: int = 50_000_000
    """Of one picture."""
    pictures: int = 16
    """In one request."""
    queue: int = 64
    """Pictures that wait or are worked on."""
    connections: int = 1000
    batch: int = 16
    """Pictures in one run of the engine."""
    gather: float = 0.004
    """How long a picture waits for company while others are being decoded."""
    answer: float = 20.0
    """From the whole request to its answer."""
    header: float = 10.0
    """For the head of a request to arrive."""
    idle: float = 10.0
    """Between two parts of a body."""
    keep_alive: int = 75
    """Between two requests on one connection; longer than proxies keep theirs, so that it is they who close: a request
    that crosses the server's close on the way is lost."""
    upload: float = 60.0
    """For a whole body to arrive."""
    linger: float = 5.0
    """How long the rest of a refused body is read, so that its sender sees the answer."""
    drain: float = 1.0
    """How long the door stays open after SIGTERM, so that those on their way are still let in."""
    shutdown: float = 30.0
    """For the last answers after SIGTERM."""


Code = Literal[
    "broken_form",
    "hung_up",
    "no_token",
    "wrong_token",
    "other_site",
    "unknown_host",
    "not_found",
    "wrong_method",
    "too_slow",
    "body_too_large",
    "too_many_pixels",
    "too_many_scans",
    "too_many_parts",
    "too_many_pictures",
    "too_many_fields",
    "empty",
    "not_a_picture",
    "damaged",
    "no_picture",
    "wrong_parameter",
    "unknown_language",
    "busy",
    "late",
    "not_ready",
    "closing",
    "fault",
]
"""Why an answer is no prediction, for programs and for the page, which says it in the reader's language."""


class Refused(Exception):
    """An answer other than 200: its status, the reason as a code, and in one line of English."""

    def __init__(self, status: int, code: Code, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.code: Code = code
        self.reason = reason
        self.retry_after = retry_after


def busy(reason: str, code: Code = "busy") -> Refused:
    """Refuse for now."""
    return Refused(503, code, f"{reason}; try again in a moment", retry_after=1)


class EmptyPicture(UnreadablePicture):
    """Not a byte."""


def code_of(error: UnreadablePicture) -> Code:
    """Return the code of what is wrong with a picture."""
    if isinstance(error, EmptyPicture):
        return "empty"
    if isinstance(error, TooManyScans):
        return "too_many_scans"
    if isinstance(error, TooManyParts):
        return "too_many_parts"
    if isinstance(error, PictureTooLarge):
        return "too_many_pixels"
    return "not_a_picture" if isinstance(error, UnknownKind) else "damaged"


def too_many(pictures: int) -> Refused:
    """Refuse a request with more pictures than this."""
    return Refused(413, "too_many_pictures", f"too many pictures; the limit is {pictures} per request")


class Budget:
    """Bytes that all requests share."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0

    def take(self, size: int) -> None:
        """Hold this many more; raises ``Refused`` with 503 when there are not so many left."""
        if self.held + size > self.total:
            raise busy("the server is processing as many pictures as it can")
        self.held += size

    def give(self, size: int) -> None:
        """Give this many back."""
        self.held -= size


def check_size(data: bytes, pixels: int) -> None:
    """Refuse a picture that would take too much to decode, by its head alone; raises ``PictureTooLarge``.

    What is wrong with it otherwise is left for ``decode`` to say; raises ``EmptyPicture`` where there is nothing.
    """
    if not data:
        raise EmptyPicture("the file is empty")
    check_structure(data)
    try:
        with open_picture(io.BytesIO(data)) as picture:
            width, height = picture.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureTooLarge(f"too many pixels: the limit is {pixels / 1e6:g} million") from error
    except Exception:  # Pillow raises nearly every kind
        return
    if width * height > pixels:
        raise PictureTooLarge(f"{width} x {height} pixels; the limit is {pixels / 1e6:g} million")
