"""The desk as a web application: the door, the API, the page's files; all of it from this host."""

from __future__ import annotations

import importlib.util
import logging
import sqlite3
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response

from pipeline.desk import account, answer, api, entry
from pipeline.desk.security import SecurityHeaders, allowed, content_policy, logged_in
from pipeline.desk.services import Services
from pipeline.desk.sessions import Session

log = logging.getLogger("rahdar.desk")

STATIC = Path(__file__).parent / "static"
MAPLIBRE_FILES = ("maplibre-gl.js", "maplibre-gl.css")
TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml", ".woff2": "font/woff2", ".json": "application/json",
}  # fmt: skip
PAGES = frozenset({"index.html", "login.html", "enter.html", "docs.html"})  # served by routes of their own


def maplibre_files() -> dict[str, Path]:
    """The map library as it lies in the `maplibre` wheel; found without importing it, which loads much."""
    spec = importlib.util.find_spec("maplibre")
    places = list(spec.submodule_search_locations or ()) if spec else []
    found = {name: Path(place) / "srcjs" / name for place in places for name in MAPLIBRE_FILES}
    if not found or not all(path.is_file() for path in found.values()):
        raise RuntimeError("the package `maplibre` (0.3) is missing or carries no srcjs/maplibre-gl.js; install 0.3.6")
    return found


def _static_files() -> dict[str, Path]:
    ours = {p.relative_to(STATIC).as_posix(): p for p in STATIC.rglob("*") if p.is_file() and p.suffix in TYPES}
    return {name: path for name, path in ours.items() if name not in PAGES} | maplibre_files()


def create_app(s: Services) -> FastAPI:
    app = FastAPI(
        title="Rahdar desk",
        description="What the control room sees, and what it does. Times in microseconds since 1970, UTC.",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # below, for those who are logged in
        dependencies=[Depends(allowed)],
    )
    app.state.services = s
    app.state.commands = api.Commands()
    origin = urlsplit(s.basemap_url) if s.basemap_url else None
    origins = [f"{origin.scheme}://{origin.netloc}"] if origin and origin.netloc else []
    app.add_middleware(SecurityHeaders, policy=content_policy(origins), secure=s.secure)
    app.include_router(entry.router)
    app.include_router(account.router)
    app.include_router(answer.router)
    app.include_router(api.router)
    static = _static_files()

    @app.get("/static/{name:path}", include_in_schema=False)
    def file(name: str) -> Response:
        path = static.get(name)
        if path is None:
            raise HTTPException(404)
        # with ETag and Last-Modified; the browser asks again each time, so that an update is seen at once
        return FileResponse(path, media_type=TYPES[path.suffix], headers={"Cache-Control": "no-cache"})

    @app.get("/api/openapi.json", include_in_schema=False)
    def openapi(me: Annotated[Session, Depends(logged_in)]) -> JSONResponse:
        return JSONResponse(app.openapi())

    @app.get("/api/docs", include_in_schema=False)
    def docs(me: Annotated[Session, Depends(logged_in)]) -> FileResponse:
        return FileResponse(STATIC / "docs.html", media_type=TYPES[".html"])

    @app.get("/favicon.ico", include_in_schema=False)
    def favicon() -> RedirectResponse:
        return RedirectResponse("/static/icon.svg", 301)

    @app.exception_handler(sqlite3.Error)
    async def unrecorded(request: Request, error: sqlite3.Error) -> JSONResponse:
        """What cannot be put on record is neither shown nor done."""
        log.error("desk: %s: %s", request.scope["path"], error)
        return JSONResponse({"detail": "not now: the desk cannot write its record; its log says why"}, 503)

    @app.exception_handler(500)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "the desk failed; its log says why"}, 500)

    return app
