"""A raw ASGI handler without a model: it parses the request and answers constant JSON of the same size."""

from __future__ import annotations

from typing import Any

import orjson

ANSWER = {"predictions": [[0.2878435, 0.26211807, 0.45003852]]}
_HEADERS = [(b"content-type", b"application/json")]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer POST with ANSWER, and other methods with an empty body."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    if scope["method"] == "POST":
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        body = orjson.dumps(ANSWER) if orjson.loads(body)["instances"] else b""
    headers = [*_HEADERS, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
