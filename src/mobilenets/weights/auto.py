"""``--weights auto``: published ImageNet weights where they can be had, and else a sentence that says why not."""

from __future__ import annotations

import http.client
import re
import ssl
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mobilenets.base.notes import log
from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.saved import SavedModel
from mobilenets.weights import hub, published
from mobilenets.weights.published import Published
from mobilenets.weights.start import load_published

ANSWER = 4.0  # seconds for the first answer
_OTHERWISE = "give a trained model with --weights MODEL"
_WITH_A_NETWORK = (
    "connect to the internet, or give the file with --weights FILE (mobilenets weights --json has the addresses)"
)


@dataclass(frozen=True)
class ChosenWeights:
    """What ``auto`` came to: the value of ``--weights`` that gives the same again, and its model.

    ``why_not`` says in one sentence why there is none.
    """

    weights: str
    model: SavedModel | None = None
    why_not: str | None = None


def find(architecture: Architecture) -> ChosenWeights:
    """Find ImageNet's weights for a network: in the caches, on the hub, and then among Keras's of the same width.

    Nothing is raised for what is missing: where no file is published, none can be had, or none would help, ``why_not``
    says so, and training is to begin from scratch. A server that does not answer is given up after ``ANSWER``
    seconds.
    """
    if architecture.variant == "custom":
        return _scratch("no weights are published for your own layer table", _OTHERWISE)
    if architecture.variant == "small":
        size = f"published weights are for pictures of 96 pixels or more, and these have {architecture.size}"
        return _scratch(size, f"{_OTHERWISE}, or use the published ones anyway with --weights imagenet")
    candidates = []
    for source in ("timm", "keras"):
        try:
            candidates.append(published.choose(architecture.name, architecture.width, architecture.size, source))
        except InputError:
            continue
    if not candidates:
        try:
            published.choose(architecture.name, architecture.width, architecture.size)
        except InputError as error:
            return _scratch(_reason(error), _OTHERWISE)
    reasons: list[str] = []
    for missing in (_not_cached,) if hub.offline() else (_not_cached, _unreachable):
        reasons.clear()
        for chosen in candidates:
            try:
                reason = missing(chosen)
                if reason is None:
                    return ChosenWeights(f"imagenet:{chosen.source.lower()}", load_published(chosen))
            except InputError as error:
                reason = _reason(error)
            reasons.append(f"{urlsplit(hub.address(chosen)).netloc or chosen.source}: {reason}")
    why = "HF_HUB_OFFLINE is set, and the weights are not in the cache" if hub.offline() else "; ".join(reasons)
    return _scratch(f"ImageNet weights could not be loaded ({why})", _WITH_A_NETWORK)


def _not_cached(chosen: Published) -> str | None:
    return "not in the cache" if hub.cached(chosen) is None else None


def _unreachable(published: Published) -> str | None:
    """Say why the server of a published file gives no answer within ``ANSWER`` seconds, or None where one comes."""
    found: list[str | None] = []
    url = hub.address(published)
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
            return getattr(error.reason, "strerror", None) or hub.words(error)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return getattr(error, "strerror", None) or hub.words(error)
    return None


def _reason(error: InputError) -> str:
    """Take the reason alone from a message that goes on with ways round it."""
    return re.sub(r"^cannot download \S+: ", "", str(error).partition(";")[0])


def _scratch(reason: str, otherwise: str) -> ChosenWeights:
    why = f"Training from scratch, because {reason}; trained weights need fewer pictures and less time: {otherwise}."
    return ChosenWeights("none", None, why)
