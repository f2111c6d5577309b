"""A model as a folder for any static host: the page of ``serve``, with the model running in the browser.

``index.html``, the checked ``model.onnx`` and ``model.json`` are in the folder itself; ``page/`` holds what the page is
made of. Of its parts only the answerer is another than that of ``serve``: there it asks the server.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

from mobilenets.base.files import write_text
from mobilenets.exports.formats import onnx
from mobilenets.exports.formats.web_runtime import PACKAGE, find_web_runtime
from mobilenets.exports.job import Job
from mobilenets.page import PAGE, SHARED
from mobilenets.runtime.exported import Exported

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
    sources = {path.name: path for path in (PAGE / "browser").iterdir() if path.suffix == ".js"}
    sources |= {name: PAGE / name for name in SHARED} | dict(runtime.files)
    for name, source in sources.items():
        shutil.copyfile(source, page / name)
    write_text(job.folder / "index.html", with_policy((PAGE / "index.html").read_text("utf-8")))
    return replace(exported, about={**exported.about, "web": {"runtime": f"{PACKAGE} {runtime.version}"}})


def with_policy(html: str) -> str:
    """Add the policy that a server would send as a header."""
    assert html.count(_CHARSET) == 1
    policy = f'{_CHARSET}\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    return html.replace(_CHARSET, policy)
