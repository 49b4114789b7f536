"""Answers for the paths that TF Serving does not have: /, /docs and everything under /benison/."""

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
from benison.serving.server.managed_version import State
from benison.serving.server.pages import html_pages, input_fields, model_info, openapi
from benison.serving.server.pages.openapi import ServedModel
from benison.serving.server.service import Service

_HTML = "text/html; charset=utf-8"
_TRY_PATH = re.compile(r"/benison/try/(?P<model>[^/]+)(?:/(?P<signature>[^/]+))?")
_STATIC = {"style.css": "text/css; charset=utf-8", "try.js": "text/javascript; charset=utf-8"}
# Allow no external and no inline content, so that a name in a model can never run as a script.
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
class _LoadedVersion:
    """The newest loaded version of a model, which answers requests that do not name a version."""

    model: str
    number: int
    path: str
    engine: Engine


def has_path(path: str) -> bool:
    """Return True if the site answers a path."""
    return path in ("/", "/docs") or path.startswith("/benison/")


class Site:
    """The pages of the server, its OpenAPI document and its status."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: Request) -> Response:
        """Answer a request for one of the paths of `has_path`."""
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
            return _page(html_pages.home(await self._models(), self._unavailable_models()))
        if path == "/docs":
            host = request.headers.get(b"host", b"localhost:8501").decode("latin-1")
            return _page(html_pages.docs(openapi.document(await self._models()), host))
        if match := _TRY_PATH.fullmatch(path):
            return await self._try(unquote(match["model"]), unquote(match["signature"] or ""))
        return Response(404, json_answers.error(f"Not Found: {request.method} {path}"))

    async def _try(self, name: str, signature_name: str) -> Response:
        loaded = {version.model: version for version in self._loaded()}
        if name not in loaded:
            return _page(html_pages.not_found(f"Model {name} is not loaded{_alternatives('models', loaded)}."), 404)
        model = await asyncio.to_thread(_served_model, loaded[name], self._labels(name))
        signatures = model.predict_signatures
        default = input_fields.form_signature(model.signatures)
        signature = signatures.get(signature_name) if signature_name else default
        if signature is None:
            problem = f"no signature {signature_name}" if signature_name else "no signature that predict can run"
            alternatives = _alternatives("signatures", signatures)
            return _page(html_pages.not_found(f"Model {name} has {problem}{alternatives}."), 404)
        return _page(html_pages.try_model(model, signature))

    async def _models(self) -> tuple[ServedModel, ...]:
        loaded = [(version, self._labels(version.model)) for version in self._loaded()]
        return await asyncio.to_thread(lambda: tuple(_served_model(version, labels) for version, labels in loaded))

    def _loaded(self) -> list[_LoadedVersion]:
        newest: dict[str, _LoadedVersion] = {}
        for name, versions in sorted(self._service.models.versions.items()):
            for number, version in sorted(versions.items()):
                if version.state is State.AVAILABLE and version.engine:
                    newest[name] = _LoadedVersion(name, number, version.path, version.engine)
        return list(newest.values())

    def _labels(self, model: str) -> tuple[str, ...]:
        return tuple(sorted(self._service.models.labels.get(model, {})))

    def _unavailable_models(self) -> dict[str, str]:
        """Return the reason for each model without an available version."""
        available = {version.model for version in self._loaded()}
        reasons = {}
        for name in sorted(self._service.models.config.models.keys() - available):
            versions = self._service.models.versions.get(name, {})
            newest = versions[max(versions)] if versions else None
            error = f": {newest.error.message}" if newest and newest.error else ""
            reasons[name] = (
                f"The state of version {newest.number} is {newest.state.name}{error}" if newest else "No version found"
            )
        return reasons


def _served_model(version: _LoadedVersion, labels: tuple[str, ...]) -> ServedModel:
    info = model_info.read(version.path)
    return ServedModel(version.model, version.number, labels, version.engine.signatures, info)


def _static(name: str) -> Response:
    if name not in _STATIC:
        return Response(404, json_answers.error(f"Not Found: /benison/static/{name}"))
    content = (resources.files("benison.serving.server") / "static" / name).read_bytes()
    return Response(200, content, _STATIC[name], _HEADERS)


def _page(html: str, status: int = 200) -> Response:
    return Response(status, html.encode("utf-8", "replace"), _HTML, _HEADERS)


def _alternatives(noun: str, names: Collection[str]) -> str:
    return f"; available {noun}: {', '.join(sorted(names))}" if names else ""
