"""Reading a YAML: finding it, overriding its values, and one line per mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benison.pipelines import config_file
from benison.pipelines.config_file import Listed, available, find, load
from benison.serving.errors import UsageError

FLIGHTS = """\
name: flights
description: Late flights
problem: binary
label: late
data:
  csv: ../flights.csv
features: ../features.py
models: ../models.py
ensemble:
  members:
    linear:
    deep:
      function: make_deep
      epochs: 9
      tuner:
        trials: 3
        space:
          units: [16, 32]
blessing:
  rules:
    - {metric: auc, min: 0.7}
"""
MODELS = """\
import module_that_is_nowhere
from functools import partial

def linear(inputs, hp): ...

make_deep = partial(linear)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return a user's folder with one valid pipeline, `flights`, and no shipped pipelines."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/flights.yaml").write_text(FLIGHTS)
    (tmp_path / "flights.csv").write_text("late,airline\n1,A\n")
    (tmp_path / "features.py").write_text("def preprocessing_fn(inputs): ...\n")
    (tmp_path / "models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config_file, "SHIPPED", ())
    return tmp_path


def mistakes(text: str, **arguments) -> list[str]:
    """Return the messages about a `configs/flights.yaml` with this text."""
    Path("configs/flights.yaml").write_text(text)
    with pytest.raises(UsageError) as raised:
        load("flights", environ=arguments.pop("environ", {}), **arguments)
    return str(raised.value).splitlines()


def test_a_good_config_is_read(folder):
    read = load("flights", environ={})
    assert read.source == folder / "configs/flights.yaml"
    assert read.files() == [folder / "flights.csv"]
    assert read.user_code("ensemble.members.deep").functions == (f"{folder}/models.py:make_deep",)


def test_a_path_object_is_a_path_with_any_name(folder):
    path = Path("configs/flights.yaml").rename("configs/other")
    assert load(path, environ={}).source == folder / path
    assert load(folder / path, environ={}).name == "flights"
    with pytest.raises(UsageError, match=r"^nope: no such file"):
        load(Path("nope"))


def test_checking_imports_neither_tensorflow_nor_the_pipelines_code(folder):
    script = (
        "import sys; from benison.pipelines.config_file import load; load('flights'); "
        "print([m for m in ('tensorflow', 'tfx', 'keras', 'pandas', 'models') if m in sys.modules])"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {script}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("schema", "positive", "message"),
    [
        (
            'annotation { tag: "positive: no" } domain: "late"',
            "yes",  # YAML reads it as true
            "the positive class is 'true' in the YAML and 'no' in the schema; make both the same (the schema is "
            "configs/schemas/flights.pbtxt)",
        ),
        ('domain: "late"', "ja", "positive: of the YAML names 'ja', which is not a class; expected one of 'no', 'yes'"),
        ('string_domain { value: ["no", "yes", "ja"] }', "yes", "problem is binary, but the schema lists 3 classes"),
        (
            "nonsense: 1",
            "yes",
            "configs/schemas/flights.pbtxt: Error parsing text-format tensorflow.metadata.v0.Schema: 1:36: ",
        ),
    ],
)
def test_the_yaml_and_the_schema_agree_on_the_classes(folder, schema: str, positive: str, message: str):
    (folder / "configs/schemas").mkdir()
    (folder / "configs/schemas/flights.pbtxt").write_text(
        f'feature {{ name: "late" type: BYTES {schema} }} string_domain {{ name: "late" value: ["no", "yes"] }}'
    )
    (line,) = mistakes(f"{FLIGHTS}\npositive: {positive}\n")
    assert line.startswith("configs/flights.yaml:")
    assert message in line


@pytest.mark.parametrize(("written", "read"), [("yes", "true"), ("'yes'", "yes"), ("1", "1"), ("churn", "churn")])
def test_the_positive_class_is_text(folder, written: str, read: str):
    Path("configs/flights.yaml").write_text(f"{FLIGHTS}\npositive: {written}\n")
    pipeline = load("flights", environ={})
    assert pipeline.positive == read
    assert pipeline == type(pipeline).model_validate(pipeline.model_dump(mode="json"))


# --- one mistake, one line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs: 9", "epochs: many", "ensemble.members.deep.epochs: got 'many', expected an integer >= 1"),
        ("epochs: 9", "epochs: 0", "ensemble.members.deep.epochs: got 0, expected an integer >= 1"),
        ("epochs: 9", "epochs: true", "ensemble.members.deep.epochs: got true, expected an integer >= 1"),
        ("trials: 3", "trials: 1", "ensemble.members.deep.tuner.trials: got 1, expected an integer >= 2"),
        (
            "trials: 3",
            "algorithm: randon",
            "ensemble.members.deep.tuner.algorithm: got 'randon', expected one of random, grid, bayesian, hyperband; "
            "did you mean 'random'?",
        ),
        (
            "units: [16, 32]",
            "units: 16",
            "ensemble.members.deep.tuner.space.units: got 16, expected a choice, such as [16, 32], or a range, "
            "such as {min: 1, max: 9}",
        ),
        (
            "units: [16, 32]",
            "units: [16, a]",
            "ensemble.members.deep.tuner.space.units: expected choices of one type: all numbers, all text or all "
            "true/false",
        ),
        ("units: [16, 32]", "units: []", "ensemble.members.deep.tuner.space.units: empty, expected at least one entry"),
        (
            "tuner:",
            "hyperparameters: {units: 8}\n      tuner:",
            "ensemble.members.deep.tuner.space.units: ensemble.members.deep.hyperparameters.units also fixes this value"
            "; keep one of the two",
        ),
        (
            "    linear:\n",
            "    Linear: {function: linear}\n",
            "ensemble.members.Linear: got 'Linear', expected a member's name of at most 60 characters of a-z, 0-9 and '_' that begins with a "
            "letter",
        ),
        (
            "    linear:\n",
            "    served: {function: linear}\n",
            "ensemble.members.served: this name is reserved; choose another one",
        ),
        (
            "  members:\n",
            "  combiner: medain\n  members:\n",
            "ensemble.combiner: got 'medain', expected one of mean, weighted_mean, median, majority_vote, soft_vote, stacking or a function of your own, file.py:function; did you mean 'median'?",
        ),
        (
            "  members:\n",
            "  combiner: ../features.py:vote\n  members:\n",
            "ensemble.combiner: no function 'vote' in features.py",
        ),
        (
            "  members:\n",
            "  combiner: median\n  weights: {deep: 1}\n  members:\n",
            "ensemble.weights: the combiner median takes no weights; expected weighted_mean, majority_vote, soft_vote",
        ),
        (
            "  members:\n",
            "  combiner: soft_vote\n  weights: {dep: 1, deep: 1}\n  members:\n",
            "ensemble.weights.dep: no such member; did you mean 'deep'?",
        ),
        (
            "  members:\n",
            "  combiner: weighted_mean\n  weights: {deep: 0}\n  members:\n",
            "ensemble.weights: expected a weight above 0 for at least one member",
        ),
        (
            "  members:\n",
            "  quorum: 9\n  members:\n",
            "ensemble.quorum: got 9, expected at most 2, the number of members",
        ),
        ("label: late\n", "", "label: missing; expected the column to predict"),
        (
            "problem: binary",
            "problem: binry",
            "problem: got 'binry', expected one of binary, multiclass, regression; did you mean 'binary'?",
        ),
        (
            "label: late",
            "label: late\nmetric: acuracy",
            "metric: got 'acuracy', expected one of accuracy, auc, pr_auc, log_loss, calibration_error, f1, precision, recall, cost for a binary problem; "
            "did you mean 'accuracy'?",
        ),
        (
            "metric: auc, min: 0.7",
            "metric: rmse, max: 3",
            "blessing.rules.0.metric: got 'rmse', expected one of accuracy, auc, pr_auc, log_loss, calibration_error, f1, precision, recall, cost for a binary problem",
        ),
        (
            "label: late",
            "label: late\nmetric: recall",
            "metric: got recall, which an answer that is always positive has in full; expected f1, or a rule on it",
        ),
        (
            "label: late",
            "label: late\ninterval: 0.9",
            "interval: got an interval for a binary problem; only the answers of a regression have one",
        ),
        (
            "label: late",
            "label: late\nmetrics: [{name: auc, function: benison.pipelines.flights.models:deep}]",
            "metrics.0.name: Benison has a metric 'auc'; choose another name",
        ),
        (
            "metric: auc, min: 0.7",
            "metric: profit, max: 0.7",
            "blessing.rules.0.metric: got 'profit', expected one of accuracy, auc, pr_auc, log_loss, calibration_error, f1, precision, recall, cost for a binary problem",
        ),
        ("min: 0.7", "max: 0.7", "blessing.rules.0: got max, expected min: higher is better in this metric"),
        (", min: 0.7", "", "blessing.rules.0: expected exactly one of min, max, better_than and not_worse_than"),
        ("label: late", "label: late\nslices: [late]", "slices.0: got 'late', which is the label; expected a feature"),
        ("label: late", "label: late\nslices: airline", "slices: got 'airline', expected a list"),
        (
            "label: late",
            "label: late\nsplits: {train: 1, valid: 1, test: 1}",
            "splits.blend: missing; expected the number of hash buckets for ensemble weights and calibration",
        ),
        ("label: late", "label: late\nseed: -1", "seed: got -1, expected an integer from 0 to 4294967295"),
        (
            "label: late",
            "label: yes",
            "label: got true, expected text (in quotes where YAML would read something else)",
        ),
        ("label: late", "label: late\nlabel: delay", "label: given twice, on lines 4 and 5; keep one"),
        ("label: late", "label: late\n7: x", "7: the key on line 5 is not text; put it in quotes"),
        (
            "csv: ../flights.csv",
            "csv: ../flihgts.csv",
            "data.csv: no such file: flihgts.csv; did you mean 'flights.csv'?",
        ),
        (
            "label: late",
            "label: late\ncode: {files: [../flights.csv, ../flihgts.csv]}",
            "code.files.1: no such file: flihgts.csv; did you mean 'flights.csv'?",
        ),
        (
            "label: late",
            "label: late\ncode: {env: [A-B]}",
            "code.env.0: got 'A-B', expected the name of an environment variable, such as VOCABULARY",
        ),
        ("csv: ../flights.csv", "csv: ../x/*.csv", "data.csv: no file matches x/*.csv"),
        ("csv: ../flights.csv", "csv: ..", "data.csv: . is a folder, expected a file or a pattern such as ./*.csv"),
        (
            "csv: ../flights.csv",
            "csv: package:not_there/a.csv",
            "data.csv: no package 'not_there' is installed (for package:not_there/a.csv)",
        ),
        (
            "csv: ../flights.csv",
            "csv: package:yaml/loder.py",
            "data.csv: no such file: package:yaml/loder.py; did you mean 'loader.py'?",
        ),
    ],
)
def test_a_mistake_is_one_line(folder, old, new, message):
    assert FLIGHTS.count(old) == 1
    assert mistakes(FLIGHTS.replace(old, new)) == [f"configs/flights.yaml: {message}"]


def test_an_unknown_key_is_reported_with_the_close_and_the_allowed_ones(folder):
    assert mistakes(FLIGHTS.replace("  csv:", "  missing: [NA]\n  cvs: x\n  csv:")) == [
        "configs/flights.yaml: data.cvs: unknown key; did you mean 'csv'? (allowed: source, csv, tfrecord, missing, delimiter, encoding, decimal, amounts, time, time_format)"
    ]


def test_the_yaml_cannot_set_its_own_path(folder):
    (line,) = mistakes(FLIGHTS + "source: elsewhere.yaml\n")
    assert line.startswith("configs/flights.yaml: source: unknown key (allowed: name, description, ")


def test_all_mistakes_are_reported_at_once_from_top_to_bottom(folder):
    text = FLIGHTS.replace("problem: binary", "problem: binary\nmetric: rmse").replace("epochs: 9", "epochs: x")
    text = text.replace("make_deep", "make_dep").replace("flights.csv", "none.txt").replace("trials: 3", "trails: 3")
    assert [line.split(": ")[1] for line in mistakes(text)] == [
        "metric",
        "data.csv",
        "ensemble.members.deep",
        "ensemble.members.deep.epochs",
        "ensemble.members.deep.tuner.trails",
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("time: daay", "data.time: no column 'daay' in flights.csv; did you mean 'day'?"),
        (
            "time: day\n  time_format: '%m/%d'",
            "data.time_format: got '%m/%d', which has no year (%Y); expected such as",
        ),
        ("time_format: '%m/%d/%Y'", "data.time_format: needs data.time, the column that has this format"),
        ("time: day\n  time_format: '%m/%d/%Y'", "flights.csv, line 4, column 'day': got '13/2/2013', expected a time"),
        ("time: late", "flights.csv, line 2, column 'late': got 'no', expected a time in ISO 8601, such as"),
    ],
)
def test_a_time_column_that_cannot_be_read_is_a_mistake(folder, keys, message):
    (folder / "flights.csv").write_text("day,late\n1/2/2013,no\nNA,no\n13/2/2013,yes\n")
    (line,) = mistakes(FLIGHTS.replace("  csv:", f"  {keys}\n  missing: [NA]\n  csv:"))
    assert message in line


def test_a_slice_may_be_any_column_of_the_data_and_no_other(folder):
    (folder / "flights.csv").write_text("carrier,tail,late\nAA,N1,no\n")
    assert mistakes(FLIGHTS + "slices: [carrier, tial]\n") == [
        "configs/flights.yaml: slices.1: no column 'tial' in flights.csv; did you mean 'tail'?"
    ]
    Path("configs/schemas").mkdir(exist_ok=True)
    Path("configs/schemas/flights.pbtxt").write_text('feature { name: "carrier" } feature { name: "late" }')
    assert mistakes(FLIGHTS + "slices: [carrier, tail]\n") == [
        "configs/flights.yaml: slices.1: no column 'tail' in configs/schemas/flights.pbtxt"
    ]


def test_a_time_column_may_have_missing_cells(folder):
    (folder / "flights.csv").write_text("day,late\n1/2/2013,no\nNA,no\n13/2/2013,yes\n")
    keys = "time: day\n  time_format: '%d/%m/%Y'\n  missing: [NA]"
    Path("configs/flights.yaml").write_text(FLIGHTS.replace("  csv:", f"  {keys}\n  csv:"))
    column = load("flights", environ={}).time_column
    assert (column.name, column.format, column.missing, column.max_missing) == (
        "day",
        "%d/%m/%Y",
        frozenset({"NA"}),
        0.2,
    )


def test_missing_data_can_be_left_for_later(folder):
    (folder / "flights.csv").unlink()
    assert load("flights", environ={}, check_data=False).name == "flights"


# --- code ------------------------------------------------------------------------------------------------------------


def test_a_function_that_does_not_exist_is_reported_with_a_close_name(folder):
    assert mistakes(FLIGHTS.replace("make_deep", "make_depp")) == [
        "configs/flights.yaml: ensemble.members.deep: no function 'make_depp' in models.py; did you mean 'make_deep'?"
    ]


def test_a_function_is_looked_for_in_a_module_without_importing_it_or_its_package(folder, monkeypatch):
    package = folder / "my_flights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(folder)
    text = FLIGHTS.replace("models: ../models.py", "models: my_flights.models")
    (folder / "configs/flights.yaml").write_text(text)
    code = load("flights", environ={}).user_code("ensemble.members.deep")
    assert code.functions == (f"{package}/models.py:make_deep",)

    assert mistakes(text.replace("make_deep", "make_depp")) == [
        "configs/flights.yaml: ensemble.members.deep: no function 'make_depp' in my_flights.models; "
        "did you mean 'make_deep'?"
    ]
    assert mistakes(text.replace("my_flights.models", "my_flights.model")) == [
        "configs/flights.yaml: models: no module 'my_flights.model'; did you mean 'my_flights.models'?"
    ]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("../modls.py", "no such file: modls.py; did you mean 'models.py'?"),
        ("../broken.py", "broken.py, line 2: not valid Python: "),
        ("no_such_package.x", "no module 'no_such_package'; it must be installed or on PYTHONPATH"),
        ("../models", "got '../models', expected a module (my_package.models) or a Python file (models.py)"),
    ],
)
def test_an_unusable_file_is_reported_once(folder, target, message):
    (folder / "broken.py").write_text("x = 1\ndef f(:\n")
    (line,) = mistakes(FLIGHTS.replace("../models.py", target))
    assert line.startswith(f"configs/flights.yaml: models: {message}")


@pytest.mark.parametrize(
    "body",
    [
        "def deep(inputs, hp): ...",
        "class deep: ...",
        "from elsewhere import deep",
        "from elsewhere import other as deep",
        "from elsewhere import *",
        "import deep",
        "deep = make()",
        "wide, deep = make()",
        "deep: object = make()",
        "if True:\n    def deep(): ...",
        "try:\n    import x\nexcept ImportError:\n    deep = None",
        "with x:\n    deep = 1",
        "s = '\\d'\ndeep = 1",
    ],
)
def test_whatever_binds_a_name_counts_as_a_function(folder, body):
    (folder / "more.py").write_text(body)
    (folder / "configs/flights.yaml").write_text(FLIGHTS.replace("make_deep", "../more.py:deep"))
    assert load("flights", environ={}).ensemble.members["deep"].function == f"{folder}/more.py:deep"


@pytest.mark.parametrize("body", ["def f():\n    deep = 1", "deep: object", "x.deep = 1", "class A:\n    deep = 1"])
def test_what_does_not_bind_the_name_does_not_count(folder, body):
    (folder / "more.py").write_text(body)
    (line,) = mistakes(FLIGHTS.replace("make_deep", "../more.py:deep"))
    assert "ensemble.members.deep: no function 'deep' in more.py" in line


# --- files that are not configs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty, expected a mapping with keys from name, description, purpose, limits, problem, "),
        (b"- 1", "got a list, expected a mapping with keys from name, "),
        (
            FLIGHTS[:-15].encode(),
            "line 21, column 16: not valid YAML: expected the node content, but found the end of the text",
        ),
        (b"name: a\ndata: b: c", "line 2, column 8: not valid YAML: mapping values are not allowed here"),
        (b"name: a\n\tlabel: b", "line 2, column 1: not valid YAML: found character '\\t' that cannot start any token"),
        (b"name: a\n---\nname: b", "line 2, column 1: not valid YAML: but found another document"),
        (b"name: a\nx: \x01", "line 2: not valid YAML: special characters are not allowed (U+0001)"),
        (b"name: !!int x", "not valid YAML: invalid literal for int()"),
        (b"name: !!python/object:os.system x", "line 1, column 7: not valid YAML: could not determine a constructor"),
        (b"name: \xff", "not UTF-8 text: invalid start byte at byte 6"),
    ],
)
def test_a_file_that_is_not_a_config_is_reported_with_the_line(folder, content, message):
    Path("configs/half.yaml").write_bytes(content)
    with pytest.raises(UsageError) as raised:
        load("half", environ={})
    assert str(raised.value).startswith(f"configs/half.yaml: {message}")


# --- overrides -------------------------------------------------------------------------------------------------------


def test_a_flag_wins_over_the_environment_and_that_over_the_yaml(folder):
    key, variable = "ensemble.members.deep.epochs", "BENISON__ENSEMBLE__MEMBERS__DEEP__EPOCHS"

    def epochs(**arguments) -> int:
        return load("flights", **arguments).ensemble.members["deep"].epochs

    assert epochs(environ={}) == 9
    assert epochs(environ={variable: "8"}) == 8
    assert epochs(environ={variable: "8"}, overrides={key: "7"}) == 7


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("seed", "3", lambda p: p.seed == 3),
        ("slices", "[airline]", lambda p: p.slices == ("airline",)),
        ("splits.train", "8", lambda p: (p.splits.train, p.splits.test) == (8, 2)),
        ("blessing.rules.0.min", "0.9", lambda p: p.blessing.rules[0].min == 0.9),
        ("blessing.resamples", "50", lambda p: (p.blessing.resamples, len(p.blessing.rules)) == (50, 1)),
        ("ensemble.members.linear.epochs", "4", lambda p: p.ensemble.members["linear"].epochs == 4),
        ("ensemble.members.again", "{function: linear}", lambda p: len(p.ensemble.members) == 3),
        (
            "ensemble.members.linear.hyperparameters.rate",
            "3e-4",
            lambda p: p.ensemble.members["linear"].hyperparameters["rate"] == 0.0003,
        ),
    ],
)
def test_a_flag_sets_any_key_and_its_value_is_yaml(folder, key, value, read):
    assert read(load("flights", {key: value}, environ={}))


def test_the_environment_finds_keys_in_any_case(folder):
    text = FLIGHTS.replace("epochs: 9", "hyperparameters: {someRate: 1}")
    (folder / "configs/flights.yaml").write_text(text)
    environ = {"BENISON__ENSEMBLE__MEMBERS__DEEP__HYPERPARAMETERS__SOMERATE": "2", "BENISON_ROOT": "/elsewhere"}
    assert load("flights", environ=environ).ensemble.members["deep"].hyperparameters == {"someRate": 2}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "ensemble.foo",
            "1",
            "--set ensemble.foo: unknown key (allowed: combiner, weights, calibration, drop, folds, quorum, members)",
        ),
        (
            "ensemble.member",
            "1",
            "--set ensemble.member: unknown key; did you mean 'members'? (allowed: combiner, weights, calibration, drop, folds, quorum, members)",
        ),
        ("seed", "x", "--set seed: got 'x', expected an integer from 0 to 4294967295"),
        ("seed", "", "--set seed: got nothing, expected an integer from 0 to 4294967295"),
        (
            "data",
            "{csv: 3}",
            "--set data: data.csv: got 3, expected text (in quotes where YAML would read something else)",
        ),
        ("data", "{csv: a, csv: b}", "--set data: csv: given twice, on lines 1 and 1; keep one"),
        ("label.x", "1", "--set label.x: no key 'x' in 'late', which is not a mapping"),
        (
            "slices",
            "[a",
            "--set slices: line 1, column 3: not valid YAML: expected ',' or ']', but got the end of the text",
        ),
        ("blessing.rules.3.min", "1", "--set blessing.rules.3.min: no entry '3' in a list of 1 (entries count from 0)"),
        (
            "ensemble.members.deep.function",
            "linea",
            "--set ensemble.members.deep.function: no function 'linea' in models.py; did you mean 'linear'?",
        ),
        (
            "ensemble.members.line.epochs",
            "3",
            "--set ensemble.members.line.epochs: ensemble.members.line: no function 'line' in models.py; "
            "did you mean 'linear'?",
        ),
        ("data.csv", "none.txt", "--set data.csv: no such file: configs/none.txt"),
    ],
)
def test_a_mistake_in_a_flag_names_the_flag(folder, key, value, message):
    assert mistakes(FLIGHTS, overrides={key: value}) == [message]


def test_a_mistake_in_the_environment_names_the_variable(folder):
    assert mistakes(FLIGHTS, environ={"BENISON__ENSEMBLE__FOO": "1"}) == [
        "BENISON__ENSEMBLE__FOO: ensemble.foo: unknown key (allowed: combiner, weights, calibration, drop, folds, quorum, members)"
    ]


def test_an_overridden_value_is_not_a_mistake(folder):
    (folder / "configs/flights.yaml").write_text(FLIGHTS.replace("epochs: 9", "epochs: many"))
    assert load("flights", {"ensemble.members.deep.epochs": "2"}, environ={}).ensemble.members["deep"].epochs == 2


# --- finding ---------------------------------------------------------------------------------------------------------


def test_a_name_is_found_in_configs_then_here_then_among_the_shipped(folder, monkeypatch):
    shipped = folder / "installed/configs"
    shipped.mkdir(parents=True)
    monkeypatch.setattr(config_file, "SHIPPED", (shipped,))
    for place in ("installed/configs/a.yaml", "a.yaml", "configs/a.yaml"):
        (folder / place).write_text(FLIGHTS.replace("Late flights", place))
    assert find("a") == Path("configs/a.yaml")
    (folder / "configs/a.yaml").unlink()
    assert find("a") == Path("a.yaml")
    (folder / "a.yaml").unlink()
    assert find("a") == shipped / "a.yaml"
    assert available() == [
        Listed("a", "installed/configs/a.yaml", shipped / "a.yaml"),
        Listed("flights", "Late flights", Path("configs/flights.yaml")),
    ]


def test_only_pipelines_are_listed(folder):
    (folder / "configs/broken.yaml").write_text("{")
    (folder / "docker-compose.yaml").write_text("services: {}")
    assert [listed.name for listed in available()] == ["flights"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "flihgts",
            "no pipeline 'flihgts'; did you mean 'flights'? (looked in configs, the current folder; to name a file, "
            "end it with .yaml)",
        ),
        ("configs/flihgts.yaml", "configs/flihgts.yaml: no such file; did you mean 'configs/flights.yaml'?"),
        ("configs/", "configs/: is a folder, expected a YAML file"),
    ],
)
def test_a_missing_pipeline_is_reported_with_a_close_name(folder, given, message):
    with pytest.raises(UsageError) as raised:
        load(given, environ={})
    assert str(raised.value) == message


def test_the_shipped_penguins_are_a_good_config():
    """Check only the YAML and the code: the data is in a package that may not be installed."""
    penguins = Path(__file__).parents[3] / "configs/penguins.yaml"
    read = load(str(penguins), environ={}, check_data=False)
    assert list(read.ensemble.members) == ["linear", "quadratic", "deep"]
    assert read.data.csv == "package:palmerpenguins/data/penguins.csv"
