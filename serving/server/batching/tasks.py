"""What a run is made of: requests of the same kind, joined, and their answers, cut apart again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from benison.serving.server.codec import json_answers, packing
from benison.serving.server.codec.packing import Group, Parts
from benison.serving.server.engine import Engine, Signature, Tensors
from benison.serving.server.inference import Call

if TYPE_CHECKING:
    import numpy as np

PackedRun = Callable[[Sequence["np.ndarray[Any, Any]"]], Tensors]


class BatchTask(Protocol):
    """One request, as a run sees it."""

    @property
    def signature(self) -> str:
        """The signature's name."""

    @property
    def rows(self) -> int:
        """That may share a run with others; 0 if they may not."""

    @property
    def key(self) -> Any:
        """Equal for requests that may share a run."""

    def run(self, works: Sequence[Any], filling: int) -> list[Any]:
        """One run for several.

        Args:
            works: of this one's key, this one among them.
            filling: rows to add, so that the run has an allowed size.

        Returns:
            The answer to each.

        Raises:
            NotOneRowEach: the answers cannot be cut apart.
            Exception: TensorFlow's.
        """


class NotOneRowEach(ValueError):
    """An output has not one row per row of input."""


class CallTask:
    """A call with a tensor per input; its answer is a tensor per output."""

    def __init__(self, engine: Engine, call: Call) -> None:
        self._engine = engine
        self._call = call
        self.signature = call.signature.name
        self.rows = _rows(call)
        shapes = tuple(call.inputs[name].shape[1:] for name in call.signature.inputs)
        self.key: tuple[Any, ...] = (call.signature.name, call.outputs, shapes)

    def run(self, works: Sequence[CallTask], filling: int) -> list[Tensors]:
        """See Work."""
        import numpy as np

        call = self._call
        if len(works) == 1 and not filling:
            return [self._engine.run(call.signature, call.inputs, call.outputs)]
        inputs = {
            name: np.concatenate([work._call.inputs[name] for work in works] + [call.inputs[name][:1]] * filling)
            for name in call.signature.inputs
        }
        outputs = self._engine.run(call.signature, inputs, call.outputs)
        sizes = [work.rows for work in works]
        check_rows(outputs, sum(sizes) + filling)
        return list(json_answers.split(outputs, sizes))


class PackedSignature:
    """A signature whose inputs are packed, from rows of JSON to bodies of JSON."""

    def __init__(self, signature: Signature, groups: Sequence[Group], run: PackedRun) -> None:
        """As loaded.

        Args:
            signature: the version's.
            groups: its inputs, packed.
            run: from an array [inputs, rows] per group to all outputs.
        """
        self.name = signature.name
        self.key = (signature.name, "packed")
        self.read = packing.reader(groups)
        self._signature = signature
        self._groups = groups
        self._run = run

    def outputs(self, parts: Sequence[Parts]) -> Tensors:
        """All outputs for the rows of several requests."""
        return self._run(packing.arrays(self._groups, parts))

    def bodies(self, parts: Sequence[Parts], sizes: Sequence[int]) -> list[bytes]:
        """The answers to several requests.

        Args:
            parts: of each.
            sizes: rows of each.
        """
        outputs = self.outputs(parts)
        check_rows(outputs, sum(sizes))
        return json_answers.prediction_bodies(outputs, self._signature.outputs, sizes)


class PackedRowsTask:
    """Rows of JSON for a packed signature; their answer is the body of a response. Never filled up."""

    __slots__ = ("key", "parts", "rows", "signature", "target")

    def __init__(self, target: PackedSignature, parts: Parts, rows: int) -> None:
        self.target = target
        self.parts = parts
        self.rows = rows
        self.signature = target.name
        self.key = target.key

    def run(self, works: Sequence[PackedRowsTask], filling: int) -> list[bytes]:
        """See Work."""
        return self.target.bodies([work.parts for work in works], [work.rows for work in works])


class JsonRowsTask(CallTask):
    """A call whose answer is the body of a response in row form."""

    def __init__(self, engine: Engine, call: Call) -> None:
        super().__init__(engine, call)
        self.key = (*self.key, "rows")

    def run(self, works: Sequence[CallTask], filling: int) -> list[Any]:
        """See Work."""
        specs = self._call.signature.outputs
        return [json_answers.predictions(answer, specs, True) for answer in super().run(works, filling)]


def check_rows(outputs: Tensors, rows: int) -> None:
    """Refuses outputs that cannot be cut apart.

    Raises:
        NotOneRowEach: one has another number of rows.
    """
    wrong = [name for name, values in outputs.items() if values.ndim == 0 or values.shape[0] != rows]
    if wrong:
        raise NotOneRowEach(f"{', '.join(wrong)}: not one row per row of input")


def _rows(call: Call) -> int:
    if not call.signature.batched:
        return 0
    sizes = {values.shape[0] if values.ndim else 0 for values in call.inputs.values()}
    return sizes.pop() if len(sizes) == 1 else 0
