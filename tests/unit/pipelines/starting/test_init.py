"""`benison init`: the files that it writes, and the input that it refuses."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from benison.pipelines import json_schema
from benison.pipelines.config_file import load
from benison.pipelines.starting.guess import look
from benison.pipelines.starting.init import choose_splits, create
from benison.serving.errors import DataError, UsageError

HEADER = ("id", "size, in cm", "Kind", "born", "yes")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pets(file: Path, rows: int = 60) -> Path:
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEADER)
        for i in range(rows):
            writer.writerow(
                [f"p{i:04}", i * 7 % 31 / 2 or "NA", ["cat", 'a "dog"'][i // 2 % 2], f"{1 + i % 28:02}/02/2024", i % 2]
            )
    return file


def test_it_writes_a_valid_config(here):
    pipeline = create("pets", pets(here / "pets.csv"), "yes")
    assert pipeline.files == (Path("pets.yaml"), Path("schemas/pets.pbtxt"), Path("schemas/benison.schema.json"))
    read = load("pets")
    assert (read.label, read.problem, read.metric) == ("yes", "binary", "auc")
    assert (read.data.missing, read.schema_path) == (("", "NA"), here / "schemas/pets.pbtxt")
    kinds = {name: (column.kind, column.size or column.format) for name, column in read.columns.items()}
    assert kinds == {
        "id": ("ignore", None),
        "size, in cm": ("number", None),
        "Kind": ("category", 2),
        "born": ("date", "%d/%m/%Y"),
    }
    assert set(read.ensemble.members) == {"linear", "deep", "trees"}


def test_the_column_of_sample_weights_is_a_number_and_no_feature(here):
    file = pets(here / "pets.csv")
    lines = file.read_text().splitlines()
    file.write_text("\n".join([f"{lines[0]},w", *(f"{line},{i % 3}" for i, line in enumerate(lines[1:]))]) + "\n")
    shown = list(create("pets", file, "yes", weight="w").lines())
    read = load("pets")
    assert (read.weight, read.columns["w"].kind) == ("w", "ignore")
    assert re.search(r'name: "w"\n  type: INT', read.schema_path.read_text())
    assert not any(line.startswith("left out") and "w" in line.split(": ")[1].split(", ") for line in shown)
    with pytest.raises(UsageError, match="--weight Kind: not all cells are numbers, such as"):
        create("pets", file, "yes", force=True, weight="Kind")
    with pytest.raises(UsageError, match="--weight yes: this is the label"):
        create("pets", file, "yes", force=True, weight="yes")
    with pytest.raises(UsageError, match="--set weight: use --weight"):
        create("pets", file, "yes", force=True, settings={"weight": "w"})


def test_with_spans_it_orders_by_the_first_date_and_names_no_file(here):
    create("pets", pets(here / "pets.csv"), "yes", spans=True)
    read = load("pets")
    assert read.spans is not None
    assert (read.data.csv, read.data.time, read.data.time_format) == (None, "born", "%d/%m/%Y")
    create("pets", here / "pets.csv", "yes", force=True, spans=True, time="id")
    assert (load("pets").data.time, load("pets").data.time_format) == ("id", None)
    create("pets", here / "pets.csv", "yes", force=True, time="born")
    assert (load("pets").spans, load("pets").data.time) == (None, "born")


def test_spans_need_a_column_of_times(here):
    (here / "plain.csv").write_text("\n".join(["size,kind", *(f"{i * 7 % 50},{'ab'[i % 2]}" for i in range(60))]))
    with pytest.raises(UsageError, match=r"--spans: .*plain\.csv has no column of dates to order the rows by; name"):
        create("plain", here / "plain.csv", "kind", spans=True)
    with pytest.raises(UsageError, match=r"--time sise: no such column, or it is the label; did you mean 'size'\?"):
        create("plain", here / "plain.csv", "kind", time="sise")
    assert not (here / "plain.yaml").exists()


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({"columns.Kind": "ignore"}, ["  Kind: ignore  # given by --set columns.Kind"]),
        (
            {"columns.Kind": "{kind: hashed, size: 9}"},
            ["  Kind: {kind: hashed, size: 9}  # given by --set columns.Kind"],
        ),
        ({"columns.size, in cm.kind": "category"}, ['  "size, in cm": {kind: category, size: 30}  # given by --set']),
        ({"data.missing": "['', NA, cat]"}, ['  missing: ["", NA, cat]  #', "  Kind: {kind: category, size: 1}  #"]),
        ({"ensemble.members.deep.epochs": "3"}, ["      epochs: 3  # the maximum", "      kind: linear  #"]),
        ({"ensemble.combiner": "stacking"}, ["  combiner: stacking"]),
        ({"ensemble.members.deep.hyperparameters.units": "8"}, ["      hyperparameters: {layers: 2, units: 8, drop"]),
        ({"ensemble.members.deep.hyperparameters.l2": "0.1"}, [", learning_rate: 0.003, l2: 0.1}"]),
        ({"splits": "{train: 1, valid: 1, blend: 1, test: 1}"}, ["splits: {train: 1, valid: 1, blend: 1, test: 1}"]),
        ({"blessing.rules": "[{metric: auc, min: 0.6}]"}, ["blessing: {rules: [{metric: auc, min: 0.6}]}"]),
        ({"serving.fan_out": "true"}, ["serving: {fan_out: true}"]),
        ({"data.time": "born"}, ["  time: born"]),
        (
            {"splits.by": "Kind"},
            [
                "  Kind: ignore  # its rows stay together (splits.by)",
                "splits: {train: 6, valid: 1, blend: 1, test: 2, by: Kind}",
            ],
        ),
        ({"splits": "{train: 2, valid: 1, blend: 1, test: 1, by: Kind}"}, ["  Kind: ignore  #", "by: Kind"]),
    ],
)
def test_set_changes_what_is_written_and_keeps_the_comments(here, settings, lines):
    create("pets", pets(here / "pets.csv"), "yes", settings=settings)
    text = Path("pets.yaml").read_text()
    assert [line for line in lines if line not in text] == []
    assert text.count("#") >= 20
    load("pets")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns.Kin": "ignore"}, r"--set columns.Kin: no such column in .*; did you mean 'Kind'\?"),
        ({"columns.Kind": "number"}, "--set columns.Kind: not all cells are numbers, such as 'cat'; if it means"),
        ({"columns.Kind": "nmber"}, "number, category, hashed"),
        ({"columns.Kind": "categry"}, "--set columns.Kind: got 'categry', expected one of"),
        ({"data.decimal": "';'"}, "--set data.decimal: "),
        ({"ensemble.combiner": "men"}, "--set ensemble.combiner: got 'men', expected one of mean"),
        ({"ensembl.combiner": "mean"}, "--set ensembl: unknown key; did you mean 'ensemble'"),
        ({"label": "born"}, "--set label: use --label"),
        ({"splits.by": "Kin"}, r"--set splits.by=Kin: no such column in .*; did you mean 'Kind'\?"),
        ({"splits.by": "'yes'"}, "--set splits.by: got 'yes', which is the label"),
        ({"splits.by": "3"}, "--set splits.by: got 3, expected"),
        ({"splits.by": "Kind", "columns.Kind": "category"}, "--set columns.Kind: splits.by names this column"),
        ({"splits": "{"}, "--set splits: "),
    ],
)
def test_a_wrong_set_leaves_nothing_behind(here, settings, message):
    with pytest.raises(UsageError, match=message):
        create("pets", pets(here / "pets.csv"), "yes", settings=settings)
    assert sorted(path.name for path in here.iterdir()) == ["pets.csv"]


@pytest.mark.parametrize(("name", "repeats"), [("customer_id", True), ("Customer", True), ("colour", False)])
def test_where_an_id_repeats_it_proposes_to_keep_its_rows_together(here, name, repeats):
    csv = here / "rows.csv"
    csv.write_text(f"{name},x,y\n" + "".join(f"c{i % 70}x,{i % 13},{'ab'[i % 3 == 0]}\n" for i in range(300)))
    pipeline = create("rows", csv, "y")
    assert any(f"set splits.by: {name}" in line for line in pipeline.lines()) == repeats
    text = Path("rows.yaml").read_text()
    proposed = f"# splits: {{train: 6, valid: 1, blend: 1, test: 2, by: {name}}}"
    assert (proposed in text) == repeats
    if repeats:  # what it proposes is a valid pipeline
        chosen = text.replace("\nsplits: ", "\n# ", 1).replace("# splits: ", "splits: ")
        chosen = re.sub(rf"(?m)^  {name}: .*$", f"  {name}: ignore", chosen)
        Path("rows.yaml").write_text(chosen)
        assert load("rows.yaml").splits.by == name


def test_a_sample_says_so_and_writes_nothing_that_other_rows_may_contradict(here):
    file = pets(here / "pets.csv")
    pipeline = create("pets", file, "yes", sample=40)
    assert next(pipeline.lines()).endswith(
        "pets.csv: the first 40 rows; --sample looks at more, encoding utf-8, delimiter ','"
    )
    text = Path("schemas/pets.pbtxt").read_text()
    assert "min_fraction" not in text
    assert "string_domain" not in text
    create("pets", file, "yes", force=True, sample=60)
    assert "string_domain" in Path("schemas/pets.pbtxt").read_text()


@pytest.mark.parametrize(("rows", "combiner"), [(5, "mean"), (39, "mean"), (60, "stacking")])
def test_with_very_few_rows_no_weights_are_fitted(here, rows, combiner):
    create("pets", pets(here / "pets.csv", rows), "yes")
    assert load("pets").ensemble.combiner == combiner


@pytest.mark.parametrize(("rows", "told"), [(60, True), (400, False)])
def test_too_few_rows_to_judge_a_model_by_are_told_before_a_run(here, rows, told):
    lines = list(create("pets", pets(here / "pets.csv", rows), "yes").lines())
    assert any("too few to judge most models by" in line for line in lines) is told


def test_the_yaml_names_the_json_schema_beside_it(here):
    create("pets", pets(here / "pets.csv"), "yes")
    assert Path("pets.yaml").read_text().startswith("# yaml-language-server: $schema=schemas/benison.schema.json\n")
    assert Path("schemas/benison.schema.json").read_text() == json_schema.text()


def test_the_published_json_schema_is_the_one_of_the_models():
    assert json_schema.FILE.read_text() == json_schema.text(), "run: python -m benison.pipelines.json_schema"


def test_each_guess_is_one_line_though_classes_have_several(here):
    csv = here / "rows.csv"
    csv.write_text("x,y\n" + '1,"a\nb"\n2,"c\td"\n2,"a\nb"\n' * 20)
    lines = list(create("rows", csv, "y").lines())
    assert r"label 'y': binary, two values: a\nb, c\td" in lines
    assert not any("\n" in line or "\t" in line for line in lines)


def test_it_prints_each_guess_with_its_reason(here):
    lines = list(create("pets", pets(here / "pets.csv"), "yes").lines())
    assert lines[0].endswith("pets.csv: 60 rows, encoding utf-8, delimiter ','")
    assert lines[1:3] == [
        "cells that mean 'no value': '', 'NA' (data.missing)",
        "label 'yes': binary, two values: 0, 1",
    ]
    assert lines[3] == "positive class '1': 1 of 0 and 1 (positive)"
    assert [" ".join(line.split()) for line in lines[4:8]] == [
        "id ignore an id: as many values as rows",
        "size, in cm number 30 different numbers; missing in 3.3%",
        "Kind category 2 different texts",
        "born date %d/%m/%Y, day first (could be month first)" if "could be" in lines[7] else "born date %d/%m/%Y",
    ]
    assert "left out: id (columns.id: hashed, for example, uses it)" in lines


def test_the_schema_has_types_presence_and_domains_but_no_ranges(here):
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    create("pets", pets(here / "pets.csv"), "yes")
    schema = text_format.Parse(Path("schemas/pets.pbtxt").read_text(), schema_pb2.Schema())
    found = {
        f.name: (schema_pb2.FeatureType.Name(f.type), f.presence.min_fraction, f.lifecycle_stage)
        for f in schema.feature
    }
    active, left_out = schema_pb2.UNKNOWN_STAGE, schema_pb2.DEPRECATED
    assert found == {
        "yes": ("BYTES", 0.0, active),  # validation.max_missing_labels says how many rows may be without a label
        "id": ("BYTES", 1.0, left_out),
        "size, in cm": ("FLOAT", 0.0, active),
        "Kind": ("BYTES", 1.0, active),
        "born": ("BYTES", 1.0, active),
    }
    assert {d.name: list(d.value) for d in schema.string_domain} == {"yes": ["0", "1"], "Kind": ['a "dog"', "cat"]}


def test_a_column_of_whole_numbers_is_int_and_a_label_that_is_a_number_is_float(here):
    rows = [f"{i * 7 % 50 if i % 5 else ''},{i / 2},{i * i % 61}" for i in range(60)]
    (here / "sales.csv").write_text("\n".join(["rooms,area,price", *rows]))
    create("sales", here / "sales.csv", "price")
    types = re.findall(r'name: "(\w+)"\n  type: (\w+)', Path("schemas/sales.pbtxt").read_text())
    assert dict(types) == {"rooms": "INT", "area": "FLOAT", "price": "FLOAT"}


def test_it_overwrites_files_only_with_force(here):
    file = pets(here / "pets.csv")
    create("pets", file, "yes")
    Path("pets.yaml").write_text("mine")
    with pytest.raises(UsageError, match=r"pets\.yaml, schemas/pets\.pbtxt: already exists; use --force"):
        create("pets", file, "yes")
    assert Path("pets.yaml").read_text() == "mine"
    create("pets", file, "yes", force=True)
    assert load("pets").name == "pets"


@pytest.mark.parametrize("name", ["Pets", "9lives", "../pets", ""])
def test_a_name_that_no_pipeline_may_have_is_refused(here, name):
    with pytest.raises(UsageError, match="expected a name of a-z"):
        create(name, pets(here / "pets.csv"), "yes")


def test_an_unknown_label_leaves_nothing_behind(here):
    with pytest.raises(UsageError, match="did you mean 'Kind'"):
        create("pets", pets(here / "pets.csv"), "kind")
    assert sorted(path.name for path in here.iterdir()) == ["pets.csv"]


@pytest.mark.parametrize("name", ["\x96", "a\x1b[31m", "a\nb", "\ufffe", "-", "yes", "a: b", "#a", "猫"])
def test_any_name_of_a_column_can_be_written(here, name):
    with Path("pets.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([(name, "y"), *[(i * 7 % 31, f"{name} {i % 2}") for i in range(60)]])
    create("pets", here / "pets.csv", "y")
    assert list(load("pets").columns) == [name]


@pytest.mark.parametrize("rows", [8, 12, 20, 40, 60])
def test_with_few_rows_each_split_still_gets_some(here, rows):
    from benison.components.ingest.csv_table import CsvTable
    from benison.components.ingest.split_keys import Roles, SplitKeys
    from benison.components.ingest.splits import split_by_hash

    guess = look(pets(here / "pets.csv", rows), "yes")
    buckets = choose_splits(guess).buckets
    table = CsvTable((str(guess.csv),))
    roles = Roles(table.header, guess.missing, "yes")
    keys = SplitKeys(map(roles.row, table.rows()))
    hit = {split_by_hash(keys.of(number, roles.row(row)), buckets) for number, row in enumerate(table.rows())}
    assert hit == set(buckets)


@pytest.mark.parametrize(("classes", "trees"), [(2, 1000), (7, 1000), (8, 600), (60, 200)])
def test_many_classes_get_fewer_and_smaller_trees_with_larger_steps(here, classes, trees):
    rows = [f"{i * 7 % 31},{i % 13},c{i % classes}" for i in range(40 * classes)]
    Path("pets.csv").write_text("\n".join(["size,age,kind", *rows]))
    create("pets", Path("pets.csv"), "kind")
    assert load("pets").ensemble.members["trees"].hyperparameters["trees"] == trees


def test_what_controls_a_terminal_is_shown_as_escapes_and_is_no_part_of_a_comment(here):
    rows = "".join(f"{i * 7 % 31 / 2},{'yes' if i % 2 else 'no'}{chr(27)}[2J\n" for i in range(60))
    Path("pets\x1b.csv").write_text(f"si\x1b[31mze,la\x07b\n{rows}")
    pipeline = create("pets", Path("pets\x1b.csv"), "la\x07b")
    assert r"  si\x1b[31mze  number    31 different numbers" in list(pipeline.lines())
    comments = [line.partition("#")[2] for line in Path("pets.yaml").read_text().splitlines()]
    assert any(r"pets\x1b.csv" in comment for comment in comments)
    assert any(r"no\x1b[2J, yes\x1b[2J" in comment for comment in comments)
    read = load("pets")
    assert (read.label, read.positive, set(read.columns)) == ("la\x07b", "yes\x1b[2J", {"si\x1b[31mze"})


@pytest.mark.parametrize(("labelled", "limit"), [(5, 0.2), (4, 0.3), (2, 0.55)])
def test_a_file_with_many_rows_without_a_label_runs_all_the_same(here, labelled, limit):
    rows = [f"{i * 7 % 31}.5,{'ab'[i // 5 % 2] if i % labelled else ''}" for i in range(200)]
    (here / "rows.csv").write_text("\n".join(["x,y", *rows]))
    create("rows", here / "rows.csv", "y")
    assert load("rows").validation.max_missing_labels == limit
    create("rows", here / "rows.csv", "y", force=True, settings={"validation.max_missing_labels": "0.7"})
    assert load("rows").validation.max_missing_labels == 0.7


@pytest.mark.parametrize("name", ["yes", "no", "on", "off", "true", "null", "y", "e"])
def test_a_name_that_yaml_reads_as_something_else_is_quoted(here, name):
    create(name, pets(here / "pets.csv"), "yes")
    assert load(f"{name}.yaml").name == name


def test_a_group_that_is_given_is_not_proposed_nor_called_left_out(here):
    csv = here / "rows.csv"
    csv.write_text("customer_id,x,y\n" + "".join(f"c{i % 70}x,{i % 13},{'ab'[i % 3 == 0]}\n" for i in range(300)))
    pipeline = create("rows", csv, "y", settings={"splits.by": "customer_id"})
    assert not [line for line in pipeline.lines() if "set splits.by" in line or line.startswith("left out")]
    assert load("rows.yaml").splits.by == "customer_id"


def test_a_class_that_is_written_like_a_missing_value_is_pointed_out(here):
    csv = here / "rows.csv"
    csv.write_text("x,y\n" + "".join(f"{i % 13},{'+-'[i % 3 == 0]}\n" for i in range(60)))
    with pytest.raises(DataError, match=r"expected at least two; '-' counts as no value: if it is a class, use --set"):
        create("rows", csv, "y")
    create("rows", csv, "y", settings={"data.missing": '[""]'})
    assert load("rows.yaml").problem == "binary"
