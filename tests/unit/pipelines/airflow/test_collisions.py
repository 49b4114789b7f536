"""Pipelines that one Airflow cannot tell apart are refused before anything is written, and the message names both files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benison.pipelines.airflow.collisions import Compiled, refuse
from benison.serving.errors import UsageError


def compiled(name: str, source: str = "", root: str = "/root", scheduled: bool = False) -> Compiled:
    return Compiled(name, source or f"/project/{name}.yaml", root, scheduled)


def write(folder: Path, *pipelines: Compiled) -> None:
    folder.mkdir(exist_ok=True)
    for pipeline in pipelines:
        schedule = "@daily" if pipeline.scheduled else None
        text = {"name": pipeline.name, "source": pipeline.source, "root": pipeline.root, "schedule": schedule}
        (folder / f"{pipeline.name}.json").write_text(json.dumps(text))


def test_two_yamls_with_one_name_in_one_command_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        refuse(tmp_path, [compiled("birds", "/a/birds.yaml"), compiled("birds", "/b/more.yaml")])
    assert str(raised.value) == (
        "/b/more.yaml with ROOT /root: one Airflow cannot have its DAG 'birds' and that of /a/birds.yaml with ROOT /root; "
        "change `name` in one of them"
    )


@pytest.mark.parametrize("order", [1, -1])
def test_a_pipeline_called_like_the_second_dag_of_another_is_refused(tmp_path: Path, order: int) -> None:
    both = [compiled("flights", scheduled=True), compiled("flights_by_date")][::order]
    with pytest.raises(UsageError, match=r"DAG 'flights_by_date'"):
        refuse(tmp_path, both)
    write(tmp_path, both[0])
    with pytest.raises(UsageError, match=rf"{both[1].source} .*{both[0].name}\.json, compiled from {both[0].source}"):
        refuse(tmp_path, both[1:])


@pytest.mark.parametrize(
    "other", [compiled("birds", "/other/birds.yaml"), compiled("birds", root="/other"), Compiled("birds")]
)
def test_a_name_that_another_project_or_root_uses_is_refused(tmp_path: Path, other: Compiled) -> None:
    write(tmp_path, other)
    with pytest.raises(UsageError, match=r"birds\.json, compiled from .*, or remove .*birds\.json to replace it"):
        refuse(tmp_path, [compiled("birds")])


def test_a_pipeline_replaces_its_own_manifest_and_stands_beside_others(tmp_path: Path) -> None:
    write(tmp_path, compiled("birds", scheduled=True), compiled("flights", scheduled=True))
    refuse(tmp_path, [compiled("birds", scheduled=True), compiled("fish"), compiled("fish")])
    refuse(tmp_path, [compiled("birds"), compiled("birds_by_date")])  # the new manifest of birds has no second DAG


def test_a_pipeline_is_the_same_however_its_paths_are_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/root")
    write(tmp_path / "m", compiled("birds", root="/project/../root"))
    refuse(tmp_path / "m", [compiled("birds", "/project/../project/birds.yaml", str(tmp_path / "link"))])


def test_files_that_are_no_manifests_do_not_matter(tmp_path: Path) -> None:
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"manifest": 2, "name": "birds"}')):
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "d.json").mkdir()
    (tmp_path / "e.json").symlink_to("/nowhere")
    refuse(tmp_path, [compiled("birds")])
