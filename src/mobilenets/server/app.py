"""The application: a page to try a model on, and the same over HTTP for programs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from mobilenets.errors import UnreadablePicture
from mobilenets.page import PAGE, SHARED
from mobilenets.pictures.decode import PictureTooLarge
from mobilenets.runtime.predictor import EnginePredictor
from mobilenets.server.batching import Answer, Batcher
from mobilenets.server.bodies import Intake
from mobilenets.server.guard import Guard, State, refusal_response
from mobilenets.server.hosts import Hosts
from mobilenets.server.limits import Code, Limits, Refused, busy, code_of, too_many
from mobilenets.server.metrics import CONTENT_TYPE, Metrics

_OWN = PAGE / "server"
FILES = {
    "/": PAGE / "index.html",
    "/docs": _OWN / "docs.html",
    **{f"/page/{name}": PAGE / name for name in SHARED},
    **{f"/page/{name}": _OWN / name for name in ("answerer.js", "docs.js")},
}
OPEN = (*FILES, "/health", "/ready", "/openapi.json")
REST = ("/predict", "/explain", "/model", "/metrics")

_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
        "image/*": {"schema": {"type": "string", "format": "binary"}},
    },
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The form is malformed."},
    401: {"description": "The token is missing or wrong."},
    403: {"description": "A page of another site asked, or the server is not known by that name."},
    408: {"description": "The body came too slowly."},
    413: {"description": "Too many bytes, pixels or pictures."},
    422: {"description": "No readable picture; `pictures` says why for each."},
    503: {"description": "Too busy, or shutting down; see Retry-After."},
}


def create_app(
    predictor: EnginePredictor,
    *,
    explain: Callable[[bytes], bytes] | None = None,
    limits: Limits | None = None,
    token: str | None = None,
    allow_hosts: Iterable[str] = (),
    name: str = "model",
    workers: int = 2,
) -> FastAPI:
    """Build the application.

    ``explain`` draws what the network looked at, from the bytes of a picture to those of a PNG; without it the page
    has no button for that. ``token`` is asked of all who predict. ``allow_hosts`` are names by which the server may be
    asked for beside numbers, ``localhost`` and the machine's own. ``workers`` threads decode. Raises ``InputError`` for
    a name that is none.
    """
    limits = limits or Limits()
    metrics, state, intake = Metrics(), State(), Intake(limits)
    batcher = Batcher(predictor, explain, limits, metrics, workers)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await batcher.start()
        batcher.warm.add_done_callback(lambda _: state.warmed(batcher.answered))
        state.free = batcher.free
        if state.waits:
            await batcher.warm
        yield
        await batcher.stop()

    app = FastAPI(
        title=f"mobilenets: {name}",
        version=version("mobilenets"),
        description="Says what is in a picture.",
        lifespan=lifespan,
        # FastAPI's own pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.server = state
    app.add_middleware(
        Guard,
        state=state,
        limits=limits,
        metrics=metrics,
        token=token,
        hosts=Hosts(allow_hosts),
        open_paths=OPEN,
        known_paths={*OPEN, *REST},
    )
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _wrong_query)
    app.add_exception_handler(Exception, _fault)
    about = _about(predictor, name, limits, explain is not None)
    _route(app, _Endpoints(batcher, intake, metrics, state, about), explain is not None)
    return app


def _route(app: FastAPI, endpoints: _Endpoints, explains: bool) -> None:
    """Say what answers where, and describe it for ``/openapi.json``."""
    app.post(
        "/predict",
        summary="Say what is in pictures",
        description="Send files in a form, or one picture as the body. Returns a list with one object per picture, "
        "as `mobilenets predict --json`: `image` and `predictions` (with `groups`, `sure`, `known` and `distance` "
        "if the model has them); from a detector `image` and `detections`, each with `label`, `score` and `box`: "
        "x0, y0, x1, y1 in pixels of the upright picture; or `image`, `error` and its `code`.",
        openapi_extra={"requestBody": _BODY},
        responses=_REFUSALS,
    )(endpoints.predict)
    app.get("/model", summary="About the model", response_description="Classes, names, groups, limits")(endpoints.model)
    app.get("/health", summary="Whether the process is alive")(endpoints.health)
    app.get(
        "/ready",
        summary="Whether to send requests here",
        responses={503: {"description": "The model has not answered yet, or the server is shutting down."}},
    )(endpoints.ready)
    app.get("/metrics", summary="Figures for Prometheus", response_class=Response)(endpoints.figures)
    if explains:
        app.post(
            "/explain",
            summary="Draw what the network looked at",
            description="Send one picture, as for `/predict`. Returns a PNG.",
            openapi_extra={"requestBody": _BODY},
            responses=_REFUSALS | {200: {"content": {"image/png": {}}}},
            response_class=Response,
        )(endpoints.explanation)
    for route, file in FILES.items():
        app.add_api_route(route, _file(file), include_in_schema=False)


@dataclass(frozen=True, eq=False)
class _Endpoints:
    """What answers at each path. A docstring of a method would become its description in ``/openapi.json``."""

    batcher: Batcher
    intake: Intake
    metrics: Metrics
    state: State
    about: dict[str, Any]

    async def predict(
        self,
        request: Request,
        top: Annotated[
            int | None,
            Query(ge=1, le=10_000, description="number of classes to list per picture (5), or of boxes (all)"),
        ] = None,
        language: Annotated[
            str | None, Query(max_length=35, description="language of the class names, such as zh")
        ] = None,
    ) -> JSONResponse:
        if self.batcher.full:
            raise busy("too many pictures are waiting")
        known = self.about.get("languages", [])
        if language is not None and language not in known:
            there_is = f"there is {', '.join(known)}" if known else "there is none"
            raise Refused(422, "unknown_language", f"language {language!r}: {there_is}")
        async with self.intake.pictures(request) as pictures:
            found = await self.batcher.answers([data for _, data in pictures], top, language)
        for one in found:
            outcome = "unreadable" if isinstance(one, UnreadablePicture) else "answered"
            self.metrics.pictures.labels(outcome).inc()
        return _response([image for image, _ in pictures], found)

    async def model(self) -> JSONResponse:
        return JSONResponse(self.about)

    async def health(self) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def ready(self) -> JSONResponse:
        if self.state.closing:
            raise Refused(503, "closing", "shutting down", retry_after=1)
        if not self.batcher.answered:
            raise Refused(503, "not_ready", "the model has not answered yet", retry_after=1)
        return JSONResponse({"status": "ready"})

    async def figures(self) -> Response:
        return Response(self.metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def explanation(self, request: Request) -> Response:
        if self.batcher.full:
            raise busy("too many pictures are waiting")
        async with self.intake.pictures(request) as pictures:
            if len(pictures) > 1:
                raise too_many(1)
            try:
                drawn = await self.batcher.explanation(pictures[0][1])
            except UnreadablePicture as error:
                return _response([pictures[0][0]], [error])
        return Response(drawn, media_type="image/png", headers={"cache-control": "no-store"})


def _file(path: Path) -> Callable[[], FileResponse]:
    # Not as the machine says: on many with Windows scripts are text/plain, which browsers do not run.
    kind = {".css": "text/css", ".html": "text/html", ".js": "text/javascript"}[path.suffix]

    def page() -> FileResponse:
        return FileResponse(path, media_type=kind, headers={"cache-control": "no-cache"})

    return page


def _about(predictor: EnginePredictor, name: str, limits: Limits, explains: bool) -> dict[str, Any]:
    bundle = predictor.bundle
    return {
        "name": name,
        "version": version("mobilenets"),
        "architecture": bundle.architecture.get("name"),
        "size": bundle.preprocessing.size,
        **predictor.reading.about(bundle),
        "explains": explains,
        "tells_unknown": predictor.tells_unknown,
        "limits": {"body_bytes": limits.body_bytes, "pixels": limits.pixels, "pictures": limits.pictures},
    }


def _response(names: list[str], found: list[Answer | UnreadablePicture]) -> JSONResponse:
    """Answer a list; where not one picture could be read, the first reason with the status of the worst."""
    answers = [
        {"image": name, **(_problem(str(one), code_of(one)) if isinstance(one, UnreadablePicture) else one)}
        for name, one in zip(names, found, strict=True)
    ]
    headers = {"cache-control": "no-store"}
    if any("error" not in answer for answer in answers):
        return JSONResponse(answers, headers=headers)
    status = 413 if all(isinstance(one, PictureTooLarge) for one in found) else 422
    first = {key: answers[0][key] for key in ("error", "code")}
    return JSONResponse(first | {"pictures": answers}, status, headers)


def _problem(reason: str, code: Code) -> dict[str, str]:
    return {"error": reason, "code": code}


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return refusal_response(error)


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code: Code = "not_found" if error.status_code == 404 else "wrong_method"
    return JSONResponse(_problem(error.detail, code), error.status_code, error.headers)


async def _wrong_query(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return JSONResponse(_problem(f"{first['loc'][-1]}: {first['msg']}", "wrong_parameter"), 422)


async def _fault(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse(_problem("the server failed; see its log", "fault"), 500)
