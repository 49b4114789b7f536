"""A file without the label, with renamed columns or with another delimiter does not land as a span."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from benison.pipelines.config import Pipeline
from benison.pipelines.data import span_changes, spans
from benison.serving.errors import DataError
from tests.unit.pipelines.data.killed_span_changes import pipeline

SCHEMA = """
feature { name: "t" type: BYTES presence { min_count: 1 } }
feature { name: "late" type: BYTES presence { min_count: 1 } }
feature { name: "amount" type: FLOAT presence { min_fraction: 1.0 } }
feature { name: "note" type: BYTES }
feature { name: "row" type: INT presence { min_count: 1 } lifecycle_stage: DEPRECATED }
"""


@pytest.fixture
def config(tmp_path: Path) -> Pipeline:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "p.pbtxt").write_text(SCHEMA)
    return pipeline(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t,amount\n1,2\n", r"may\.csv: no column 'late', the label \(it has t, amount\); the span was not added"),
        ("t,amount,LATE\n1,2,yes\n", "no column 'late', the label; did you mean 'LATE'\\?"),
        ("time,amount,late\n1,2,yes\n", "no column 't', which data.time names"),
        (
            "t,amounts,late\n1,2,yes\n",
            r"no column 'amount', which p\.pbtxt requires; did you mean 'amounts'\? \(it has t, amounts, late\); the span",
        ),
        (
            "t;amount;late\n1;2;yes\n",
            "the columns are separated by ';', but data.delimiter is ','; the span was not added",
        ),
        ("t\tamount\tlate\n1\t2\tyes\n", r"the columns are separated by '\\t', but data.delimiter is ','"),
    ],
)
def test_a_file_without_an_expected_column_is_refused(
    config: Pipeline, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "may.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        span_changes.add(config, tmp_path, [file])
    assert spans.all_spans(tmp_path, "p") == []


def test_spans_and_a_single_file_are_a_contradiction(tmp_path: Path) -> None:
    plain = pipeline(tmp_path).model_dump(mode="json", by_alias=True)
    with pytest.raises(ValidationError, match=r"expected no csv, or one with \{SPAN\} for the number"):
        Pipeline.model_validate({**plain, "data": {"csv": "all.csv", "time": "t"}})


def test_columns_that_no_rule_requires_may_be_absent(config: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "may.csv"
    file.write_text("t,late\n1,yes\n")
    lenient = config.validation.model_copy(update={"columns": {"amount": "warn"}})
    span_changes.add(config.model_copy(update={"validation": lenient}), tmp_path, [file])
    file.write_text("amount,more,late,t\n2.5,x,no,2\n")
    span_changes.add(config, tmp_path, [file])
    assert [span.number for span in spans.all_spans(tmp_path, "p")] == [1, 2]
