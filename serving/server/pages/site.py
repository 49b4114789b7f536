"""What the server answers beside TF Serving's paths: /, /docs and everything under /benison/."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from urllib.parse import unquote

import orjson

from benison.serving.server.codec import json_answers
from benison.serving.server.engine import Engine
from benison.serving.server.http import Request, Response
from benison.serving.server.lifecycle import State
from benison.serving.server.pages import html_pages, input_fields, model_info, openapi
from benison.serving.server.pages.openapi import ServedModel
from benison.serving.server.service import Service

_HTML = "text/html; charset=utf-8"
_TRY = re.compile(r"/benison/try/(?P<model>[^/]+)(?:/(?P<signature>[^/]+))?")
_STATIC = {"style.css": "text/css; charset=utf-8", "try.js": "text/javascript; charset=utf-8"}
# Nothing from elsewhere, nothing inline: a name in a model can never become a script.
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
)


@dataclass(frozen=True)
class _Loaded:
    """The version of a model that answers requests which name none."""

    model: str
    number: int
    path: str
    engine: Engine


def owns(path: str) -> bool:
    """Whether a path is answered here."""
    return path in ("/", "/docs") or path.startswith("/benison/")


class Site:
    """The answers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: Request) -> Response:
        """The response to a request whose path it `owns`."""
        path = request.path
        if request.method not in ("GET", "HEAD"):
            return Response(405, json_answers.error(f"Method Not Allowed: {request.method} {path}"))
        if path == "/benison/status":
            return Response(200, orjson.dumps(self._service.describe()))
        if path.startswith("/benison/static/"):
            return _static(path.removeprefix("/benison/static/"))
        if path == openapi.PATH:
            return Response(200, orjson.dumps(openapi.document(await self._models())))
        if path == "/":
            return _page(html_pages.home(await self._models(), self._others()))
        if path == "/docs":
            host = request.headers.get(b"host", b"localhost:8501").decode("latin-1")
            return _page(html_pages.docs(openapi.document(await self._models()), host))
        if found := _TRY.fullmatch(path):
            return await self._try(unquote(found["model"]), unquote(found["signature"] or ""))
        return Response(404, json_answers.error(f"Not Found: {request.method} {path}"))

    async def _try(self, name: str, wanted: str) -> Response:
        loaded = {found.model: found for found in self._loaded()}
        if name not in loaded:
            return _page(html_pages.not_found(f"No model {name} is loaded{_instead(loaded)}."), 404)
        model = await asyncio.to_thread(_served, loaded[name], self._labels(name))
        signature = model.askable.get(wanted) if wanted else input_fields.for_people(model.signatures)
        if signature is None:
            what = f"{name} has no signature {wanted}" if wanted else f"{name} has no signature that can be asked"
            return _page(html_pages.not_found(f"{what}{_instead(model.askable)}."), 404)
        return _page(html_pages.try_model(model, signature))

    async def _models(self) -> tuple[ServedModel, ...]:
        loaded = [(found, self._labels(found.model)) for found in self._loaded()]
        return await asyncio.to_thread(lambda: tuple(_served(found, labels) for found, labels in loaded))

    def _loaded(self) -> list[_Loaded]:
        newest: dict[str, _Loaded] = {}
        for name, versions in sorted(self._service.models.versions.items()):
            for number, version in sorted(versions.items()):
                if version.state is State.AVAILABLE and version.engine:
                    newest[name] = _Loaded(name, number, version.path, version.engine)
        return list(newest.values())

    def _labels(self, model: str) -> tuple[str, ...]:
        return tuple(sorted(self._service.models.labels.get(model, {})))

    def _others(self) -> dict[str, str]:
        """Models that do not serve, and why."""
        serving = {found.model for found in self._loaded()}
        reasons = {}
        for name in sorted(self._service.models.config.models.keys() - serving):
            versions = self._service.models.versions.get(name, {})
            newest = versions[max(versions)] if versions else None
            error = f": {newest.error.message}" if newest and newest.error else ""
            reasons[name] = (
                f"Version {newest.number} is at {newest.state.name}{error}" if newest else "No version found"
            )
        return reasons


def _served(found: _Loaded, labels: tuple[str, ...]) -> ServedModel:
    return ServedModel(found.model, found.number, labels, found.engine.signatures, model_info.read(found.path))


def _static(name: str) -> Response:
    if name not in _STATIC:
        return Response(404, json_answers.error(f"Not Found: /benison/static/{name}"))
    content = (resources.files("benison.serving.server") / "static" / name).read_bytes()
    return Response(200, content, _STATIC[name], _HEADERS)


def _page(html: str, status: int = 200) -> Response:
    return Response(status, html.encode("utf-8", "replace"), _HTML, _HEADERS)


def _instead(names: Collection[str]) -> str:
    return f"; there is {', '.join(sorted(names))}" if names else ""
