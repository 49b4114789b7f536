"""Compares a faster route with the plain one at load, on probe rows that models are likely to fail on.

The probe rows come from the signature (missing values, text outside every vocabulary, NaN, large numbers, and rows in
which no two columns are equal), from the vocabularies among the version's assets, and from its warm-up requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benison.serving import vocabulary_lines
from benison.serving.server.codec import json_answers, json_tensors
from benison.serving.server.engine import Signature, Tensors, TensorSpec
from benison.serving.server.status import from_exception

if TYPE_CHECKING:
    import numpy as np

Row = Mapping[str, Any]


class Runs(Protocol):
    """An engine, or the trials of one."""

    def run(self, signature: Signature, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        """Run a signature; see `Engine`."""


_BOUNDARIES: Mapping[str, Sequence[Any]] = {
    "float": (float("nan"), 0.0, -1.0, 1e30, -1e30, 0.5),
    "int": (-1, 0, 1, 100, -100, 5),
    "uint": (0, 1, 100, 2, 3, 5),
    "bool": (False, True),
    "string": ("", "no vocabulary has this", "0", "not ASCII: é", "\x00", "a"),
}
_MIXED_ROWS = 8  # rows in which each column has a different value
_DISTINCT_VALUES = 31  # in one input, if its rows have that many values
_MAX_VOCABULARIES, _MAX_WORDS = 16, 8
_MAX_WORD_BYTES = 256
_MAX_WARM_UP_ROWS = 32


def probe_rows(signature: Signature, path: str, warm_up: Sequence[Row] = ()) -> list[dict[str, Any]]:
    """Return rows to test a signature with.

    Args:
        signature: the signature; only the first dimension of an input may be unknown.
        path: the version's folder, whose `assets` hold vocabularies.
        warm_up: rows from the version's warm-up requests.

    Returns:
        Rows of JSON: one value or nested list per input.
    """
    words = list(_words(Path(path) / "assets")) or ["a"]
    boundaries = [_boundary_row(signature, position) for position in range(max(map(len, _BOUNDARIES.values())))]
    mixed = [_mixed_row(signature, position, words) for position in range(_MIXED_ROWS)]
    missing = {**boundaries[0], **signature.missing}
    half_missing = [
        {
            name: (missing if (column + position) % 2 else mixed[position])[name]
            for column, name in enumerate(signature.inputs)
        }
        for position in range(2)
    ]
    missing_rows = [missing] if signature.missing else []
    return [*missing_rows, *boundaries, *mixed, *half_missing, *map(dict, islice(warm_up, _MAX_WARM_UP_ROWS))]


def plain_outputs(engine: Runs, signature: Signature, rows: Sequence[Row]) -> Tensors:
    """Return the outputs for rows of JSON on the plain route.

    Raises:
        RequestError: The rows do not fit the signature.
        Exception: The engine failed.
    """
    inputs, _ = json_tensors.read_inputs({"instances": list(rows)}, signature.inputs)
    return engine.run(signature, inputs, tuple(signature.outputs))


def run_each_row(engine: Runs, signature: Signature, rows: Sequence[Row]) -> tuple[list[Row], list[Tensors], list[Row]]:
    """Run every row alone; return the rows that the model accepts, their outputs, and the rows that it rejects."""
    accepted: list[Row] = []
    outputs: list[Tensors] = []
    rejected: list[Row] = []
    for row in rows:
        try:
            outputs.append(plain_outputs(engine, signature, [row]))
            accepted.append(row)
        except Exception:
            rejected.append(row)
    return accepted, outputs, rejected


def batching_blocker(engine: Runs, signature: Signature, rows: Sequence[Row], outputs: Sequence[Tensors]) -> str:
    """Return why rows of different requests must not share a run; empty if they may.

    Args:
        engine: the loaded version.
        signature: one of the version's signatures.
        rows: rows that the model accepts.
        outputs: the outputs for each of these rows alone.
    """
    all_rows = list(range(len(rows)))
    for order in (all_rows, all_rows[::-1], all_rows[::2], all_rows[1::2]):
        batched = plain_outputs(engine, signature, [rows[index] for index in order])
        for position, index in enumerate(order):
            for name, values in batched.items():
                if values.ndim == 0 or len(values) != len(order):
                    return f"output {name} does not have one row per input row"
                if not nearly_equal(values[position : position + 1], outputs[index][name]):
                    return f"output {name} of a row depends on the other rows"
    return ""


def first_difference(
    run: Callable[[Sequence[Row]], Tensors],
    signature: Signature,
    expected: Tensors,
    accepted: Sequence[Row],
    rejected: Sequence[Row],
) -> str:
    """Return how a faster route first differs from the plain one; empty if it does not.

    Args:
        run: the faster route, from rows to outputs.
        signature: one of the version's signatures.
        expected: the plain outputs for the accepted rows.
        accepted: rows that the model accepts.
        rejected: rows that the model rejects.
    """
    try:
        outputs = run(accepted)
    except Exception as error:
        return f"it fails: {from_exception(error).message}"
    for name, values in expected.items():
        if name not in outputs or not nearly_equal(outputs[name], values, relative=1e-5, absolute=1e-6):
            return f"output {name} differs"
    for row in rejected:
        try:
            run([row])
        except Exception:
            continue
        return "it answers a row that the plain route rejects"
    sizes = [1] * len(accepted)
    plain_bodies = [
        json_answers.predictions(row, signature.outputs, True) for row in json_answers.split(outputs, sizes)
    ]
    if json_answers.prediction_bodies(outputs, signature.outputs, sizes) != plain_bodies:
        return "the text of the answers differs"
    return ""


def nearly_equal(
    a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], relative: float = 1e-3, absolute: float = 1e-5
) -> bool:
    """Return whether two arrays are equal except for rounding; a larger matrix product may add in a different order."""
    import numpy as np

    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind in "fc":
        return bool(np.allclose(a, b, rtol=relative, atol=absolute, equal_nan=True))
    return bool(np.array_equal(a, b))


def _words(assets: Path) -> Iterator[str]:
    """Yield a few lines of each vocabulary."""
    if not assets.is_dir():
        return
    for file in sorted(assets.iterdir())[:_MAX_VOCABULARIES]:
        try:
            with file.open("rb") as lines:
                words = _of_columns(lines) if file.suffix == vocabulary_lines.SUFFIX else islice(lines, _MAX_WORDS)
                for line in words:
                    yield line[:_MAX_WORD_BYTES].rstrip(b"\r\n").decode()
        except (OSError, UnicodeDecodeError):
            continue


def _of_columns(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a few values of each column of a vocabulary of several columns, for as many columns as vocabularies."""
    counts: Counter[int] = Counter()
    for line in lines:
        column, word = vocabulary_lines.value(line) or (-1, b"")
        if column >= _MAX_VOCABULARIES:
            return
        counts[column] += 1
        if column >= 0 and counts[column] <= _MAX_WORDS:
            yield word


def _boundary_row(signature: Signature, position: int) -> dict[str, Any]:
    row = {}
    for name, spec in signature.inputs.items():
        values = _BOUNDARIES[_type_family(spec)]
        row[name] = _fill_shape(spec, [values[position % len(values)]])
    return row


def _mixed_row(signature: Signature, position: int, words: Sequence[str]) -> dict[str, Any]:
    row = {}
    for column, (name, spec) in enumerate(signature.inputs.items()):
        values = [_distinct_value(spec, position, column + index, words) for index in range(_DISTINCT_VALUES)]
        row[name] = _fill_shape(spec, values)
    return row


def _fill_shape(spec: TensorSpec, values: Sequence[Any]) -> Any:
    """Repeat the values to fill the shape of one row."""
    source = cycle(values)

    def fill(sizes: Sequence[int]) -> Any:
        return [fill(sizes[1:]) for _ in range(sizes[0])] if sizes else next(source)

    return fill((spec.shape or ())[1:])


def _type_family(spec: TensorSpec) -> str:
    return spec.dtype.rstrip("0123456789")


def _distinct_value(spec: TensorSpec, row: int, column: int, words: Sequence[str]) -> Any:
    family = _type_family(spec)
    if family == "float":
        return round(0.37 * (column + 1) * (-1) ** row + row, 3)
    if family == "string":
        return words[(row + column) % len(words)]
    if family == "bool":
        return (row + column) % 2 == 0
    return (row * 7 + column) % 100
