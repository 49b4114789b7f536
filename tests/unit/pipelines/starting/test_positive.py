"""`init` guesses the positive class by names first, and by rows last."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from benison.components.label_classes import LabelSchema
from benison.pipelines.starting import curation, guess, init, positive


@pytest.mark.parametrize(
    ("label", "counts", "expected", "why"),
    [
        ("late", {"no": 1, "yes": 9}, "yes", "by its name"),
        ("late", {"0": 1, "1": 9}, "1", "1 of 0 and 1"),
        ("late", {"0.0": 1, "1.0": 9}, "1.0", "1.0 of 0.0 and 1.0"),
        ("late", {" yes": 9, "no ": 1}, " yes", "by its name"),
        ("churn", {"churned": 9, "stayed": 1}, "churned", "it is the event that the label 'churn' names"),
        ("is_fraud", {"clean": 9, "fraud": 1}, "fraud", "it is the event that the label 'is_fraud' names"),
        ("risk", {"bad": 3, "good": 7}, "bad", "the rarer one: 3 of 10 rows"),
        ("risk", {"1": 7, "2": 3}, "2", "the rarer one: 3 of 10 rows"),
        ("sex", {"f": 5, "m": 5}, "m", "the rarer one: 5 of 10 rows"),
    ],
)
def test_the_positive_class_has_a_reason(label: str, counts: dict[str, int], expected: str, why: str) -> None:
    assert positive.guess(label, sorted(counts), counts) == (expected, why)


def test_init_writes_the_positive_class_into_both_files_and_prints_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{i % 7},{'yes' if i % 3 else 'no'}" for i in range(40)]
    Path("rows.csv").write_text("size,late\n" + "\n".join(rows) + "\n")
    new = init.create("pets", Path("rows.csv"), "late")
    assert "positive class 'yes': by its name (positive)" in list(new.lines())
    assert 'positive: "yes"  # by its name; the schema names it too' in Path("pets.yaml").read_text()
    schema = text_format.Parse(Path("schemas/pets.pbtxt").read_text(), schema_pb2.Schema())
    assert LabelSchema.of(schema, "late") == LabelSchema(("no", "yes"), "yes")
    assert guess.look(Path("rows.csv"), "size").positive == ""


@pytest.mark.parametrize(
    ("positive_class", "feature", "expected"),
    [
        (None, 'type: BYTES string_domain { value: ["no", "yes"] }', "yes"),
        ("false", 'type: BYTES string_domain { value: ["no", "yes"] }', "no"),  # YAML reads no as false
        ("0", "type: INT", "0"),
        (None, "type: INT", None),
    ],
)
def test_an_accepted_schema_names_the_positive_class(
    positive_class: str | None, feature: str, expected: str | None
) -> None:
    config: Any = SimpleNamespace(problem="binary", label="late", positive=positive_class)
    text = curation.with_positive(config, f'feature {{ name: "late" {feature} }}')
    assert LabelSchema.of(text_format.Parse(text, schema_pb2.Schema()), "late").positive == expected
