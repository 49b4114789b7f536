"""Fan-out: the members are separate models that are called in parallel over TF Serving's gRPC and combined here.

It always calls the versions that the ensemble's manifest names, because the combiner was fitted to exactly these. A
member that fails or is late is left out, and the answer says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from benison.serving import missing_values
from benison.serving.client import GrpcClient, ServerError
from benison.serving.ensemble import Ensemble, read_custom
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
        model: Its name on the server.
        version: Its number; None for the highest loaded version.
        signature: The signature to call.
        output: The name of its prediction; if empty, the ensemble's.
        classes: The name of its output with the names of the classes [batch, n]; empty if it has none.
    """

    target: str
    model: str
    version: int | None = None
    signature: str = "raw"
    output: str = ""
    classes: str = ""


@dataclass(frozen=True)
class Answer:
    """The answer of an ensemble.

    Attributes:
        values: float32 [batch, n].
        members: The members that answered, in the ensemble's order.
        failures: The reasons of the others, by member.
        outputs: Each member's own output, float [batch, n].
        decision: The class that the ensemble decides for, bytes [batch]; None for a regression, and where the classes
            and the threshold are not known.
    """

    values: np.ndarray[Any, Any]
    members: tuple[str, ...]
    failures: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    decision: np.ndarray[Any, Any] | None = None


class FanOut:
    """A client of an ensemble whose members are served separately; an async context manager."""

    def __init__(
        self,
        ensemble: Ensemble,
        members: Mapping[str, Endpoint],
        *,
        transformer: Endpoint | None = None,
        deadline_s: float = DEADLINE_S,
        missing: Mapping[str, Any] | None = None,
        classes: Sequence[str] = (),
        arguments: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare one connection per server; each is opened by the first request.

        Args:
            ensemble: The spec.
            members: The endpoint of each member.
            transformer: A model whose outputs are the members' inputs; None if members take the inputs directly.
            deadline_s: For each member's answer (seconds); all members are called at the same time.
            missing: By input, the value to send in place of None and of an absent input.
            classes: The names of the classes in the members' order, for the decision; empty if they are not known.
            arguments: The input of each column, for requests with the columns' own names.

        Raises:
            EnsembleError: A member has no endpoint.
        """
        unbound = [name for name in ensemble.members if name not in members]
        if unbound:
            raise EnsembleError(f"no endpoint for {', '.join(unbound)}; there are endpoints for: {', '.join(members)}")
        self._ensemble = ensemble
        self._members = {name: members[name] for name in ensemble.members}
        self._transformer = transformer
        self._deadline_s = deadline_s
        self._missing = missing or {}
        self._arguments = arguments or {}
        self._classes = tuple(classes)
        endpoints = [*self._members.values(), *([transformer] if transformer else [])]
        self._clients = {target: GrpcClient(target, timeout=deadline_s) for target in {e.target for e in endpoints}}

    @classmethod
    def of_version(
        cls,
        version: Version,
        targets: Mapping[str, str] | str,
        *,
        deadline_s: float = DEADLINE_S,
        allow_code: str = "",
    ) -> FanOut:
        """Return a client for a pushed ensemble and the members' versions that its manifest names.

        Args:
            version: The ensemble's version.
            targets: `host:port` by member, or one for all.
            deadline_s: For each member's answer (seconds).
            allow_code: FILE:FUNCTION of the version's custom combiner. Its code in the version does not run unless this
                file contains the same.

        Raises:
            VersionError: It was not pushed as a fan-out.
            EnsembleError: It has a custom combiner that `allow_code` does not name.
            UsageError: `allow_code` cannot be read.
        """
        if not version.manifest.fan_out:
            raise VersionError(
                f"version {version.number} was pushed as one fused model; push with `serving.fan_out: true` in the YAML"
            )
        members = {
            name: Endpoint(targets if isinstance(targets, str) else targets[name], pin.model, pin.version)
            for name, pin in version.manifest.fan_out.items()
        }
        return cls(
            Ensemble.load(
                version.path / EXTRA, allow_code=read_custom(allow_code, "allow_code") if allow_code else False
            ),
            members,
            deadline_s=deadline_s,
            missing=version.missing_values,
            classes=version.manifest.classes,
            arguments=version.arguments,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        await self.close()

    async def predict(self, inputs: Mapping[str, Any]) -> Answer:
        """Call every member, and combine the answers that arrive in time.

        Args:
            inputs: numpy arrays [batch] by input or column, in the signature's dtypes; see `missing` and `arguments`.

        Raises:
            EnsembleError: Fewer members than the quorum answered, or the combiner needs one that did not; the message
                has the reason of each. Or the answers have different shapes, or other classes.
            ServerError: The transformer did not answer.
        """
        inputs = {self._arguments.get(name, name): values for name, values in inputs.items()}
        inputs = missing_values.fill_arrays(inputs, self._missing)
        if self._transformer is not None:
            inputs = await self._call(self._transformer, inputs)
        default = self._ensemble.output
        names = {name: endpoint.output or default for name, endpoint in self._members.items()}
        calls = [
            self._call(endpoint, inputs, [names[name], *([endpoint.classes] if endpoint.classes else [])])
            for name, endpoint in self._members.items()
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        outputs: dict[str, Any] = {}
        failures: dict[str, str] = {}
        classes: dict[str, tuple[str, ...]] = {}
        for name, answer in zip(self._members, answers, strict=True):
            if isinstance(answer, ServerError):
                failures[name] = str(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                values = answer[names[name]]
                outputs[name] = values if values.ndim > 1 else values.reshape(-1, 1)
                if (named := self._members[name].classes) and len(values):
                    classes[name] = tuple(text.decode() for text in answer[named][0])
        _check_same_shape(outputs)
        check_same_classes(classes)
        try:
            combined = self._ensemble.combine(outputs).numpy()
        except EnsembleError as error:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
            raise EnsembleError(f"{error}: {reasons}" if reasons else str(error)) from None
        decision = self._ensemble.decide(combined, self._classes).numpy() if self._classes else None
        return Answer(combined, tuple(outputs), failures, outputs, decision)

    async def close(self) -> None:
        """Close the channels."""
        await asyncio.gather(*(client.close() for client in self._clients.values()))

    async def _call(
        self, endpoint: Endpoint, inputs: Mapping[str, Any], outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray[Any, Any]]:
        return await self._clients[endpoint.target].predict(
            endpoint.model, inputs, signature=endpoint.signature, version=endpoint.version, outputs=outputs
        )


def check_same_classes(classes: Mapping[str, Sequence[str]]) -> None:
    """Check that the members name the same classes in the same order, because probabilities are combined by position.

    Args:
        classes: The names of the classes by member, of the members that name them.

    Raises:
        EnsembleError: They do not.
    """
    if len(set(map(tuple, classes.values()))) > 1:
        shown = "; ".join(f"{name}: {', '.join(names)}" for name, names in classes.items())
        raise EnsembleError(
            f"the members name different classes, or name them in another order, so they cannot be combined: {shown}"
        )


def _check_same_shape(outputs: Mapping[str, Any]) -> None:
    if len({values.shape for values in outputs.values()}) > 1:
        shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in outputs.items())
        raise EnsembleError(f"the members' answers have different shapes and cannot be combined: {shapes}")
