"""A model as a folder for any static host: the page of ``serve``, with the model running in the browser.

``index.html``, the checked ``model.onnx`` and ``model.json`` are in the folder itself; ``page/`` holds what the page is
made of. Of its parts only the answerer is another than that of ``serve``: there it asks the server.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilenets.exports import onnx
from mobilenets.exports.job import Job
from mobilenets.exports.web_runtime import PACKAGE, find_web_runtime
from mobilenets.runtime.engines import open_engine
from mobilenets.runtime.exported import Exported
from mobilenets.runtime.files import write_text
from mobilenets.runtime.predictor import softmax

OWN = Path(__file__).with_name("page")
# Of serve; read as files, for the floors of the package stay apart.
SHARED = Path(__file__).parents[1] / "server" / "page"
SHARED_FILES = ("page.css", "page.js", "problem.js", "words.js")

# Nothing comes from elsewhere, and nothing goes there. WebAssembly counts as a kind of eval.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'"
)
_CHARSET = '<meta charset="utf-8">'


def write(job: Job) -> Exported:
    """Write the folder; its model is ONNX as ``--format onnx`` writes it."""
    runtime = find_web_runtime(job.options.web_runtime)
    exported = onnx.write(job)
    page = job.folder / "page"
    page.mkdir()
    sources = {path.name: path for path in OWN.iterdir() if path.suffix == ".js"}
    sources |= {name: SHARED / name for name in SHARED_FILES} | dict(runtime.files)
    for name, source in sources.items():
        shutil.copyfile(source, page / name)
    write_text(job.folder / "index.html", with_policy((SHARED / "index.html").read_text("utf-8")))
    web = {"runtime": f"{PACKAGE} {runtime.version}", "self_test": _self_test(job, exported)}
    return replace(exported, about={**exported.about, "web": web})


def with_policy(html: str) -> str:
    """Add the policy that a server would send as a header."""
    assert html.count(_CHARSET) == 1
    policy = f'{_CHARSET}\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    return html.replace(_CHARSET, policy)


def drawn_picture(size: int) -> Image.Image:
    """Draw waves from wide to narrow, half as large again as the input: what answerer.js draws too."""
    width, height = size * 3 // 2 + 1, size * 3 // 2
    y, x, channel = np.ogrid[:height, :width, :3]
    return Image.fromarray(((x * x * (channel + 1) + 3 * y * (x + 5 * channel)) >> 5 & 255).astype(np.uint8))


def _self_test(job: Job, exported: Exported) -> dict[str, Any]:
    """Ask the file about a picture that the page can draw too, so that each browser can be checked."""
    picture = drawn_picture(job.preprocessing.size)
    fitted = np.asarray(job.preprocessing.fit(picture))
    fed = fitted if exported.input == "uint8" else job.preprocessing.normalise(fitted)
    scores = open_engine(job.folder, exported, "onnxruntime", 1)(fed[None])
    [probabilities] = scores if exported.output == "probabilities" else softmax(scores)
    width, height = picture.size
    return {"width": width, "height": height, "probabilities": [float(value) for value in probabilities]}
