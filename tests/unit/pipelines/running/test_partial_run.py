"""The nodes of a partial run, and what it takes from earlier runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benison.pipelines.compilation.compiled import Compiled, Node
from benison.pipelines.records.runs import NodeRun, Run
from benison.pipelines.running import partial_run
from benison.pipelines.running.partial_run import Part
from benison.serving.errors import UsageError

IR = Path("ir")
UPSTREAM = {
    "Gen[1]": (),
    "Gen": ("Gen[1]",),
    "Trainer.deep": ("Gen",),
    "Trainer.wide": ("Gen",),
    "Ensemble": ("Trainer.deep", "Trainer.wide"),
    "Baseline": ("Ensemble",),
    "Evaluator": ("Ensemble",),
    "Blessing": ("Ensemble", "Baseline"),
    "Pusher": ("Blessing", "Evaluator"),
}
COMPILED = Compiled("birds", IR, tuple(Node(n, up, n.partition("[")[0], n, IR) for n, up in UPSTREAM.items()))
MODELS = ["Gen[1]", "Gen", "Trainer.deep", "Trainer.wide", "Ensemble"]


def _run(name: str, *ended: str, outcome: str = "pushed", **facts) -> Run:
    nodes = [
        NodeRun(n, n, "log", state="complete" if n in ended else "not_run", outputs={"o": [{"uri": f"{name}/{n}"}]})
        for n in UPSTREAM
    ]
    return Run(name, "birds", Path(name), 1.0, 1.0, outcome, nodes, **facts)


WHOLE = _run("birds-1", *UPSTREAM)


def _roles(part: Part, *earlier: Run) -> dict[str, list[str]]:
    plan = partial_run.plan(part, COMPILED, earlier, lambda run: ["data"])
    assert [node.id for node in plan.compiled.nodes] == [name for name in UPSTREAM if name in plan.roles]
    names: dict[str, list[str]] = {}
    for name, role in plan.roles.items():
        names.setdefault(role, []).append(name)
    return names


@pytest.mark.parametrize(
    ("part", "roles"),
    [
        (Part(last="Evaluator"), {"needed": [*MODELS, "Evaluator"]}),
        (Part(last="Trainer.*"), {"needed": MODELS[:4]}),
        (Part(only="Ensemble"), {"taken": MODELS[:4], "again": ["Ensemble"]}),
        (Part(only="Gen[1]"), {"again": ["Gen[1]"]}),
        (Part(only="Blessing"), {"taken": MODELS, "needed": ["Baseline"], "again": ["Blessing"]}),
        (
            Part(first="Trainer.deep"),
            {
                "taken": ["Gen[1]", "Gen", "Trainer.wide"],
                "again": ["Trainer.deep", "Ensemble", "Baseline", "Evaluator", "Blessing", "Pusher"],
            },
        ),
        (
            Part(first="Trainer.?eep", last="Ensemble"),
            {"taken": ["Gen[1]", "Gen", "Trainer.wide"], "again": ["Trainer.deep", "Ensemble"]},
        ),
    ],
)
def test_a_part_has_the_nodes_that_it_names_and_takes_what_they_need(part: Part, roles: dict[str, list[str]]) -> None:
    assert _roles(part, WHOLE) == roles


def test_a_resumed_run_takes_what_had_finished_and_pushes_again() -> None:
    failed = _run("birds-2", *MODELS, "Baseline", "Pusher", outcome="not_pushed")
    rest = ["Baseline", "Evaluator", "Blessing", "Pusher"]
    assert _roles(Part(resume="birds-2"), failed) == {"taken": MODELS, "needed": rest}


def test_a_resumed_partial_run_stays_the_part_that_it_was() -> None:
    failed = _run("birds-2", *MODELS, outcome="failed", part={"from": "Trainer.deep", "to": "Evaluator"})
    assert _roles(Part(resume="birds-2"), WHOLE, failed) == {"taken": MODELS, "again": ["Evaluator"]}


def test_outputs_of_the_last_run_that_has_all_of_them_are_preferred() -> None:
    other = _run("birds-2", "Gen[1]", "Gen")
    plan = partial_run.plan(Part(only="Ensemble"), COMPILED, [WHOLE, other], lambda run: [f"code.{run.id}"])
    taking = plan.taking("Gen")
    assert taking is not None
    assert taking["uris"] == ["birds-1/Gen"]
    assert "(code of birds-1)" in taking["refusal"]
    assert plan.taking("Ensemble") is None
    assert plan.is_fresh("Ensemble")


@pytest.mark.parametrize(
    ("changed", "of_data", "of_model"),
    [
        (["benison", "data.0", "data.window"], "(data, window)", "(Benison)"),
        (["benison", "code.deep"], "(Benison, code of deep)", "(Benison, code of deep)"),
        (["data.files"], "(files of the data)", "since; a whole run"),
    ],
)
def test_a_refusal_names_only_changes_that_the_node_depends_on(changed: list[str], of_data: str, of_model: str) -> None:
    nodes = (Node("Gen", (), "CsvExampleGen", "Gen", IR), *COMPILED.nodes[2:5])
    plan = partial_run.plan(Part(only="Ensemble"), replace(COMPILED, nodes=nodes), [WHOLE], lambda run: changed)
    for name, words in {"Gen": of_data, "Trainer.deep": of_model}.items():
        taking = plan.taking(name)
        assert taking is not None
        assert words in taking["refusal"]


@pytest.mark.parametrize(
    ("part", "error"),
    [
        (Part(last="Evaluater"), "--to Evaluater: birds has no such node; did you mean 'Evaluator'?; its nodes: Gen"),
        (Part(only="Trainer"), "--only Trainer: birds has no such node; for all of them: Trainer.*; its nodes"),
        (Part(first="Evaluator", last="Blessing"), "Blessing does not depend on Evaluator"),
        (Part(only="Blessing"), "no run has the outputs of Ensemble, which .*: benison run birds --to Ensemble"),
    ],
)
def test_a_part_that_does_not_exist_or_has_no_inputs_is_refused(part: Part, error: str) -> None:
    with pytest.raises(UsageError, match=error.replace("*;", r"\*;").replace("?;", r"\?;")):
        _roles(part, _run("birds-1", *MODELS[:4]))


@pytest.mark.parametrize(
    ("part", "options", "error"),
    [
        (Part(only="A", last="B"), {}, "--to and --only contradict"),
        (Part(first="A", resume="r"), {}, "--resume and --from contradict"),
        (Part(first="A"), {"cache": False}, "--no-cache and --from contradict"),
        (Part(resume="r"), {"cache": False}, "--no-cache and --resume contradict"),
        (Part(resume="r"), {"span": "3"}, "--resume and --span contradict"),
    ],
)
def test_options_that_contradict_each_other_are_refused(part: Part, options: dict, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        part.check(**options)


@pytest.mark.parametrize(
    ("run", "error"),
    [
        ("birds-1", "this run has finished \\(pushed\\); to run a part of it again use --from"),
        ("birds-2", "ended before any of its nodes finished"),
        ("birds-9", "no run of birds with this id"),
        ("birds-4", "Airflow ran it; clear its failed task there"),
    ],
)
def test_a_run_that_cannot_be_resumed_says_why(tmp_path: Path, run: str, error: str) -> None:
    for name, outcome, ended in (
        ("birds-1", "pushed", ["Gen"]),
        ("birds-2", "failed", []),
        ("birds-4", "failed", ["Gen"]),
    ):
        record = _run(name, *ended, outcome=outcome)
        record.folder = tmp_path / "runs" / name
        record.folder.mkdir(parents=True)
        record.save()
    (tmp_path / "runs/birds-4/scheduled.json").touch()
    with pytest.raises(UsageError, match=error):
        partial_run.find_resumable(tmp_path, "birds", run)


def test_a_resumed_run_has_the_values_of_the_first_one_and_asks_for_those_that_no_record_keeps() -> None:
    run = _run("birds-2", sets={"seed": "3", "serving.store": "..."})
    assert partial_run.resumed_sets(run, {"serving.store": "s3://x"}) == {"seed": "3", "serving.store": "s3://x"}
    with pytest.raises(UsageError, match=r"had --set serving\.store=…, whose value"):
        partial_run.resumed_sets(run, {})
    with pytest.raises(UsageError, match="--resume and --set seed contradict"):
        partial_run.resumed_sets(run, {"seed": "4", "serving.store": "s3://x"})
