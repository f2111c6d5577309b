"""The application: a page to try a model on, and the same over HTTP for programs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from mobilenets.errors import UnreadablePicture
from mobilenets.runtime.decode import PictureTooLarge
from mobilenets.runtime.predictor import EnginePredictor
from mobilenets.server.batching import Answer, Batcher
from mobilenets.server.bodies import Intake
from mobilenets.server.guard import Guard, State, refusal_headers
from mobilenets.server.limits import Limits, Refused, busy
from mobilenets.server.metrics import CONTENT_TYPE, Metrics

PAGE = Path(__file__).with_name("page")
FILES = {"/": "index.html", "/docs": "docs.html", **{f"/page/{n}": n for n in ("page.css", "page.js", "docs.js")}}
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
    400: {"description": "The form is broken."},
    401: {"description": "The token is missing or wrong."},
    408: {"description": "The body came too slowly."},
    413: {"description": "Too many bytes, pixels or pictures."},
    422: {"description": "No picture that can be read; `pictures` says why of each."},
    503: {"description": "Too busy, or shutting down; see Retry-After."},
}


def create_app(
    predictor: EnginePredictor,
    *,
    explain: Callable[[bytes], bytes] | None = None,
    limits: Limits | None = None,
    token: str | None = None,
    name: str = "model",
    workers: int = 2,
) -> FastAPI:
    """Build the application.

    ``explain`` draws what the network looked at, from the bytes of a picture to those of a PNG; without it the page
    has no button for that. ``token`` is asked of all who predict. ``workers`` threads decode.
    """
    limits = limits or Limits()
    metrics, state, intake = Metrics(), State(), Intake(limits)
    batcher = Batcher(predictor, explain, limits, metrics, workers)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await batcher.start()
        yield
        await batcher.stop()

    app = FastAPI(
        title=f"mobilenets: {name}",
        version=version("mobilenets"),
        description="Says what is on a picture.",
        lifespan=lifespan,
        # FastAPI's own pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.server = state
    app.add_middleware(
        Guard, state=state, limits=limits, metrics=metrics, token=token, open_paths=OPEN, known_paths={*OPEN, *REST}
    )
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _wrong_query)

    @app.post(
        "/predict",
        summary="Say what is on pictures",
        description="Send files of a form, or one picture as the body. Answers a list, an object a picture, as "
        "`mobilenets predict --json`: `image` and `predictions` (with `groups` and `sure` where the model has them), "
        "or `image` and `error`.",
        openapi_extra={"requestBody": _BODY},
        responses=_REFUSALS,
    )
    async def predict(
        request: Request,
        top: Annotated[int, Query(ge=1, le=10_000, description="so many classes a picture")] = 5,
        language: Annotated[str | None, Query(max_length=35, description="names of classes in it, such as zh")] = None,
    ) -> JSONResponse:
        if batcher.full:
            raise busy("too many pictures are waiting")
        known = labels.languages if labels is not None else ()
        if language is not None and language not in known:
            raise Refused(
                422, f"language {language!r}: " + (f"there is {', '.join(known)}" if known else "there is none")
            )
        async with intake.pictures(request) as pictures:
            found = await batcher.answers([data for _, data in pictures], top, language)
        for one in found:
            metrics.pictures.labels("unreadable" if isinstance(one, UnreadablePicture) else "answered").inc()
        return _response([image for image, _ in pictures], found)

    @app.get("/model", summary="What the model is", response_description="Classes, names, groups, limits")
    async def model() -> JSONResponse:
        return JSONResponse(about)

    @app.get("/health", summary="Whether the process lives")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get(
        "/ready",
        summary="Whether to send requests here",
        responses={503: {"description": "The model has not answered yet, or the server is shutting down."}},
    )
    async def ready() -> JSONResponse:
        if state.closing or not batcher.answered:
            why = "shutting down" if state.closing else "the model has not answered yet"
            return JSONResponse({"error": why}, 503, {"retry-after": "1"})
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", summary="Figures for Prometheus", response_class=Response)
    async def figures() -> Response:
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})

    if explain is not None:

        @app.post(
            "/explain",
            summary="Draw what the network looked at",
            description="Send one picture, as for `/predict`. Answers a PNG.",
            openapi_extra={"requestBody": _BODY},
            responses=_REFUSALS | {200: {"content": {"image/png": {}}}},
            response_class=Response,
        )
        async def explanation(request: Request) -> Response:
            if batcher.full:
                raise busy("too many pictures are waiting")
            async with intake.pictures(request) as pictures:
                if len(pictures) > 1:
                    raise Refused(413, "one picture at a time")
                try:
                    drawn = await batcher.explanation(pictures[0][1])
                except UnreadablePicture as error:
                    return _response([pictures[0][0]], [error])
            return Response(drawn, media_type="image/png", headers={"cache-control": "no-store"})

    for path, file in FILES.items():
        app.add_api_route(path, _file(file), include_in_schema=False)

    labels = predictor.bundle.labels
    about = _about(predictor, name, limits, explain is not None)
    return app


def _file(name: str) -> Callable[[], FileResponse]:
    def page() -> FileResponse:
        return FileResponse(PAGE / name, headers={"cache-control": "no-cache"})

    return page


def _about(predictor: EnginePredictor, name: str, limits: Limits, explains: bool) -> dict[str, Any]:
    bundle = predictor.bundle
    return {
        "name": name,
        "version": version("mobilenets"),
        "architecture": bundle.architecture.get("name"),
        "size": bundle.preprocessing.size,
        "classes": list(bundle.classes),
        "labels": None if bundle.labels is None else bundle.labels.to_json(),
        "languages": [] if bundle.labels is None else list(bundle.labels.languages),
        "threshold": bundle.threshold,
        "explains": explains,
        "limits": {"body_bytes": limits.body_bytes, "pixels": limits.pixels, "pictures": limits.pictures},
    }


def _response(names: list[str], found: list[Answer | UnreadablePicture]) -> JSONResponse:
    """Answer a list; where not one picture could be read, the first reason with the status of the worst."""
    answers = [
        {"image": name, "error": str(one)} if isinstance(one, UnreadablePicture) else {"image": name, **one}
        for name, one in zip(names, found, strict=True)
    ]
    headers = {"cache-control": "no-store"}
    if any("predictions" in answer for answer in answers):
        return JSONResponse(answers, headers=headers)
    status = 413 if all(isinstance(one, PictureTooLarge) for one in found) else 422
    return JSONResponse({"error": answers[0]["error"], "pictures": answers}, status, headers)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return JSONResponse({"error": error.reason}, error.status, refusal_headers(error))


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _wrong_query(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return JSONResponse({"error": f"{first['loc'][-1]}: {first['msg']}"}, 422)
