"""The interface of an engine that has a graph: its signatures may take a faster route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from benison.serving.server.batching.tasks import PackedRun
from benison.serving.server.codec.packing import Group
from benison.serving.server.engine import Engine, Signature


@runtime_checkable
class GraphEngine(Engine, Protocol):
    """An engine that can inspect and extend its graph.

    Attributes:
        single_threaded: whether the calling thread does all the work of a run.
    """

    single_threaded: bool

    def prepare(self, signature: Signature) -> None:
        """Prepare the runs of a signature, so that the first one takes no longer than others.

        Raises:
            Exception: TensorFlow cannot run it.
        """

    def unbounded(self, signature: Signature) -> str:
        """Return the type of an operation with unlimited run time, such as a loop; empty if there is none."""

    def pack(self, signature: Signature, groups: Sequence[Group]) -> PackedRun:
        """Build a function that runs a signature with packed inputs.

        Raises:
            Exception: TensorFlow cannot build it.
        """
