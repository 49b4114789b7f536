"""Fan-out: the members as separate models, asked in parallel over TF Serving's gRPC and combined here.

Always the versions that the ensemble's manifest names: of members that move on one by one, half would be of another
training than the combiner was fitted to. A member that fails or is late is left out, and the answer says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from benison.serving.client import GrpcClient, ServerError
from benison.serving.ensemble import Ensemble
from benison.serving.errors import EnsembleError, VersionError
from benison.serving.versions.local import EXTRA, Version

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Self

DEADLINE_S = 1.0


@dataclass(frozen=True)
class Endpoint:
    """A model on a server.

    Attributes:
        target: `host:port` of gRPC, or `unix:PATH`.
        model: its name there.
        version: its number; None for the highest that is loaded.
        signature: which one is asked.
        output: its name of the prediction; empty: the ensemble's.
    """

    target: str
    model: str
    version: int | None = None
    signature: str = "raw"
    output: str = ""


@dataclass(frozen=True)
class Answer:
    """What the ensemble says.

    Attributes:
        values: float32 [batch, n].
        members: who answered, in the ensemble's order.
        failures: why the others did not, by member.
        outputs: each member's own output, float [batch, n].
    """

    values: np.ndarray[Any, Any]
    members: tuple[str, ...]
    failures: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)


class FanOut:
    """Asks an ensemble whose members are served apart; usable as an async context manager."""

    def __init__(
        self,
        ensemble: Ensemble,
        members: Mapping[str, Endpoint],
        *,
        transformer: Endpoint | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """Connects with the first request, once for each server.

        Args:
            ensemble: the spec.
            members: where each of its members is.
            transformer: a model whose outputs are the members' inputs; None where members take the inputs themselves.
            deadline_s: for each member's answer (seconds), all of them being asked at once.

        Raises:
            EnsembleError: a member has no endpoint.
        """
        homeless = [name for name in ensemble.members if name not in members]
        if homeless:
            raise EnsembleError(f"no endpoint for {', '.join(homeless)}; there are some for: {', '.join(members)}")
        self._ensemble = ensemble
        self._members = {name: members[name] for name in ensemble.members}
        self._transformer = transformer
        self._deadline_s = deadline_s
        endpoints = [*self._members.values(), *([transformer] if transformer else [])]
        self._clients = {target: GrpcClient(target, timeout=deadline_s) for target in {e.target for e in endpoints}}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        await self.close()

    async def predict(self, inputs: Mapping[str, Any]) -> Answer:
        """Asks every member and combines what comes in time.

        Args:
            inputs: numpy arrays [batch] by input, in the signature's dtypes.

        Raises:
            EnsembleError: fewer members than the quorum answered, or the combiner cannot do without one; it says why
                each of them did not. Or the answers are of different shapes.
            ServerError: the transformer did not answer.
        """
        if self._transformer is not None:
            inputs = await self._ask(self._transformer, inputs)
        wanted = self._ensemble.output
        names = {name: endpoint.output or wanted for name, endpoint in self._members.items()}
        asked = [self._ask(endpoint, inputs, [names[name]]) for name, endpoint in self._members.items()]
        answered = await asyncio.gather(*asked, return_exceptions=True)
        outputs: dict[str, Any] = {}
        failures: dict[str, str] = {}
        for name, said in zip(self._members, answered, strict=True):
            if isinstance(said, ServerError):
                failures[name] = str(said)
            elif isinstance(said, BaseException):
                raise said
            else:
                values = said[names[name]]
                outputs[name] = values if values.ndim > 1 else values.reshape(-1, 1)
        _check_same_shape(outputs)
        try:
            combined = self._ensemble.combine(outputs).numpy()
        except EnsembleError as error:
            why = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
            raise EnsembleError(f"{error}: {why}" if why else str(error)) from None
        return Answer(combined, tuple(outputs), failures, outputs)

    async def close(self) -> None:
        """Closes the channels."""
        await asyncio.gather(*(client.close() for client in self._clients.values()))

    async def _ask(
        self, endpoint: Endpoint, inputs: Mapping[str, Any], outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray[Any, Any]]:
        return await self._clients[endpoint.target].predict(
            endpoint.model, inputs, signature=endpoint.signature, version=endpoint.version, outputs=outputs
        )


def _check_same_shape(outputs: Mapping[str, Any]) -> None:
    if len({values.shape for values in outputs.values()}) > 1:
        shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in outputs.items())
        raise EnsembleError(f"the members' answers are of different shapes, so nothing can be combined: {shapes}")


def of_version(version: Version, targets: Mapping[str, str] | str, *, deadline_s: float = DEADLINE_S) -> FanOut:
    """The fan-out of a pushed ensemble, with the members' versions that its manifest names.

    Args:
        version: the ensemble's.
        targets: `host:port` by member, or one for all.
        deadline_s: see `FanOut`.

    Raises:
        VersionError: it was not pushed as a fan-out.
    """
    pins = version.manifest.get("fan_out")
    if not isinstance(pins, Mapping) or not pins:
        raise VersionError(
            f"version {version.number} was pushed as one fused model; push with `serving.fan_out: true` in the YAML"
        )
    members = {
        name: Endpoint(targets if isinstance(targets, str) else targets[name], pin["model"], pin["version"])
        for name, pin in pins.items()
    }
    return FanOut(Ensemble.load(version.path / EXTRA), members, deadline_s=deadline_s)
