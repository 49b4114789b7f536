"""`columns:` in a config: kinds, options, mistakes, and the generic code that it selects."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.pipelines.config import Pipeline
from benison.pipelines.config_file import load
from benison.pipelines.generic.columns import GENERIC, KINDS, ColumnConfig
from benison.serving.errors import UsageError

YAML = """
name: pets
problem: binary
label: adopted
data: {{csv: pets.csv, delimiter: ";"}}
columns: {columns}
ensemble: {{members: {{linear: , deep: }}}}
"""


def project(folder: Path, columns: str) -> str:
    (folder / "pets.csv").write_text("age;species;born;adopted\n1;cat;2024-01-31;yes\n")
    file = folder / "pets.yaml"
    file.write_text(YAML.format(columns=columns))
    return str(file)


def test_columns_bring_the_generic_features_and_members(tmp_path):
    read = load(project(tmp_path, "{age: number, born: {kind: date, format: '%Y-%m-%d'}}"))
    assert read.columns == {"age": ColumnConfig(kind="number"), "born": ColumnConfig(kind="date", format="%Y-%m-%d")}
    assert read.features == f"{GENERIC['features']}:preprocessing_fn"
    assert [member.function for member in read.ensemble.members.values()] == [
        f"{GENERIC['models']}:linear",
        f"{GENERIC['models']}:deep",
    ]
    assert Pipeline.model_validate(read.model_dump(mode="json")) == read


def test_own_code_replaces_the_generic_code(tmp_path):
    (tmp_path / "mine.py").write_text("def preprocessing_fn(inputs, columns): ...\n")
    file = Path(project(tmp_path, "{age: number}"))
    file.write_text(file.read_text() + "features: mine.py\n")
    assert load(str(file)).features == f"{tmp_path}/mine.py:preprocessing_fn"


def test_an_override_finds_a_column_with_dots_in_its_name(tmp_path):
    file = project(tmp_path, "{a: number, a.b: {kind: category, size: 3}, a.b.c: number}")
    overrides = {"columns.a": "date", "columns.a.b.size": "4", "columns.a.b.c": "hashed"}
    read = load(file, overrides, check_data=False).columns
    assert {name: (column.kind, column.size) for name, column in read.items()} == {
        "a": ("date", None),
        "a.b": ("category", 4),
        "a.b.c": ("hashed", None),
    }


def test_without_columns_code_is_required(tmp_path):
    with pytest.raises(UsageError, match="features: missing"):
        load(project(tmp_path, "{}"))


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        ("{age: numbr}", ["columns.age.kind: got 'numbr', expected one of number, category, hashed, date, text, ignore; did you mean 'number'?"]),
        ("{age: 3}", [f"columns.age: got 3, expected a kind: one of {', '.join(KINDS)}"]),
        ("{age: {kind: number, sise: 3}}", ["columns.age.sise: unknown key; did you mean 'size'? (allowed: kind, format, size)"]),
        ("{age: {kind: number, size: 3}}", ["columns.age: got a size for kind number; only category, hashed, text have one"]),
        ("{age: {kind: number, format: '%Y'}}", ["columns.age: got a format for kind number; only date has one"]),
        ("{born: {kind: date, format: '%Y-%j'}}", ["columns.born.format: got '%Y-%j', expected a year and any others of %Y %y %m %b %B %d %H %I %M %S %p"]),
        ("{aged: number}", ["columns.aged: no column 'aged' in pets.csv; did you mean 'age'?"]),
        ("{adopted: category, age: number}", ["columns.adopted: this is the label; remove it from columns"]),
        ("{age: ignore, species: {kind: ignore}}", ["columns: expected at least one column that is not ignored"]),
        ("{aged: number, specis: categry}", ["columns.aged: no column 'aged' in pets.csv; did you mean 'age'?", "columns.specis: no column 'specis' in pets.csv; did you mean 'species'?", "columns.specis.kind: got 'categry', expected one of number, category, hashed, date, text, ignore; did you mean 'category'?"]),
    ],
)  # fmt: skip
def test_all_mistakes_are_reported_one_per_line(tmp_path, monkeypatch, columns, lines):
    monkeypatch.chdir(tmp_path)
    file = project(tmp_path, columns)
    with pytest.raises(UsageError) as raised:
        load(Path(file).name)
    assert sorted(str(raised.value).splitlines()) == sorted(f"pets.yaml: {line}" for line in lines)


def test_a_label_that_the_file_does_not_have_is_reported(tmp_path):
    file = project(tmp_path, "{age: number}")
    with pytest.raises(UsageError, match=r"label: no column 'adoptd' in .*pets\.csv; did you mean 'adopted'\?"):
        load(file, {"label": "adoptd"})


def test_a_member_that_is_not_generic_is_reported(tmp_path):
    file = project(tmp_path, "{age: number}")
    with pytest.raises(
        UsageError, match=r"no function 'dep' in benison\.pipelines\.generic\.models; did you mean 'deep'"
    ):
        load(file, {"ensemble.members.dep": "{}"})
