"""`benison eject`: the Python that it writes, and the YAML that refers to it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benison.pipelines.config_file import load
from benison.pipelines.starting.eject import eject, yaml_text
from benison.serving.errors import UsageError

YAML = """\
# My pets.
name: pets  # short
problem: binary
label: adopted
data: {csv: pets.csv}

# What each column is.
columns:
  age: number  # in years
  # what the shelter says
  species: {kind: category, size: 3}
  born: {kind: date, format: "%d/%m/%Y"}

ensemble:  # of two
  members: {linear: , deep: {epochs: 3}}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pets.csv").write_text("age,species,born,adopted\n")
    Path("pets.yaml").write_text(YAML)
    return tmp_path


def test_the_yaml_names_the_files_and_keeps_its_comments(here):
    assert eject("pets") == (Path("pets/features.py"), Path("pets/models.py"), Path("pets.yaml"))
    assert (
        Path("pets.yaml").read_text()
        == """\
# My pets.
name: pets  # short
problem: binary
label: adopted
data: {csv: pets.csv}

features: "pets/features.py"
models: "pets/models.py"

# What each column is.
# Ejected: the features are now computed in pets/features.py, which was generated from these columns:
# columns:
#   age: number  # in years
  # what the shelter says
#   species: {kind: category, size: 3}
#   born: {kind: date, format: "%d/%m/%Y"}

ensemble:  # of two
  members: {linear: , deep: {epochs: 3}}
""".replace("\n  # what", "\n#   # what")
    )
    read = load("pets")
    assert read.features == f"{here}/pets/features.py:preprocessing_fn"
    assert read.ensemble.members["deep"].function == f"{here}/pets/models.py:deep"


def test_lines_that_name_the_generic_code_are_replaced_where_they_stand():
    text = YAML.replace("data:", "models: benison.pipelines.generic.models  # ours\ndata:")
    assert 'models: "m.py"  # ours\ndata:' in yaml_text(text, {"features": "f.py", "models": "m.py"})


def test_the_features_contain_these_columns_and_only_the_needed_functions(here):
    eject("pets", Path("pipelines"))
    text = Path("pipelines/features.py").read_text()
    assert 'NUMBERS = ("age",)\nCATEGORIES = {"species": 3}\nDATES = {"born": "%d/%m/%Y"}\n' in text
    assert '"categories": categories(inputs, CATEGORIES),' in text
    assert "from benison import category_ids, dense_columns, number_scores, one_hot\n" in text
    defined = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    assert {"preprocessing_fn", "numbers", "categories", "dates", "date_parts"} <= defined
    assert not {"hashes", "texts", "names_of", "sizes_of"} & defined


def test_the_features_of_trees_are_those_of_the_columns_too(here):
    Path("pets.yaml").write_text(YAML.replace("deep: {epochs: 3}", "deep: {epochs: 3}, boosted: {kind: trees}"))
    eject("pets")
    text = Path("pets/features.py").read_text()
    assert "from benison.pipelines.generic.trees import tree_features\n" in text
    assert '        "trees": tree_features(inputs, TREES),\n' in text
    assert '    "born": {"kind": "date", "format": "%d/%m/%Y"},\n}\n' in text
    assert "boosted" not in Path("pets/models.py").read_text()


def test_the_members_are_those_of_the_yaml(here):
    eject("pets")
    tree = ast.parse(Path("pets/models.py").read_text())
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == [
        "linear",
        "deep",
        "joined",
        "hidden",
    ]


@pytest.mark.parametrize("file", ["features.py", "models.py"])
def test_every_name_in_the_written_files_is_defined(here, file):
    import builtins

    eject("pets")
    tree = ast.parse(Path("pets", file).read_text())
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    bound |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    bound |= {
        a.asname or a.name.split(".")[0]
        for n in ast.walk(tree)
        if isinstance(n, (ast.Import, ast.ImportFrom))
        for a in n.names
    }
    assert used - bound - set(dir(builtins)) == set()


def test_no_file_is_overwritten(here):
    Path("pets").mkdir()
    Path("pets/models.py").write_text("mine")
    with pytest.raises(UsageError, match=r"pets/models\.py: already exists; use --to for another folder"):
        eject("pets")
    assert Path("pets.yaml").read_text() == YAML


def test_a_pipeline_with_its_own_python_is_refused(here):
    eject("pets")
    with pytest.raises(UsageError, match=r"pets\.yaml: features: .* is already your own code"):
        eject("pets")
