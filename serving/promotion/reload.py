"""Servers are told of a config, and waited for until they serve what it says."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from benison.serving.client import GrpcClient, ServerError, VersionStatus

TOKEN = "BENISON_ADMIN_TOKEN"
_LOOK_AGAIN_S = 0.1
_T = TypeVar("_T")


def reload_servers(
    servers: Sequence[str],
    config: str,
    wanted: Mapping[str, frozenset[int]],
    *,
    alone: bool = False,
    timeout_s: float,
) -> dict[str, str]:
    """Tells all servers at once, and waits until each of them serves what is wanted.

    Args:
        servers: host:port of gRPC. BENISON_ADMIN_TOKEN of the environment is shown to them.
        config: text proto ModelServerConfig.
        wanted: versions by model that must be AVAILABLE.
        alone: of these models no other version may be.
        timeout_s: for all of them (seconds).

    Returns:
        Why not, by server; empty if all got there.
    """

    async def tell_all() -> list[str]:
        return await asyncio.gather(*(_told(server, config, wanted, alone, timeout_s) for server in servers))

    answers = _run(tell_all()) if servers else []
    return {server: why for server, why in zip(servers, answers, strict=True) if why}


async def _told(server: str, config: str, wanted: Mapping[str, frozenset[int]], alone: bool, timeout_s: float) -> str:
    """Why a server did not get there; empty if it did."""
    until = time.monotonic() + timeout_s
    try:
        async with GrpcClient(server, timeout=timeout_s) as client:
            await client.reload(config, token=os.environ.get(TOKEN, ""))
            while True:
                missing = [
                    why
                    for model, numbers in wanted.items()
                    for why in _missing(model, await _status(client, model), numbers, alone)
                ]
                if not missing:
                    return ""
                failed = [why for why, final in missing if final]
                if failed or time.monotonic() > until:
                    return "; ".join(failed) or "; ".join(why for why, _ in missing) + f" after {timeout_s:g} s"
                await asyncio.sleep(_LOOK_AGAIN_S)
    except ServerError as error:
        return str(error)


async def _status(client: GrpcClient, model: str) -> list[VersionStatus]:
    try:
        return await client.status(model)
    except ServerError as error:
        if error.code == "NOT_FOUND":
            return []
        raise


def _missing(model: str, found: Sequence[VersionStatus], wanted: frozenset[int], alone: bool) -> list[tuple[str, bool]]:
    """What is not as wanted, and whether it will stay so."""
    by_number = {status.version: status for status in found}
    missing = []
    for number in sorted(wanted):
        status = by_number.get(number)
        if status is None:
            missing.append((f"model {model} version {number}: not seen", False))
        elif status.state != "AVAILABLE":
            failed = status.state == "END" and status.error_code != "OK"
            said = f" ({status.error_code}: {status.error_message})" if failed else ""
            missing.append((f"model {model} version {number}: {status.state}{said}", failed))
    if alone:
        more = sorted(s.version for s in found if s.state == "AVAILABLE" and s.version not in wanted)
        missing += [(f"model {model} version {number}: still AVAILABLE", False) for number in more]
    return missing


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    """Runs a coroutine to its end, in a notebook too, whose loop runs already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
