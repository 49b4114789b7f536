"""Whether a faster way answers as the plain one does: tried at load, on rows that models trip over.

Rows are made from the signature (missing values, text that no vocabulary has, NaN, large numbers, and rows in which
no two columns are alike), from the vocabularies among the version's assets, and from its warm-up requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.serving.server.codec import json_answers, json_tensors
from benison.serving.server.engine import Engine, Signature, Tensors, TensorSpec
from benison.serving.server.status import from_exception

if TYPE_CHECKING:
    import numpy as np

Row = Mapping[str, Any]

_BOUNDARIES: Mapping[str, Sequence[Any]] = {
    "float": (float("nan"), 0.0, -1.0, 1e30, -1e30, 0.5),
    "int": (-1, 0, 1, 100, -100, 5),
    "uint": (0, 1, 100, 2, 3, 5),
    "bool": (False, True),
    "string": ("", "no vocabulary has this", "0", "none but ASCII: é", "\x00", "a"),
}
_MIXED = 8  # rows in which each column has a value of its own
_PLACES = 31  # different values in one input, if it has so many per row
_MOST_FILES, _MOST_WORDS = 16, 8  # of the vocabularies
_LONGEST_WORD = 256
_MOST_WARM_UP_ROWS = 32


def rows(signature: Signature, path: str, warm_up: Sequence[Row] = ()) -> list[dict[str, Any]]:
    """Rows to try a signature with.

    Args:
        signature: with inputs of known sizes but for their first.
        path: the version's folder, whose `assets` hold vocabularies.
        warm_up: rows that the version brings along.

    Returns:
        Rows of JSON: one value or nested list per input.
    """
    words = list(_words(Path(path) / "assets")) or ["a"]
    boundaries = [_boundary_row(signature, position) for position in range(max(map(len, _BOUNDARIES.values())))]
    mixed = [_mixed_row(signature, position, words) for position in range(_MIXED)]
    half_missing = [
        {
            name: (boundaries[0] if (column + position) % 2 else mixed[position])[name]
            for column, name in enumerate(signature.inputs)
        }
        for position in range(2)
    ]
    return [*boundaries, *mixed, *half_missing, *map(dict, islice(warm_up, _MOST_WARM_UP_ROWS))]


def plain(engine: Engine, signature: Signature, some: Sequence[Row]) -> Tensors:
    """The outputs for rows of JSON, the plain way.

    Raises:
        Exception: as the engine, or a RequestError where the rows are none of this signature's.
    """
    inputs, _ = json_tensors.inputs({"instances": list(some)}, signature.inputs)
    return engine.run(signature, inputs, tuple(signature.outputs))


def good_rows(engine: Engine, signature: Signature, some: Sequence[Row]) -> tuple[list[Row], list[Tensors], list[Row]]:
    """The rows that the model can answer, their answers one by one, and the rows that it refuses."""
    good: list[Row] = []
    answers: list[Tensors] = []
    bad: list[Row] = []
    for row in some:
        try:
            answers.append(plain(engine, signature, [row]))
            good.append(row)
        except Exception:
            bad.append(row)
    return good, answers, bad


def dependence(engine: Engine, signature: Signature, good: Sequence[Row], alone: Sequence[Tensors]) -> str:
    """Why rows of different requests must not share a run; empty if they may.

    Args:
        engine: the version.
        signature: of it.
        good: rows that it can answer.
        alone: their answers.
    """
    whole = list(range(len(good)))
    for order in (whole, whole[::-1], whole[::2], whole[1::2]):
        together = plain(engine, signature, [good[index] for index in order])
        for position, index in enumerate(order):
            for name, values in together.items():
                if values.ndim == 0 or len(values) != len(order):
                    return f"output {name} has not one row per row of input"
                if not same(values[position : position + 1], alone[index][name]):
                    return f"output {name} of a row depends on the other rows"
    return ""


def difference(
    run: Callable[[Sequence[Row]], Tensors],
    signature: Signature,
    expected: Tensors,
    good: Sequence[Row],
    bad: Sequence[Row],
) -> str:
    """How a faster way differs from the plain one; empty if it does not.

    Args:
        run: the faster way, from rows to outputs.
        signature: of the version.
        expected: the plain outputs for the good rows.
        good: rows that the model can answer.
        bad: rows that it refuses.
    """
    try:
        got = run(good)
    except Exception as error:
        return f"it fails: {from_exception(error).message}"
    for name, values in expected.items():
        if name not in got or not same(got[name], values, relative=1e-5, absolute=1e-6):
            return f"output {name} differs"
    for row in bad:
        try:
            run([row])
        except Exception:
            continue
        return "it answers a row that is refused otherwise"
    sizes = [1] * len(good)
    parts = json_answers.split(got, sizes)
    plain_bodies = [json_answers.predictions(part, signature.outputs, True) for part in parts]
    if json_answers.prediction_bodies(got, signature.outputs, sizes) != plain_bodies:
        return "the answers' text differs"
    return ""


def same(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], relative: float = 1e-3, absolute: float = 1e-5) -> bool:
    """Equal but for the last bits: a matrix product of more rows may add in another order."""
    import numpy as np

    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind in "fc":
        return bool(np.allclose(a, b, rtol=relative, atol=absolute, equal_nan=True))
    return bool(np.array_equal(a, b))


def _words(assets: Path) -> Iterator[str]:
    """A few lines of each vocabulary."""
    if not assets.is_dir():
        return
    for file in sorted(assets.iterdir())[:_MOST_FILES]:
        try:
            with file.open("rb") as lines:
                for line in islice(lines, _MOST_WORDS):
                    yield line[:_LONGEST_WORD].rstrip(b"\r\n").decode()
        except (OSError, UnicodeDecodeError):
            continue


def _boundary_row(signature: Signature, position: int) -> dict[str, Any]:
    row = {}
    for name, spec in signature.inputs.items():
        values = _BOUNDARIES[_kind(spec)]
        row[name] = _filled(spec, [values[position % len(values)]])
    return row


def _mixed_row(signature: Signature, position: int, words: Sequence[str]) -> dict[str, Any]:
    row = {}
    for column, (name, spec) in enumerate(signature.inputs.items()):
        row[name] = _filled(spec, [_distinct(spec, position, column + place, words) for place in range(_PLACES)])
    return row


def _filled(spec: TensorSpec, values: Sequence[Any]) -> Any:
    """The values, again and again, in the shape of one row."""
    source = cycle(values)

    def fill(sizes: Sequence[int]) -> Any:
        return [fill(sizes[1:]) for _ in range(sizes[0])] if sizes else next(source)

    return fill((spec.shape or ())[1:])


def _kind(spec: TensorSpec) -> str:
    return spec.dtype.rstrip("0123456789")


def _distinct(spec: TensorSpec, row: int, column: int, words: Sequence[str]) -> Any:
    kind = _kind(spec)
    if kind == "float":
        return round(0.37 * (column + 1) * (-1) ** row + row, 3)
    if kind == "string":
        return words[(row + column) % len(words)]
    if kind == "bool":
        return (row + column) % 2 == 0
    return (row * 7 + column) % 100
