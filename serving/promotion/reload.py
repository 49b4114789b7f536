"""Sending a config to servers, and waiting until they serve it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from benison.serving.client import GrpcClient, ServerError, VersionStatus
from benison.serving.promotion.access import Access

ASK_AGAIN_S = 10.0
_POLL_S = 0.1
_NOT_CONNECTED = "failed to connect"  # begins gRPC's message if nothing was sent
_NOT_AVAILABLE = "did not become available"  # TF Serving's message about models that are new to it
_REFUSALS = frozenset(["PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"])
_T = TypeVar("_T")


@dataclass(frozen=True)
class Failure:
    """A server that does not serve the expected versions.

    Attributes:
        reason: Why, for people.
        unchanged: True if the server certainly did not take the config, and so serves what it served before.
    """

    reason: str
    unchanged: bool = False


def reload_servers(
    servers: Sequence[str],
    config: str,
    expected: Mapping[str, frozenset[int]],
    *,
    access: Access,
    targets: Mapping[str, str],
    alone: bool = False,
    timeout_s: float,
) -> dict[str, Failure]:
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
        The failure of each server that does not serve them; empty if all do.

    Raises:
        UsageError: A file for TLS cannot be used.
    """
    credentials = access.credentials() if servers else None

    def reload_one(server: str) -> Coroutine[Any, Any, Failure | None]:
        target = targets.get(server, server)
        if target.startswith("unix:"):  # needs no token, so whoever made the socket does not learn it
            return _reload(GrpcClient(target, timeout=timeout_s), Access(), config, expected, alone, timeout_s)
        client = GrpcClient(target, timeout=timeout_s, credentials=credentials)
        return _reload(client, access, config, expected, alone, timeout_s)

    async def reload_all() -> list[Failure | None]:
        return await asyncio.gather(*map(reload_one, servers))

    failures = _run(reload_all()) if servers else []
    return {server: failure for server, failure in zip(servers, failures, strict=True) if failure}


async def _reload(
    client: GrpcClient,
    access: Access,
    config: str,
    expected: Mapping[str, frozenset[int]],
    alone: bool,
    timeout_s: float,
) -> Failure | None:
    """Reload one server; return why it does not serve the expected versions, or None."""
    deadline = time.monotonic() + timeout_s
    async with client:
        try:
            await _send(client, access.token, config)
        except ServerError as error:
            return _failed_reload(error, access, timeout_s)
        try:
            while True:
                missing = [
                    reason
                    for model, numbers in expected.items()
                    for reason in _missing(model, await _status(client, model), numbers, alone)
                ]
                if not missing:
                    return None
                failed = [reason for reason, final in missing if final]
                if failed or time.monotonic() > deadline:
                    late = "; ".join(reason for reason, _ in missing) + f" after {timeout_s:g} s"
                    return Failure("; ".join(failed) or late)
                await asyncio.sleep(_POLL_S)
        except ServerError as error:
            return Failure(str(error))


async def _send(client: GrpcClient, token: str, config: str) -> None:
    """Send a config until the server answers; do not wait long for other models that are new to it, nor fail with them.

    A server answers when all new models are available or have failed. It has applied the config before, so if the same
    config comes again, no model is new, and Benison's server answers at once. Only an answer shows that a config has
    arrived: versions that are available may have been so before.

    Raises:
        ServerError: The server refused the config, did not answer in the client's time, or cannot be reached.
    """
    sent = [asyncio.create_task(client.reload(config, token=token))]
    try:
        answered, _ = await asyncio.wait(sent, timeout=ASK_AGAIN_S)
        if not answered:
            sent.append(asyncio.create_task(client.reload(config, token=token)))
            answered, _ = await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
        for answer in answered:
            await answer
    except ServerError as error:
        if error.code != "UNKNOWN" or _NOT_AVAILABLE not in error.message:
            raise
    finally:
        for task in sent:
            task.cancel()
        await asyncio.gather(*sent, return_exceptions=True)


def _failed_reload(error: ServerError, access: Access, timeout_s: float) -> Failure:
    """Return the failure of a server that did not take a config, or did not say so."""
    if error.code == "DEADLINE_EXCEEDED":
        return Failure(f"{error.code}: it did not answer the reload of its config within {timeout_s:g} s")
    if error.code == "UNAVAILABLE" and error.message.startswith(_NOT_CONNECTED):
        hint = access.hint(error.message)
        return Failure(f"{error}; {hint}" if hint else str(error), unchanged=True)
    return Failure(str(error), unchanged=error.code in _REFUSALS)


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
