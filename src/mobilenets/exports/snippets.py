"""``USE.md``: code to paste for each place where an exported file may run, filled in for this one.

The texts are in ``snippets/``: ``cpp.txt`` with places such as ``@size@``, ``cpp.onnx.txt`` with what is the runtime's
own, and ``cpp.outside.txt`` or ``cpp.inside.txt`` with how the file is fed, by where pictures are resized.
"""

from __future__ import annotations

import re
from pathlib import Path

from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.exported import Exported
from mobilenets.runtime.files import write_text

FILE = "USE.md"
LANGUAGES = {"python": "Python", "browser": "In a browser", "kotlin": "Android, Kotlin", "cpp": "C++"}

_TEXTS = Path(__file__).parent / "snippets"
_FENCES = {"browser": "html"}


def write_use(folder: Path, bundle: Bundle) -> None:
    """Write ``USE.md`` into ``folder``, for the file that ``bundle.export`` describes."""
    assert bundle.export is not None
    exported = bundle.export
    whole = exported.geometry == "inside"
    shape = "1×H×W×3, one upright RGB picture of any size" if whole else exported.layout
    parts = [
        f"# How to use {exported.file}\n",
        "`model.json` says all that a program must know: how pictures are prepared, the classes in order, and golden\n"
        "pictures with what this file answers. A program that gives the same numbers for those is right.\n\n"
        f"Input: {exported.input}, {shape}. Output: {exported.output}. With the package, and no PyTorch:\n"
        "`mobilenets predict . photo.jpg`.\n\n"
        "The code below reads ordinary pictures. Colour profiles other than sRGB, 16-bit grey and the like are\n"
        'converted by the package alone; so are names by language, groups and "not sure".\n',
    ]
    for language, title in LANGUAGES.items():
        made = snippet(bundle, language)
        if made is not None:
            parts.append(f"## {title}\n\n```{_FENCES.get(language, language)}\n{made.rstrip()}\n```\n")
    write_text(folder / FILE, "\n".join(parts))


def snippet(bundle: Bundle, language: str) -> str | None:
    """Return the code for one of ``LANGUAGES``, or None where the format does not run there."""
    assert bundle.export is not None
    # The page's own file is ONNX.
    form = "onnx" if bundle.export.format == "web" else bundle.export.format
    own = _TEXTS / f"{language}.{form}.txt"
    if not own.is_file():
        return None
    text = (_TEXTS / f"{language}.txt").read_text("utf-8")
    # Twice, because what is the runtime's own has places of its own.
    geometry = (_TEXTS / f"{language}.{bundle.export.geometry}.txt").read_text("utf-8")
    parts = _sections(geometry) | _sections(own.read_text("utf-8"))
    for values in (parts, _values(bundle, bundle.export, language)):
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
    return text


def _sections(text: str) -> dict[str, str]:
    # At the beginning of a line: JavaScript has the same three characters within.
    parts = re.split(r"^=== (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body.rstrip("\n") for name, body in zip(parts[::2], parts[1::2], strict=True)}


def _values(bundle: Bundle, exported: Exported, language: str) -> dict[str, str]:
    how, pixels = bundle.preprocessing, exported.input == "uint8"
    planes, inside = exported.layout == "NCHW", exported.geometry == "inside"
    shape = "1, H, W, 3" if inside else "1, 3, S, S" if planes else "1, S, S, 3"
    if language == "kotlin":
        for side, name in (("S", "S"), ("H", "picture.height"), ("W", "picture.width")):
            shape = re.sub(rf"\b{side}\b", f"{name}.toLong()", shape)
    return {
        "file": exported.file,
        "input": exported.input,
        "layout": exported.layout,
        "output": exported.output,
        "size": str(how.size),
        "classes": str(len(bundle.classes)),
        "names": ", ".join(_quoted(name, language) for name in bundle.classes),
        "scale": f"{how.scale!r}f",
        "mean": ", ".join(f"{value!r}f" for value in how.mean),
        "std": ", ".join(f"{value!r}f" for value in how.std),
        "crop_fraction": f"{how.crop_fraction!r}f",
        "place": "channel * S * S + place" if planes else "3 * place + channel",
        "shape": shape,
        "type": "uint8_t" if pixels else "float",
        "element": "u8" if pixels else "f32",
        "value": "value" if pixels else "(value * SCALE - MEAN[channel]) / STD[channel]",
        "bytes": "1" if pixels else "4",
        "put": "made.put(to, value.toByte())" if pixels else "made.putFloat(4 * to, number)",
        "view": "" if pixels else ".asFloatBuffer()",
        "kind": ", OnnxJavaType.UINT8" if pixels else "",
    }


def _quoted(name: str, language: str) -> str:
    """Write a name as a literal of C++ or Kotlin."""
    text = name.encode("utf-8", "backslashreplace").decode("utf-8").replace("\\", "\\\\").replace('"', '\\"')
    text = text.replace("\n", "\\n").replace("\r", "\\r")
    return f'"{text.replace("$", chr(92) + "$")}"' if language == "kotlin" else f'"{text}"'
