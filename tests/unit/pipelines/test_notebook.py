"""A notebook's Context: changes are checked, shown as --set would, and written back into the YAML."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison import Context, UsageError, load_config

YAML = """\
name: pets                       # of the served model
problem: binary
label: adopted
positive: "yes"
data: {csv: pets.csv}            # exported by hand
columns:
  age: number
  kind.of: category              # cat or dog
ensemble:
  members:
    deep: {kind: linear}
    # the best
    trees:
      kind: trees
      hyperparameters: {depth: 3}     # not deep
"""


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENISON_ROOT", raising=False)
    (tmp_path / "pets.csv").write_text("age,kind.of,adopted\n3,cat,yes\n4,dog,no\n")
    (tmp_path / "pets.yaml").write_text(YAML)
    return Context("pets")


def test_the_context_finds_the_yaml_and_root_as_the_command_line(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (context.name, context.root) == ("pets", tmp_path / ".benison")
    monkeypatch.setenv("BENISON_ROOT", str(tmp_path / "other"))
    assert Context("pets.yaml").root == tmp_path / "other"
    with pytest.raises(UsageError, match=r"no pipeline 'pet'; did you mean 'pets'"):
        Context("pet")


def test_changes_are_written_back_and_nothing_else(context: Context, tmp_path: Path) -> None:
    context.set("members.trees.hyperparameters.depth", 4)
    context.set("columns.kind.of", {"kind": "hashed", "size": 9})
    context.set("seed", 3)
    assert context.config.ensemble.members["trees"].hyperparameters["depth"] == 4
    assert (tmp_path / "pets.yaml").read_text() == YAML
    diff = context.export()
    expected = (
        YAML.replace("depth: 3", "depth: 4").replace("of: category              #", "of: {kind: hashed, size: 9}  #")
        + "seed: 3\n"
    )
    assert (tmp_path / "pets.yaml").read_text() == expected
    assert "-      hyperparameters: {depth: 3}     # not deep\n+      hyperparameters: {depth: 4}" in diff
    assert context.changes == {}
    assert context.export() == ""


def test_a_wrong_change_is_refused_and_changes_nothing(context: Context) -> None:
    context.set("seed", 3)
    with pytest.raises(UsageError, match="unknown key; did you mean 'hyperparameters'"):
        context.set("members.trees.hyperparameter", {})
    with pytest.raises(UsageError, match=r"columns\.age"):
        context.set("columns.age.kind", "nummber")
    assert context.changes == {"seed": 3}


def test_export_refuses_a_file_that_has_changed_since_it_was_loaded(context: Context, tmp_path: Path) -> None:
    context.set("seed", 3)
    edited = YAML.replace("exported by hand", "exported")
    (tmp_path / "pets.yaml").write_text(edited)
    with pytest.raises(UsageError, match=r"pets\.yaml: has changed since it was loaded"):
        context.export()
    assert (tmp_path / "pets.yaml").read_text() == edited


def test_a_context_of_a_config_has_nothing_to_write_to(context: Context) -> None:
    of_config = Context(load_config("pets"))
    with pytest.raises(UsageError, match="make it of a name or a file"):
        of_config.set("seed", 3)
    with pytest.raises(UsageError, match="has no run of pets yet"):
        of_config.show()
