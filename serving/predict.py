"""Predictions of a pushed version in this process."""

from __future__ import annotations

import json
import numbers
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benison.serving import missing_values, unseen_values
from benison.serving.close_names import closest, did_you_mean
from benison.serving.ensemble.spec import decide
from benison.serving.errors import DataError, VersionError
from benison.serving.explanations import background as background_rows
from benison.serving.explanations import shapley
from benison.serving.number_text import finite_number, whole_number
from benison.serving.rows.read import Row as Row
from benison.serving.rows.read import read_rows as read_rows
from benison.serving.signature_names import argument_names
from benison.serving.versions import condition, local
from benison.serving.versions.local import Version

_MISSPELT = 0.8  # likeness from which a column that no input uses is probably a missing one, misspelt


class UnseenValues(UserWarning):
    """Rows have values that the model does not know, so its answers are not about them; one warning per column."""


@dataclass(frozen=True)
class Prediction:
    """The prediction for one row.

    Attributes:
        output: Float by class name, or {"prediction": float} for regression.
        members: The same by member; empty unless requested.
        decision: The class that the version decides for; '' for regression and for older versions.
        member_decisions: The class that each member would decide for at the version's threshold; empty for regression.
        interval: The ends of the answer's interval; None for classes, and for a version without one.
        explanation: The shares of the columns in the answer; None unless `explain` made it.
    """

    output: Mapping[str, float]
    members: Mapping[str, Mapping[str, float]]
    decision: str = ""
    member_decisions: Mapping[str, str] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    explanation: shapley.Explanation | None = None


@dataclass(frozen=True)
class ExplanationCost:
    """The cost of the explanations of some rows.

    Attributes:
        background_rows: The number of rows of `train` that they compare with.
        calls: How often the model was called.
        scored_rows: How many rows it has answered.
        seconds: The time that it took.
    """

    background_rows: int
    calls: int
    scored_rows: int
    seconds: float


def explain(
    version: Version, rows: Sequence[Row], *, members: bool = False, verify: bool = True
) -> tuple[list[Prediction], ExplanationCost]:
    """Predict as `predict` does, and explain each answer by the columns of its row.

    Returns:
        The predictions with `explanation`, and what the explanations cost.

    Raises:
        VersionError: The version has no background rows; and what `predict` raises.
    """
    background = background_rows.read(version.path)
    if background is None:
        raise VersionError(
            f"{version.path}: the version has no background rows, so its answers cannot be explained: it is of an "
            "older release, or `serving.background` was 0"
        )
    if not rows:
        return [], ExplanationCost(len(next(iter(background.values()))), 0, 0, 0.0)
    model = _Model.load(version, verify)
    inputs = model.inputs(rows)
    predictions = model.predict(inputs, members)
    started = time.monotonic()
    explained = _answered(
        shapley.explain(
            inputs, background, lambda answers: shapley.targets(answers, model.classes, version.manifest.positive)
        ),
        lambda values: model.output(model.answer(values)),
    )
    seconds = time.monotonic() - started
    columns = {name: cell.column or name for name, cell in model.cells.items()}
    with_columns = [
        replace(explanation, shares={columns[name]: share for name, share in explanation.shares.items()})
        for explanation in explained.explanations
    ]
    return (
        [replace(p, explanation=explanation) for p, explanation in zip(predictions, with_columns, strict=True)],
        ExplanationCost(explained.background_rows, explained.calls, explained.scored_rows, seconds),
    )


def predict(version: Version, rows: Sequence[Row], *, members: bool = False, verify: bool = True) -> list[Prediction]:
    """Call a version's `raw` signature, and its `members` signature on request.

    Args:
        version: A pushed version.
        rows: Values by raw feature; None, an absent key and the pipeline's marks for missing values are missing. Other
            columns are ignored.
        members: Also return the prediction of each member.
        verify: Compare all files of the version with its manifest first.

    Warns:
        UnseenValues: A column has values that the model does not know, such as 1.0 where it knows 1; or no row has the
            column.

    Raises:
        DataError: A required feature is missing in a row, or a feature has the wrong type; the message names row and
            feature. Or an answer is NaN or infinite.
        VersionError: The version is damaged or has no such signature.
    """
    if not rows:
        return []
    model = _Model.load(version, verify)
    return model.predict(model.inputs(rows), members)


@dataclass
class _Model:
    """A loaded version.

    Attributes:
        version: The version.
        signatures: Its signatures by name.
        specs: The inputs of the signature `raw` by name.
        cells: How to read the cells of each input; empty until rows are read.
        classes: Names of the classes by id; empty for regression, or until it has answered.
    """

    version: Version
    signatures: Mapping[str, Any]
    specs: Mapping[str, Any]
    loaded: Any
    cells: dict[str, _Cells] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    @classmethod
    def load(cls, version: Version, verify: bool) -> _Model:
        if verify and (state := condition.check(version.path)).is_damaged:
            raise local.damage(version.path.parent, version.number, state.problems)
        import tensorflow as tf

        loaded = tf.saved_model.load(str(version.path))
        signatures = loaded.signatures
        _require("raw", signatures, version)
        # Sorted, because their order changes from run to run in newer TensorFlow: the first mistake is always the same.
        specs = dict(sorted(signatures["raw"].structured_input_signature[1].items()))
        return cls(version, signatures, specs, loaded)  # without `loaded`, its variables would be gone

    def inputs(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return arrays [rows] or [rows, n] by input; warn of values that the model does not know."""
        import tensorflow as tf

        described = missing_values.read_inputs(self.version.path)
        rows = [_by_input(row, described) for row in rows]
        cells = _cells(self.version, described, {name: spec.dtype for name, spec in self.specs.items()}, rows)
        values: dict[str, list[Any]] = {
            name: cells[name].lists(rows, spec.shape[1]) if spec.shape.rank == 2 else cells[name].values(rows)
            for name, spec in self.specs.items()
        }
        unseen = unseen_values.find(self.version, values, {name: cell.missing for name, cell in cells.items()})
        for line in [*_absent(rows, cells), *unseen]:
            warnings.warn(line, UnseenValues, stacklevel=3)
        self.cells = cells
        return {name: tf.constant(values[name], spec.dtype).numpy() for name, spec in self.specs.items()}

    def answer(self, inputs: Mapping[str, Any], signature: str = "raw") -> dict[str, Any]:
        """Return the arrays of a signature's outputs."""
        import tensorflow as tf

        _require(signature, self.signatures, self.version)
        tensors = {name: tf.constant(inputs[name], spec.dtype) for name, spec in self.specs.items()}
        return {name: value.numpy() for name, value in self.signatures[signature](**tensors).items()}

    def output(self, answer: Mapping[str, Any]) -> Any:
        """Return the numbers of an answer [rows, k]."""
        return answer["probabilities"] if "classes" in answer else answer["prediction"]

    def predict(self, inputs: Mapping[str, Any], members: bool) -> list[Prediction]:
        """Return the predictions for inputs."""
        if members:
            _require("members", self.signatures, self.version)
        version, answer = self.version, self.answer(inputs)
        self.classes = tuple(name.decode() for name in answer["classes"][0]) if "classes" in answer else ()
        names, output = list(self.classes) or ["prediction"], self.output(answer)
        by_member = self.answer(inputs, "members") if members else {}
        _refuse_not_finite({"the ensemble": output, **by_member}, inputs, self.cells)
        decisions = {
            name: decide(values, names, version.manifest.threshold).numpy()
            for name, values in (by_member if self.classes else {}).items()
        }
        intervals = _intervals(version, output)
        shown = [member for member in version.manifest.members or sorted(by_member) if member in by_member]
        return [
            Prediction(
                output=_named(names, output[i]),
                members={member: _named(names, by_member[member][i]) for member in shown},
                decision=answer["decision"][i].decode() if "decision" in answer else "",
                member_decisions={member: values[i].decode() for member, values in decisions.items()},
                interval=intervals[i] if intervals else None,
            )
            for i in range(len(output))
        ]


def _require(name: str, signatures: Mapping[str, Any], version: Version) -> None:
    if name not in signatures:
        raise VersionError(f"{version.path}: no signature {name!r}; it has {', '.join(sorted(signatures))}")


def _answered(steps: Generator[Any, Any, shapley.Explained], answer: Callable[[Any], Any]) -> shapley.Explained:
    """Run a generator that asks for the model's answers; see `shapley.explain`."""
    try:
        inputs = next(steps)
        while True:
            inputs = steps.send(answer(inputs))
    except StopIteration as end:
        return end.value


def _intervals(version: Version, output: Any) -> list[tuple[float, float]]:
    """Return the ends of the interval of each answer [rows, 1]; empty if the version has none."""
    interval = version.manifest.interval
    if interval is None or output.shape[1] != 1:
        return []
    low, high = interval.bounds(output[:, 0].astype("float64"))
    return list(zip(low.tolist(), high.tolist(), strict=True))


@dataclass(frozen=True)
class _Cells:
    """The cells of one input.

    Attributes:
        name: The input.
        dtype: TensorFlow's type.
        marks: The texts that mean "no value".
        form: How texts write numbers, see `number_text`.
        missing: The value for a missing cell; None if the schema requires one in every row.
        unused: Names in the rows that are not inputs, one of which may be this one, misspelt.
        column: The column of the input, as the user writes it; '' if it has the same name.
    """

    name: str
    dtype: Any
    marks: frozenset[str] = frozenset({""})
    form: str = "."
    missing: Any = None
    unused: frozenset[str] = frozenset()
    column: str = ""

    def values(self, rows: Sequence[Row]) -> list[Any]:
        """Return the input's value of each row.

        Raises:
            DataError: A row has no value or a wrong one.
        """
        return [self._value(number, row) for number, row in enumerate(rows, start=1)]

    def lists(self, rows: Sequence[Row], length: int | None) -> list[list[Any]]:
        """Return the input's list of each row, shorter ones filled up with the value for a missing cell.

        Args:
            rows: The rows.
            length: The number of values of each row; None for any number.

        Raises:
            DataError: A row has no list or a wrong one.
        """
        column, expected = self.column or self.name, f"a list of {'' if length is None else f'{length} '}values"
        found: list[list[Any]] = []
        for number, row in enumerate(rows, start=1):
            values = row.get(self.name)
            if length is None and values is None and self.name in row:
                values = []
            if not isinstance(values, (list, tuple)) or (length is not None and len(values) != length):
                got = f"got {_shown(values)}" if self.name in row else "no such column"
                raise DataError(
                    f"row {number}, column {column!r}: {got}, expected {expected}; a CSV has none: use a JSON file"
                )
            found.append([self._value(number, {self.name: value}) for value in values])
        filler = missing_values.marker(self.dtype.name)
        longest = max([1, *map(len, found)]) if length is None else length
        return [[*values, *[filler] * (longest - len(values))] for values in found]

    def _value(self, number: int, row: Row) -> Any:
        column = self.column or self.name
        if self.name not in row and (self.missing is None or closest(column, self.unused, _MISSPELT)):
            hint = did_you_mean(column, self.unused)
            raise DataError(f"row {number}: no column {column!r}{hint}; it has {', '.join(sorted(row))}")
        value = row.get(self.name)
        if value is None or value != value or str(value) in self.marks:  # NaN differs from itself
            if self.missing is None:
                raise DataError(
                    f"row {number}, column {column!r}: no value, but the schema requires one in every row; give a "
                    "value, or let the schema allow missing ones (without `shape`) and train again"
                )
            return self.missing
        try:
            return self._convert(value)
        except (ValueError, TypeError, OverflowError):
            raise DataError(
                f"row {number}, column {column!r}: got {_shown(value)}, expected {self._expected}"
            ) from None

    def _convert(self, value: Any) -> Any:
        # Other objects have a text or a number too, but not one that training data has: 5.0 is not the category '5'.
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not isinstance(value, str) and not is_number:
            raise TypeError(value)
        if self.dtype.name == "string":
            if not isinstance(value, (str, numbers.Integral)):
                raise TypeError(value)
            str(value).encode()  # half a surrogate pair, which only JSON can contain, is no text
            return str(value)
        if self.dtype.is_floating:
            return finite_number(value, self.form)
        return _known_integer(whole_number(value, self.form, zeros=True))

    @property
    def _expected(self) -> str:
        if self.dtype.name == "string":
            return "text"
        if self.dtype.is_floating:
            return "a finite number"
        return f"a whole number above {missing_values.MISSING_INTEGER}, which stands for a missing one"


def _absent(rows: Sequence[Row], cells: Mapping[str, _Cells]) -> list[str]:
    """Return a line about each column that no row has."""
    present = {name for row in rows for name in row}
    absent = [cell.column or name for name, cell in cells.items() if name not in present]
    return [f"column {column!r}: no row has it, so it counts as missing in all {len(rows)}" for column in absent]


def _by_input(row: Row, described: Mapping[str, Mapping[str, Any]] | None) -> Row:
    """Return a row by input instead of by column.

    Args:
        row: Values by column or input.
        described: The version's inputs. They decide, because the names that a row happens to have do not: a column that
            the version does not know, such as `body_mass`, must not become the input of `body mass`.
    """
    if described is None:
        return {argument: row[name] for name, argument in argument_names(row).items()}
    inputs = {value["column"]: name for name, value in described.items()}
    others = {name: value for name, value in row.items() if name not in inputs}
    return {**others, **{inputs[name]: value for name, value in row.items() if name in inputs}}


def _cells(
    version: Version,
    described: Mapping[str, Mapping[str, Any]] | None,
    types: Mapping[str, Any],
    rows: Sequence[Row],
) -> dict[str, _Cells]:
    """Return the cells of each input.

    Args:
        version: The version.
        described: Its inputs; None if an older Benison pushed it.
        types: TensorFlow's type by input.
        rows: The rows by input.
    """
    if described is None:
        # A version of an older Benison does not say which inputs are required.
        integer = missing_values.FORMER_MISSING_INTEGER
        missing = {name: missing_values.marker(dtype.name, integer) for name, dtype in types.items()}
    else:
        missing = missing_values.markers(described)
    marks, forms = frozenset(version.manifest.missing), version.manifest.amounts
    unused = frozenset(name for row in rows for name in row) - types.keys()
    columns = {name: value["column"] for name, value in (described or {}).items()}
    for number, row in enumerate(rows, start=1):
        if row and types.keys().isdisjoint(row):
            expected = ", ".join(columns.get(name, name) for name in types)
            raise DataError(
                f"row {number}: none of its columns is an input; it has {', '.join(sorted(row))}; expected {expected}"
            )
    return {
        name: _Cells(
            name,
            dtype,
            missing_values.among_texts(marks) if dtype.name == "string" else marks,
            forms.get(columns.get(name, name), version.manifest.decimal),
            missing.get(name),
            unused,
            columns.get(name, ""),
        )
        for name, dtype in types.items()
    }


def _shown(value: Any) -> str:
    """Return a value for a message as the file has it: text in quotes, everything else as JSON."""
    if isinstance(value, str):
        return repr(value[:80])
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _known_integer(value: int) -> int:
    """Return the value, or raise ValueError if it stands for a missing one."""
    if value == missing_values.MISSING_INTEGER:
        raise ValueError(value)
    return value


def _refuse_not_finite(answers: Mapping[str, Any], inputs: Mapping[str, Any], cells: Mapping[str, _Cells]) -> None:
    """Check that all answers [rows, n] are numbers.

    Raises:
        DataError: One is NaN or infinite; the message shows the largest number of the row.
    """
    import numpy as np

    for model, values in answers.items():
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if not len(bad):
            continue
        row = bad[0]
        sizes = {
            cells[name].column or name: float(np.abs(value[row]).max(initial=0))
            for name, value in ((name, np.asarray(tensor)) for name, tensor in inputs.items())
            if value.dtype.kind in "fi" and np.isfinite(value[row]).all()
        }
        largest = max(sizes, key=lambda name: sizes[name], default=None)
        where = f"; the largest number in the row is {sizes[largest]:g}, in {largest!r}" if largest else ""
        more = f" (the first of {len(bad)})" if len(bad) > 1 else ""
        raise DataError(
            f"row {row + 1}{more}: the answer of {model} is NaN or infinite{where}; correct the row, or limit such "
            "numbers in preprocessing_fn"
        )


def _named(names: Sequence[str], values: Any) -> dict[str, float]:
    return dict(zip(names, map(float, values), strict=True))
