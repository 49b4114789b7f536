"""Sending a config to servers, and waiting until they serve it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from benison.serving.client import GrpcClient, ServerError, VersionStatus
from benison.serving.promotion.access import Access

_POLL_S = 0.1
_OTHERS_S = 10.0
_T = TypeVar("_T")


def reload_servers(
    servers: Sequence[str],
    config: str,
    expected: Mapping[str, frozenset[int]],
    *,
    access: Access,
    targets: Mapping[str, str],
    alone: bool = False,
    timeout_s: float,
) -> dict[str, str]:
    """Send a config to all servers at once, and wait until each of them serves the expected versions.

    Args:
        servers: host:port of gRPC.
        config: Text proto ModelServerConfig.
        expected: The versions that must be AVAILABLE, by model.
        access: The token and TLS, for a server that is not reached by a Unix socket.
        targets: Where to reach a server, if not at host:port itself: `unix:PATH` by server.
        alone: Wait until no other version of these models is AVAILABLE.
        timeout_s: For all of them (seconds).

    Returns:
        The reason by server that does not serve them; empty if all do.

    Raises:
        UsageError: A file for TLS cannot be used.
    """
    credentials = access.credentials() if servers else None

    def reload_one(server: str) -> Coroutine[Any, Any, str]:
        target = targets.get(server, server)
        if target.startswith("unix:"):  # needs no token, so whoever made the socket does not learn it
            return _reload(GrpcClient(target, timeout=timeout_s), "", config, expected, alone, timeout_s)
        client = GrpcClient(target, timeout=timeout_s, credentials=credentials)
        return _reload(client, access.token, config, expected, alone, timeout_s)

    async def reload_all() -> list[str]:
        return await asyncio.gather(*map(reload_one, servers))

    reasons = _run(reload_all()) if servers else []
    return {server: reason for server, reason in zip(servers, reasons, strict=True) if reason}


async def _reload(
    client: GrpcClient, token: str, config: str, expected: Mapping[str, frozenset[int]], alone: bool, timeout_s: float
) -> str:
    """Reload one server; return why it does not serve the expected versions, or an empty text."""
    deadline = time.monotonic() + timeout_s
    try:
        async with client:
            await _send(client, token, config)
            while True:
                missing = [
                    reason
                    for model, numbers in expected.items()
                    for reason in _missing(model, await _status(client, model), numbers, alone)
                ]
                if not missing:
                    return ""
                failed = [reason for reason, final in missing if final]
                if failed or time.monotonic() > deadline:
                    return "; ".join(failed) or "; ".join(reason for reason, _ in missing) + f" after {timeout_s:g} s"
                await asyncio.sleep(_POLL_S)
    except ServerError as error:
        return str(error)


async def _send(client: GrpcClient, token: str, config: str) -> None:
    """Send a config; do not wait long for other models that are new to the server, nor fail with them.

    A server answers when all new models are available or have failed. It has applied the config before.

    Raises:
        ServerError: The server refused the config, or cannot be reached.
    """
    try:
        await asyncio.wait_for(client.reload(config, token=token), _OTHERS_S)
    except asyncio.TimeoutError:
        pass
    except ServerError as error:
        if error.code != "UNKNOWN":  # the code of models that did not become available
            raise


async def _status(client: GrpcClient, model: str) -> list[VersionStatus]:
    try:
        return await client.status(model)
    except ServerError as error:
        if error.code == "NOT_FOUND":
            return []
        raise


def _missing(
    model: str, statuses: Sequence[VersionStatus], expected: frozenset[int], alone: bool
) -> list[tuple[str, bool]]:
    """Return what differs from the expected state, and whether waiting is useless: (reason, final)."""
    by_number = {status.version: status for status in statuses}
    missing = []
    for number in sorted(expected):
        status = by_number.get(number)
        if status is None:
            missing.append((f"model {model} version {number}: not seen", False))
        elif status.state != "AVAILABLE":
            failed = status.state == "END" and status.error_code != "OK"
            message = f" ({status.error_code}: {status.error_message})" if failed else ""
            missing.append((f"model {model} version {number}: {status.state}{message}", failed))
    if alone:
        others = sorted(s.version for s in statuses if s.state == "AVAILABLE" and s.version not in expected)
        missing += [(f"model {model} version {number}: still AVAILABLE", False) for number in others]
    return missing


def _run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end, also in a notebook, whose event loop is already running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
