"""The viewer's answers: its page, tiles, shapes in view, and the class at a position."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import partial
from importlib.resources import files
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from lsr_ext.inference.prediction import Area
from lsr_ext.viewer.gate import Gate
from lsr_ext.viewer.shapes import ViewBox
from lsr_ext.viewer.tiles import OversizeTileError, contour_tile, label_tile, probability_tile, slide_tile
from lsr_ext.viewer.view import View
from lsr_ext.wsi import ReadTooLargeError, SlideError

OPENSEADRAGON = "openseadragon.min.js"
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_PAGE = ("index.html", "viewer.css", "viewer.js", "layers.js", "shapes.js", "panel.js", OPENSEADRAGON)
# Requests beyond these wait, each in a few kilobytes: so memory does not grow with their number.
_WORKERS = 4
_MAX_DIGITS = 7
_CACHED = {"cache-control": "private, max-age=3600"}
_FRESH = {"cache-control": "no-store"}


def make_app(view: View, token: str, hosts: Collection[str]) -> Gate:
    """The viewer as an ASGI application.

    It answers `/<token>/...` alone: the page, and tiles and shapes of the view; no part of an address becomes the
    name of a file. Tiles are made by four threads.

    Args:
        view: what it shows.
        token: part of every address.
        hosts: the host names that it answers to, see `allowed_hosts`.

    Raises:
        FileNotFoundError: OpenSeadragon was not put into this installation.
    """
    answers = _Answers(view)
    routes = [
        Route("/info", answers.info),
        Route("/at", answers.position),
        Route("/shapes/{name}", answers.shapes),
        Route("/tiles/{layer}/{level}/{column}/{row}", answers.tile),
        *(Route("/" if name == "index.html" else f"/{name}", _static(name)) for name in _PAGE),
    ]
    return Gate(Starlette(routes=routes), token, hosts)


class _Answers:
    """The answers about one view."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._workers: anyio.CapacityLimiter | None = None

    async def info(self, _: Request) -> Response:
        return JSONResponse(self.view.describe(), headers=_FRESH)

    async def position(self, request: Request) -> Response:
        x, y = (_number(request, name) for name in ("x", "y"))
        if self.view.prediction is None:
            raise HTTPException(404, "there is no prediction")
        return JSONResponse(await self._work(request, partial(self.view.prediction.at, x, y)), headers=_FRESH)

    async def shapes(self, request: Request) -> Response:
        shapes = self.view.shapes.get(request.path_params["name"])
        if shapes is None:
            raise HTTPException(404, f"expected one of {', '.join(self.view.shapes) or 'no shapes'}")
        box = ViewBox(*(_number(request, name) for name in ViewBox._fields))
        if min(box.width, box.height, box.scale) < 0:
            raise HTTPException(400, f"expected a rectangle, got {box}")
        return JSONResponse(await self._work(request, partial(shapes.in_view, box)), headers=_FRESH)

    async def tile(self, request: Request) -> Response:
        level, column, row = (_index(request.path_params[name]) for name in ("level", "column", "row"))
        try:
            area = self.view.grid.area(level, column, row)
        except LookupError as error:
            raise HTTPException(404, str(error)) from error
        draw, kind = self._drawer(request, area)
        try:
            content = await self._work(request, draw)
        except (OversizeTileError, ReadTooLargeError) as error:
            raise HTTPException(413, str(error)) from error
        except SlideError as error:
            raise HTTPException(500, str(error)) from error
        return Response(content, media_type=kind, headers=_CACHED)

    def _drawer(self, request: Request, area: Area) -> tuple[Callable[[], bytes], str]:
        """What draws a tile, and the type of its file."""
        layer, prediction = request.path_params["layer"], self.view.prediction
        if layer == "slide":
            return partial(slide_tile, self.view.slide, area), "image/jpeg"
        if prediction is None:
            raise HTTPException(404, "there is no prediction")
        classes = [_index(part) for part in request.query_params.get("classes", "").split(",") if part]
        if any(index >= len(prediction.classes) for index in classes):
            raise HTTPException(404, f"expected classes below {len(prediction.classes)}, got {classes}")
        if layer == "labels":
            return partial(label_tile, prediction, area, set(classes)), "image/png"
        if layer == "contours":
            return partial(contour_tile, prediction, area, set(classes)), "image/png"
        if layer == "probability" and len(classes) == 1:
            return partial(probability_tile, prediction, area, classes[0]), "image/png"
        raise HTTPException(404, "expected the layer slide, labels, contours or probability of one class")

    async def _work(self, request: Request, function: Callable[[], Any]) -> Any:
        """Call a function in one of the threads, unless the browser has gone on meanwhile."""
        if self._workers is None:
            self._workers = anyio.CapacityLimiter(_WORKERS)
        async with self._workers:
            if await request.is_disconnected():
                raise HTTPException(499, "no longer wanted")
            return await anyio.to_thread.run_sync(function)


def _static(name: str) -> Callable[[Request], Any]:
    """Answers with a file of the page, which is read once."""
    path = files("lsr_ext.viewer") / "page" / name
    if not path.is_file():
        raise FileNotFoundError(
            f"this installation has no {name}: it is fetched when lsr_ext is built, by npm and network. "
            "In a copy of the sources, run: python tools/openseadragon.py"
        )
    content, kind = path.read_bytes(), _TYPES[f".{name.rpartition('.')[2]}"]

    async def answer(_: Request) -> Response:
        return PlainTextResponse(content, media_type=kind, headers=_FRESH)

    return answer


def _number(request: Request, name: str) -> float:
    text = request.query_params.get(name, "")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > 10**_MAX_DIGITS:
        raise HTTPException(400, f"expected a number as {name}, got {text[:20]!r}")
    return value


def _index(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise HTTPException(404, f"expected a whole number of at most {_MAX_DIGITS} digits, got {text[:20]!r}")
    return int(text)
