"""A column that the YAML uses is read, also if `init` left it out of the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benison.components import raw_examples
from benison.components.train import dry_run
from benison.pipelines.config_file import load
from benison.pipelines.data import expected_columns, ingest
from benison.pipelines.running.code_trial import _project
from benison.pipelines.starting.init import create
from benison.serving.errors import UsageError

# TFX and its dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline of `init`, which leaves out a row number, a customer and a constant."""
    monkeypatch.chdir(tmp_path)
    rows = (f"{i},c{i % 70}x,1,{i % 13},{'ab'[i % 3 == 0]}\n" for i in range(300))
    Path("rows.csv").write_text("row,customer_id,w,x,y\n" + "".join(rows))
    create("rows", Path("rows.csv"), "y")
    return Path("rows.yaml")


def edited(yaml: Path, **lines: str) -> Any:
    """Load the pipeline with other lines, each by the key with which the line begins."""
    text = yaml.read_text().split("\n")
    for key, line in lines.items():
        place = next(i for i, old in enumerate(text) if old.strip().startswith(f"{key}:"))
        text[place] = line
    yaml.write_text("\n".join(text))
    return load(yaml)


def read_columns(config: Any, root: Path) -> set[str]:
    """Return the columns that Transform may read, by the schema that the pipeline imports."""
    from tensorflow_transform.tf_metadata import schema_utils
    from tfx.types import standard_artifacts

    (node,) = (node for node in ingest.build(config, root, to_gate=True).nodes if node.id == "ImportSchemaGen")
    schema = standard_artifacts.Schema()
    schema.uri = str(root / str(len(list(root.iterdir()))))
    node.executor_spec.executor_class().Do({}, {"schema": [schema]}, node.exec_properties)
    return set(schema_utils.schema_as_feature_spec(raw_examples.load_schema([schema])).feature_spec)


def test_only_columns_that_the_yaml_uses_are_read(yaml: Path, tmp_path: Path) -> None:
    config = load(yaml)
    assert read_columns(config, tmp_path) == {"x", "y"}
    splits = "splits: {train: 6, valid: 1, blend: 1, test: 2, by: customer_id}"
    config = edited(yaml, splits=splits, label="label: y\nweight: w", row="  row: hashed")
    assert read_columns(config, tmp_path) == {"x", "y", "customer_id", "w", "row"}
    assert {"x", "y", "customer_id", "w", "row"} == set(expected_columns._expected(config))


def test_the_label_may_have_any_stage(yaml: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schemas" / "rows.pbtxt"
    schema.write_text(schema.read_text().replace('name: "y"\n', 'name: "y"\n  lifecycle_stage: DISABLED\n', 1))
    assert read_columns(load(yaml), tmp_path) == {"x", "y"}


def test_the_trial_of_the_code_reads_what_a_run_reads(yaml: Path) -> None:
    config = edited(yaml, row="  row: hashed")
    assert dry_run.mistakes(dry_run.Project(**_project(config))) == []


def test_a_column_of_text_by_the_schema_is_no_number(yaml: Path) -> None:
    with pytest.raises(
        UsageError, match=r"rows\.yaml: columns\.row: got number, expected type: INT or FLOAT in schemas/"
    ):
        edited(yaml, row="  row: number")
