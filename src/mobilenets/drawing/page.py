"""Pages of one file, filled in from the templates of this folder, whose head they share."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from mobilenets.base.files import write_text
from mobilenets.drawing.style import DARK, LIGHT


def write_page(
    path: Path, template: str, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any
) -> None:
    """Fill ``values`` into a template and write the page to ``path``, whole or not at all."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters or {}
    page = environment.get_template(template).render(light=LIGHT, dark=DARK, **values)
    # The bytes of a path that are no text arrive as lone surrogates, which UTF-8 does not have.
    write_text(path, page.encode("utf-8", "backslashreplace").decode("utf-8"))


def address_of(image: Image.Image, side: int, quality: int = 85) -> str:
    """A picture, made small, as a data address."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=None)
    buffer = io.BytesIO()
    # JPEG would smear what is tiny to begin with.
    form = "png" if max(small.size) <= 64 else "jpeg"
    small.save(buffer, form, quality=quality)
    return data_address(form, buffer.getvalue())


def data_address(form: str, content: bytes) -> str:
    """A picture's file as a data address."""
    return f"data:image/{form};base64,{base64.b64encode(content).decode('ascii')}"
