"""Tasks: requests as the runner sees them. Tasks with equal keys share a run, and the answers are split again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from benison.serving.server.codec import json_answers, packing
from benison.serving.server.codec.packing import Group, PackedRows
from benison.serving.server.engine import Engine, Signature, Tensors, TensorSpec
from benison.serving.server.inference import Call

if TYPE_CHECKING:
    import numpy as np

PackedRun = Callable[[Sequence["np.ndarray[Any, Any]"]], Tensors]


class BatchTask(Protocol):
    """One request, as the runner sees it."""

    @property
    def signature(self) -> str:
        """The signature's name."""

    @property
    def rows(self) -> int:
        """The number of rows; 0 if the request must not share a run."""

    @property
    def key(self) -> Any:
        """A value that is equal for requests that may share a run."""

    def run(self, tasks: Sequence[Any], padding: int, seconds: int) -> list[Any]:
        """Run several tasks at once.

        Args:
            tasks: tasks with this task's key, including this task.
            padding: the number of rows to add so that the run has an allowed size.
            seconds: the time after which the engine stops the run; see `Engine`.

        Returns:
            The answer to each task.

        Raises:
            RowCountMismatch: The answers cannot be split.
            Exception: TensorFlow failed.
        """


class RowCountMismatch(ValueError):
    """An output does not have one row per input row."""


class CallTask:
    """A call with one tensor per input; its answer has one tensor per output."""

    def __init__(self, engine: Engine, call: Call) -> None:
        self._engine = engine
        self._call = call
        self.signature = call.signature.name
        self.rows = _rows(call)
        shapes = tuple(call.inputs[name].shape[1:] for name in call.signature.inputs)
        self.key: tuple[Any, ...] = (call.signature.name, call.outputs, shapes)

    def run(self, tasks: Sequence[CallTask], padding: int, seconds: int) -> list[Tensors]:
        """See `BatchTask`."""
        import numpy as np

        call = self._call
        if len(tasks) == 1 and not padding:
            return [self._engine.run(call.signature, call.inputs, call.outputs, seconds)]
        inputs = {
            name: np.concatenate([task._call.inputs[name] for task in tasks] + [call.inputs[name][:1]] * padding)
            for name in call.signature.inputs
        }
        outputs = self._engine.run(call.signature, inputs, call.outputs, seconds)
        sizes = [task.rows for task in tasks]
        check_rows(outputs, sum(sizes) + padding)
        return list(json_answers.split(outputs, sizes))


class PackedSignature:
    """A signature with packed inputs: it turns rows of JSON into response bodies, and few tensors into few tensors."""

    def __init__(self, signature: Signature, groups: Sequence[Group], run: PackedRun) -> None:
        """Prepare the signature of a loaded version.

        Args:
            signature: one of the version's signatures.
            groups: its inputs, grouped by type.
            run: computes all outputs from one array [rows, inputs] per group.
        """
        self.name = signature.name
        self.key = (signature.name, "packed")
        self.tensors_key = (*self.key, "tensors")
        self.read = packing.reader(groups)
        self.read_tensors = packing.tensor_reader(groups)
        self._signature = signature
        self._groups = groups
        self._run = run

    def outputs(self, packed_rows: Sequence[PackedRows]) -> Tensors:
        """Compute all outputs for the rows of several requests."""
        return self._run(packing.arrays(self._groups, packed_rows))

    def response_bodies(self, packed_rows: Sequence[PackedRows], sizes: Sequence[int]) -> list[bytes]:
        """Compute the response bodies for several requests.

        Args:
            packed_rows: the rows of each request.
            sizes: the number of rows of each request.
        """
        outputs, specs = self.outputs(packed_rows), self._signature.outputs
        try:
            check_rows(outputs, sum(sizes))
        except RowCountMismatch:
            if len(sizes) > 1:
                raise
            return [json_answers.predictions(outputs, specs, True)]  # of a signature that mixes rows
        return json_answers.prediction_bodies(outputs, specs, sizes)

    def split_outputs(self, packed_rows: Sequence[PackedRows], sizes: Sequence[int]) -> list[Tensors]:
        """Compute the outputs for several requests; see `response_bodies`."""
        outputs = self.outputs(packed_rows)
        if len(sizes) == 1:
            return [outputs]
        check_rows(outputs, sum(sizes))
        return list(json_answers.split(outputs, sizes))


class PackedRowsTask:
    """Rows of JSON for a packed signature; the answer is a response body. They are never padded."""

    __slots__ = ("key", "packed_rows", "rows", "signature", "target")

    def __init__(self, target: PackedSignature, packed_rows: PackedRows, rows: int) -> None:
        self.target = target
        self.packed_rows = packed_rows
        self.rows = rows
        self.signature = target.name
        self.key: tuple[str, ...] = target.key

    def run(self, tasks: Sequence[PackedRowsTask], padding: int, seconds: int) -> list[Any]:
        """See `BatchTask`."""
        return self.target.response_bodies([task.packed_rows for task in tasks], [task.rows for task in tasks])


class PackedTensorsTask(PackedRowsTask):
    """Rows of tensors for a packed signature; the answer has one tensor per output. They are never padded."""

    __slots__ = ()

    def __init__(self, target: PackedSignature, packed_rows: PackedRows, rows: int) -> None:
        super().__init__(target, packed_rows, rows)
        self.key = target.tensors_key

    def run(self, tasks: Sequence[PackedRowsTask], padding: int, seconds: int) -> list[Any]:
        """See `BatchTask`."""
        return self.target.split_outputs([task.packed_rows for task in tasks], [task.rows for task in tasks])


class JsonRowsTask(CallTask):
    """A call whose answer is a response body in row form."""

    def __init__(self, engine: Engine, call: Call) -> None:
        super().__init__(engine, call)
        self.key = (*self.key, "rows")

    def run(self, tasks: Sequence[CallTask], padding: int, seconds: int) -> list[Any]:
        """See `BatchTask`."""
        specs = self._call.signature.outputs
        return [json_answers.predictions(answer, specs, True) for answer in super().run(tasks, padding, seconds)]


def check_rows(outputs: Tensors, rows: int) -> None:
    """Refuse outputs that cannot be split by request.

    Raises:
        RowCountMismatch: An output has a different number of rows.
    """
    if wrong := wrong_outputs(outputs, rows):
        raise RowCountMismatch(f"{', '.join(wrong)}: does not have one row per input row")


def wrong_outputs(outputs: Tensors, rows: int) -> list[str]:
    """Return the names of the outputs that do not have one row per input row."""
    return [name for name, values in outputs.items() if values.ndim == 0 or values.shape[0] != rows]


def _rows(call: Call) -> int:
    """Return the number of rows of a call; 0 if it must not share a run.

    What the graph says about rows holds for inputs of the declared shapes; TensorFlow takes others too.
    """
    signature = call.signature
    if not signature.batched or not all(_has_shape(call.inputs[name], spec) for name, spec in signature.inputs.items()):
        return 0
    sizes = {values.shape[0] if values.ndim else 0 for values in call.inputs.values()}
    return sizes.pop() if len(sizes) == 1 else 0


def _has_shape(values: np.ndarray[Any, Any], spec: TensorSpec) -> bool:
    shape = spec.shape or ()
    return values.ndim == len(shape) and all(b in (a, -1) for a, b in zip(values.shape, shape, strict=True))
