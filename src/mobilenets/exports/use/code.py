"""``USE.md`` and ``use/``: code for each place where an exported file may run.

The files of ``device/`` are given as they are, and so are those of ``page/`` that decode and prepare pictures in a
browser. Only ``model.hpp`` is made for the export: C++ has no JSON to read ``model.json`` with.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from mobilenets.base.files import write_text
from mobilenets.page import PAGE
from mobilenets.runtime.bundle import Bundle

GUIDE, OF_BOXES = "USE.md", "USE-boxes.md"
FOLDER = "use"

_CODE = Path(__file__).with_name("device")
_BROWSER = ("decode.js", "detections.js", "explain.js", "metadata.js", "predictor.js", "preprocess.js", "resample.js")
# Of a detector, relative to FOLDER.
_BOXES = ("predict.py", "find.py")
# Relative to FOLDER, for the formats that have one; "*" for all.
_FILES = {
    "predict.py": {"*": "predict.py"},
    "android/Preprocess.kt": {"*": "Preprocess.kt"},
    "android/Model.kt": {"*": "Model.kt"},
    "android/Pictures.kt": {"*": "Pictures.kt"},
    "android/Classifier.kt": {"onnx": "Classifier.onnx.kt", "litert": "Classifier.litert.kt"},
    "cpp/preprocess.hpp": {"*": "preprocess.hpp"},
    "cpp/main.cpp": {"*": "main.cpp"},
    "cpp/runtime.hpp": {
        "onnx": "runtime.onnx.hpp",
        "openvino": "runtime.openvino.hpp",
        "litert": "runtime.litert.hpp",
    },
    "web/index.html": {"onnx": "index.html"},
}


def write_device_code(folder: Path, bundle: Bundle) -> None:
    """Write ``USE.md`` and ``use/`` into ``folder``, for the file that ``bundle.export`` describes."""
    assert bundle.export is not None
    # The page's own file is ONNX, and its code is there already.
    form = "onnx" if bundle.export.format == "web" else bundle.export.format
    code = folder / FOLDER
    if bundle.detection is not None:
        for name in _BOXES:
            _copy(_CODE / name, code / name)
        write_text(folder / GUIDE, _guide(bundle, form, OF_BOXES))
        return
    for name, sources in _FILES.items():
        source = sources.get(form, sources.get("*"))
        if source is not None and not (bundle.export.format == "web" and name.startswith("web/")):
            _copy(_CODE / source, code / name)
    if (code / "web").is_dir():
        for path in [*(PAGE / "browser" / name for name in _BROWSER), PAGE / "problem.js"]:
            _copy(path, code / "web" / path.name)
    write_text(code / "cpp" / "model.hpp", model_header(bundle))
    write_text(folder / GUIDE, _guide(bundle, form))


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)


def _guide(bundle: Bundle, form: str, guide: str = GUIDE) -> str:
    """Fill in a guide and leave out the sections of other formats and outputs."""
    exported = bundle.export
    assert exported is not None
    inside = exported.geometry == "inside"
    shape = "1×H×W×3, one upright RGB picture of any size" if inside else exported.layout
    kinds = {"all", form, exported.output, "page" if exported.format == "web" else f"plain-{form}"}
    # A line such as <!-- onnx litert --> begins a part that is of these formats.
    first, *rest = re.split(r"^<!-- (.*) -->\n", (_CODE / guide).read_text("utf-8"), flags=re.MULTILINE)
    parts = [part for wanted, part in zip(rest[::2], rest[1::2], strict=True) if kinds & set(wanted.split())]
    values = {"file": exported.file, "input": f"{exported.input}, {shape}", "output": exported.output}
    return re.sub(r"@(\w+)@", lambda found: values[found[1]], "".join([first, *parts]))


def model_header(bundle: Bundle) -> str:
    """Write what the C++ must know of a model."""
    how, exported = bundle.preprocessing, bundle.export
    assert exported is not None and exported.drawn is not None
    drawn, yes = exported.drawn, ("false", "true")
    return f"""// What model.json says about {exported.file}, written by the export.
#pragma once

#include "preprocess.hpp"

namespace mobilenets {{

inline const char* const FILE_NAME = "{exported.file}";  // in the current folder
using Number = {"uint8_t" if exported.input == "uint8" else "float"};
constexpr bool PLANES = {yes[exported.layout == "NCHW"]};  // NCHW
constexpr bool INSIDE = {yes[exported.geometry == "inside"]};  // the file resizes itself
constexpr bool LOGITS = {yes[exported.output == "logits"]};  // need a softmax
constexpr int BATCH = {exported.batch or 1};
inline const Preprocessing HOW = {{
    {how.size}, "{how.resize}", {how.crop_fraction!r}, "{how.interpolation}", {how.scale!r},
    {{{_listed(how.mean)}}}, {{{_listed(how.std)}}}, {{{_listed(how.fill)}}},
}};
inline const std::vector<std::string> CLASSES = {{{", ".join(map(quoted, bundle.classes))}}};

// A picture that the program draws, and the file's answer to it: main.cpp, check().
constexpr int DRAWN_WIDTH = {drawn.width}, DRAWN_HEIGHT = {drawn.height};
constexpr uint32_t DRAWN_CRC32 = {drawn.pixels_crc32}u;
inline const std::vector<double> DRAWN_OUTPUTS = {{{_listed(drawn.outputs)}}};
constexpr double TOLERANCE = {0.1 if exported.precision == "int8" else 0.01};  // relative to the largest output

}}  // namespace mobilenets
"""


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(map(repr, values))


def quoted(name: str) -> str:
    """Write a name as a literal of C++, in UTF-8."""
    text = name.encode("utf-8", "backslashreplace").decode("utf-8").replace("\\", "\\\\").replace('"', '\\"')
    # Other control characters by their number, which at most three octal digits end.
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\{ord(found[0]):03o}", text) + '"'
