"""The page of ``serve`` and of the export ``web``: one page, and for each an answerer of its own.

The files of this folder are shared; ``server/`` asks the server over HTTP, ``browser/`` runs the model in the browser.
"""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent
SHARED = ("page.css", "page.js", "problem.js", "storage.js", "words.js")
