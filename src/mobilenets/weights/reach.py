"""Whether a server answers at all, found out within seconds."""

from __future__ import annotations

import http.client
import logging
import ssl
import threading
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from mobilenets.weights.hub import address, words
from mobilenets.weights.published import Published

log = logging.getLogger("mobilenets")

ANSWER = 4.0  # seconds for the first answer


def unreachable(published: Published) -> str | None:
    """Say why the server of a published file gives no answer within ``ANSWER`` seconds, or None where one comes."""
    found: list[str | None] = []
    url = address(published)
    asking = threading.Thread(target=lambda: found.append(_ask(url)), daemon=True)
    asking.start()
    # The thread is left behind where looking a name up hangs, which no timeout of a socket ends.
    asking.join(ANSWER / 4)
    if asking.is_alive():
        log.info("waiting for %s, for weights trained on ImageNet", urlsplit(url).netloc)
        asking.join(3 * ANSWER / 4)
    return found[0] if found else f"no answer within {ANSWER:g} s"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow nothing: a redirect is an answer."""


def _ask(url: str) -> str | None:
    try:
        request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "mobilenets"})
        urllib.request.build_opener(_NoRedirect).open(request, timeout=2 * ANSWER).close()
    except urllib.error.HTTPError as error:
        error.close()
    except urllib.error.URLError as error:
        # A certificate that this Python does not know is an answer too: huggingface_hub brings its own list.
        if not isinstance(error.reason, ssl.SSLError):
            return getattr(error.reason, "strerror", None) or words(error)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return getattr(error, "strerror", None) or words(error)
    return None
