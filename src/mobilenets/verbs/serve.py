"""``serve``: a page to try a model on, and predictions over HTTP."""

from __future__ import annotations

import importlib.util
import io
import ipaddress
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilenets.base.cores import cores
from mobilenets.base.extras import how_to_install
from mobilenets.base.notes import log
from mobilenets.errors import InputError
from mobilenets.pictures.stream import default_workers
from mobilenets.runs.predictor import Predictor
from mobilenets.runtime.predictor import EnginePredictor

if TYPE_CHECKING:
    from fastapi import FastAPI

    from mobilenets.server.limits import Limits

TOKEN = "MOBILENETS_TOKEN"
# Hosts that stand for all addresses, and what a browser opens here: on Windows it opens none of these.
_ALL = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def serve(
    model: str | Path | EnginePredictor,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    device: str = "auto",
    runtime: str | None = None,
    threads: int | None = None,
    workers: int | None = None,
    limits: Limits | None = None,
    allow_hosts: Sequence[str] = (),
    started: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Serve a model until SIGTERM or Ctrl-C; requests that are in get their answers first.

    Parameters
    ----------
    model:
        A run folder, a bundle, an exported file, or a predictor.
    host, port:
        Where to listen; port 0 takes a free one.
    device, runtime, threads:
        Where the model runs, as for ``Predictor``; of several workers each has its part of the cores.
    workers:
        So many processes answer at one port, each with a model of its own; one that dies is started again, and SIGHUP
        replaces them one by one, by which they read the model anew. By default this process answers. A script that
        asks for workers needs ``if __name__ == "__main__":``, as whatever starts processes does.
    limits:
        Bounds on what the server takes on, each worker by itself.
    allow_hosts:
        Names by which browsers may ask for the server, beside numbers, ``localhost``, the machine's own name and
        ``host``: those that a proxy or your own DNS gives it. ``"*"`` allows any.
    started:
        Called with ``{"url", "model"}`` once connections are let in; with ``workers`` and ``pid`` too, when all of them
        are ready.

    The token in the environment variable ``MOBILENETS_TOKEN``, if it is set, is asked of all who predict. Raises
    ``InputError`` for a model or an address that cannot be used, ``KeyboardInterrupt`` on Ctrl-C.

    """
    from mobilenets.server.limits import Limits
    from mobilenets.server.run import run

    limits = limits or Limits()
    if workers is not None:
        from mobilenets.server.workers import Workers, check

        check(workers)
        if isinstance(model, EnginePredictor):
            raise InputError("workers open the model by themselves: give its path")
        threads = max(1, cores() // workers) if threads is None else threads
    with _listen(host, port) as listener:
        make = partial(
            _application,
            model,
            threads=threads,
            decoders=max(1, default_workers() // (workers or 1)),
            device=device,
            runtime=runtime,
            limits=limits,
            token=_token(listener),
            # Also the name that it was told to listen at.
            allow_hosts=(*allow_hosts, host) if host else tuple(allow_hosts),
        )

        def announce() -> None:
            url, name = _url(host, listener.getsockname()[1]), _name(model)
            others = ", and at this machine's other addresses" if host in _ALL else ""
            log.info("%s is served at %s%s; stop it with Ctrl-C", name, url, others)
            if started is not None:
                started(
                    {"url": url, "model": name} | ({} if workers is None else {"workers": workers, "pid": os.getpid()})
                )

        if workers is None:
            app = make()
            announce()
            run(app, listener, limits)
        else:
            Workers(make, listener, limits, workers).run(announce)


def _application(
    model: str | Path | EnginePredictor,
    *,
    device: str,
    runtime: str | None,
    threads: int | None,
    limits: Limits,
    token: str | None,
    allow_hosts: Sequence[str],
    decoders: int,
) -> FastAPI:
    """Open the model, and make of it what answers."""
    from mobilenets.server.app import create_app

    predictor = (
        model if isinstance(model, EnginePredictor) else Predictor(model, device, runtime=runtime, threads=threads)
    )
    if not predictor.classes:
        raise InputError(f"{model}: it has no classifier; train one: mobilenets train DATA --weights MODEL")
    return create_app(
        predictor,
        explain=_explainer(predictor),
        limits=limits,
        token=token,
        allow_hosts=allow_hosts,
        name=_name(model),
        workers=decoders,
    )


def _name(model: str | Path | EnginePredictor) -> str:
    return "model" if isinstance(model, EnginePredictor) else Path(model).resolve().name


def _token(listener: socket.socket) -> str | None:
    """Return the token that is asked of who predicts."""
    token = os.environ.get(TOKEN) or None
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise InputError(f"{TOKEN}: use printable ASCII characters without spaces")
    if token is None and not ipaddress.ip_address(listener.getsockname()[0].split("%")[0]).is_loopback:
        log.warning("anyone who can reach this machine can use the model: set %s to require a token", TOKEN)
    return token


def _explainer(predictor: EnginePredictor) -> Callable[[bytes], bytes] | None:
    """Return what draws a PNG of what the network looked at, or None where there is nothing to draw."""
    if not isinstance(predictor, Predictor) or predictor.places:
        return None
    if importlib.util.find_spec("matplotlib") is None:
        log.info("without explanations, because matplotlib is not installed: %s", how_to_install("train"))
        return None
    try:
        predictor.check_explainable()
    except InputError as error:
        log.info("without explanations: %s", error)
        return None

    def draw(picture: bytes) -> bytes:
        file = io.BytesIO()
        predictor.explain(picture).save(file, "PNG")
        return file.getvalue()

    return draw


def _listen(host: str, port: int) -> socket.socket:
    """Open the door, so that a wrong address is refused before the model is read."""
    if not 0 <= port <= 65535:
        raise InputError(f"port {port}: give a number from 0 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot listen at {host} port {port}: {reason}; use another --host or --port") from error


def _url(host: str, port: int) -> str:
    host = _ALL.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
