"""Run one node of a scheduled run: log its output to a file as well, and record it in `run.json`.

    python -m benison.pipelines.scheduled_node --run RUN --node ID [--root DIR] [--no-cache] [--attempt N] [--helped]

`python -m benison.pipelines.begin` starts RUN. `benison.pipelines.running.answer` describes the output.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benison.pipelines import node
from benison.pipelines.quiet import quieten
from benison.pipelines.records import attempts, metadata_store, runs, temporary
from benison.pipelines.records.runs import NodeRun
from benison.pipelines.reports import reported_run
from benison.pipelines.running import live_log, reruns, scheduled_run, search_announcement
from benison.pipelines.running.answer import answer_and_exit
from benison.pipelines.running.node_result import Result, failed_result
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError
from benison.serving.versions import local


def run(
    root: Path, run_id: str, node_id: str, *, cache: bool = True, attempt: int | None = None, helped: bool = False
) -> tuple[Result, Mapping[str, Any]]:
    """Run a node as the only attempt at it: an earlier attempt that is still running is ended first.

    Args:
        root: ROOT.
        run_id: a run that Begin started.
        node_id: the node's id.
        cache: False never uses the cache, whatever the run's own setting.
        attempt: the scheduler's number of this attempt, for the log.
        helped: the scheduler has started helpers of this Tuner (`benison.pipelines.search_worker`).

    Returns:
        The result; and a `report` of a Blessing or a Pusher, or for a skipped node `because`, the node that refused the
        model.

    Raises:
        UsageError: there is no such run or node; or a node that must run before it has not run, has failed, or ran
            before its own inputs were made again.
    """
    settings = scheduled_run.read_settings(root, run_id)
    folder = scheduled_run.run_folder(root, run_id)
    known = {record.id: record for record in runs.read(folder / runs.FILE).nodes}
    if node_id not in known:
        raise UsageError(f"run {run_id}: no node {node_id!r}{did_you_mean(node_id, known)}")
    scheduled_run.use_import_path(settings)
    with live_log.log_to_file(folder / f"{node_id}.log"), attempts.sole_attempt(folder, node_id):
        if attempt is not None:
            print(f"{node_id}, attempt {attempt}", flush=True)
        scheduled_run.record_start(root, run_id, node_id)
        try:
            search = search_announcement.announced(search_announcement.file(folder, node_id))
            with (
                temporary.folder(root, run_id, node_id) as own,
                temporary.use(own),
                search if helped else nullcontext(),
            ):
                result, more = _run(root, folder, run_id, node_id, settings, cache)
        except UsageError as error:
            scheduled_run.record_end(root, run_id, node_id, "failed", str(error), {})
            raise
        scheduled_run.record_end(root, run_id, node_id, result.state, result.reason, result.outputs)
    return result, {**report(known[node_id].kind, result), **_page(root, folder, known[node_id].kind), **more}


def _page(root: Path, folder: Path, kind: str) -> dict[str, str]:
    """Write the report of the run so far after the Blessing, so that its task links to it; Finish completes it."""
    if kind != "Blessing":
        return {}
    page = reported_run.report(runs.read(folder / runs.FILE), root)
    return {"page": page.as_uri()} if page else {}


def _run(
    root: Path, folder: Path, run_id: str, node_id: str, settings: scheduled_run.RunSettings, cache: bool
) -> tuple[Result, Mapping[str, str]]:
    try:
        quieten()
        pipeline = node.load_ir(folder / scheduled_run.IR, run_id, settings.params)
        scheduled_run.check_host(run_id, settings, metadata_store.sqlite_file(pipeline, root))
        nodes = {n.pipeline_node.node_info.id: n.pipeline_node for n in pipeline.nodes}
        records = {record.id: record for record in runs.read(folder / runs.FILE).nodes}
        if any(records[name].state == "skipped" for name in nodes[node_id].upstream_nodes if name in records):
            return _skipped("a node that it depends on was skipped", nodes, node_id, records)
        refuse_missing_outputs(producers(nodes[node_id]), records)
        refuse_missing_checks(nodes[node_id].upstream_nodes, records)
        refuse_old_outputs({name: list(entry.upstream_nodes) for name, entry in nodes.items()}, node_id, records)
        result = node.run(
            folder / scheduled_run.IR,
            node_id,
            run_id,
            root=root,
            params=settings.params,
            cache=cache and settings.cache,
        )
        return _skipped(result.reason, nodes, node_id, records) if result.state == "skipped" else (result, {})
    except UsageError:  # a retry would fail too
        raise
    except (Exception, SystemExit) as error:
        return failed_result(error), {}


def producers(pipeline_node: Any) -> list[str]:
    """Return the nodes whose outputs of this run a node reads.

    Optional inputs count too: without a Tuner's output a Trainer would train with other hyperparameters.
    """
    return [
        channel.producer_node_query.id
        for spec in pipeline_node.inputs.inputs.values()
        for channel in spec.channels
        if any(query.type.name == reruns.RUN for query in channel.context_queries)
    ]


def refuse_missing_outputs(needed: Sequence[str], records: Mapping[str, NodeRun]) -> None:
    """Refuse to start a node if a node whose outputs it needs has not run, or has failed.

    Raises:
        UsageError: the message names that node.
    """
    for name, state in _missing(needed, records):
        raise UsageError(
            f"the outputs of {name} are missing, because {name} {state} in this run; if its task was "
            f"marked as successful by hand, clear {name}, so that it runs"
        )


def refuse_missing_checks(earlier: Sequence[str], records: Mapping[str, NodeRun]) -> None:
    """Refuse to start a node after a check that has not run, or has failed, such as an AnomalyGate that found bad data.

    Nodes do not read the outputs of a check. Without this, a task that was marked as successful by hand would let bad
    data, or a model that nothing has evaluated, through.

    Args:
        earlier: the nodes that must run before it.
        records: the nodes of the run.

    Raises:
        UsageError: the message names that node and its reason.
    """
    for name, state in _missing(earlier, records):
        because = f" ({records[name].reason})" if records[name].reason else ""
        raise UsageError(
            f"{name} {state} in this run{because}, and this node may run only after it; to mark its task as successful "
            f"does not replace it: repair the cause and clear {name}, or start a new run"
        )


def _missing(names: Sequence[str], records: Mapping[str, NodeRun]) -> Iterator[tuple[str, str]]:
    """Yield the nodes of the run that have not run or have failed, each with these words."""
    for name in names:
        record = records.get(name)
        if record is not None and record.state in ("waiting", "not_run", *runs.FAILED_STATES):
            yield name, "has failed" if record.state in runs.FAILED_STATES else "has not run"


def refuse_old_outputs(upstream: Mapping[str, Sequence[str]], node_id: str, records: Mapping[str, NodeRun]) -> None:
    """Refuse to start a node if an earlier one ran before the inputs of that one were made again.

    This is so after somebody cleared a task without the tasks downstream of it. Without this, Pusher could push a new
    model with the blessing of the old one.

    Args:
        upstream: the nodes of the pipeline, each with the nodes that must run before it.
        node_id: the node.
        records: the nodes of the run.

    Raises:
        UsageError: the message names both nodes.
    """
    turns = {name: record.turn for name, record in records.items()}
    seen: set[str] = set()
    unvisited = list(upstream[node_id])
    while unvisited:
        name = unvisited.pop()
        if name in seen or name not in upstream:
            continue
        seen.add(name)
        unvisited += upstream[name]
        newer = next((other for other in upstream[name] if turns.get(other, 0) > turns.get(name, 0)), None)
        if newer is not None:
            raise UsageError(
                f"the outputs of {name} are out of date, because {newer} ran again after it in this run; "
                f"clear {newer} with its downstream tasks"
            )


def _skipped(
    reason: str, nodes: Mapping[str, Any], node_id: str, records: Mapping[str, NodeRun]
) -> tuple[Result, Mapping[str, str]]:
    """Return the result of a skipped node, with the refusal of an earlier node if that is the cause."""
    earlier: set[str] = set()
    unvisited = [node_id]
    while unvisited:
        new = set(nodes[unvisited.pop()].upstream_nodes) & set(nodes) - earlier
        earlier |= new
        unvisited += new
    for name, record in records.items():
        if name in earlier and record.state in ("not_blessed", "not_pushed"):
            return Result("skipped", reason=f"{name} refused the model: {record.reason}"), {"because": name}
    return Result("skipped", reason=reason), {}


def report(kind: str, result: Result) -> dict[str, Any]:
    """Return the report of a Blessing or a Pusher that the scheduler shows.

    Args:
        kind: the component's class name.
        result: the node's result.

    Returns:
        `{"report": {…}}`: the metrics and verdicts of a Blessing, the version of a Pusher; an empty dict for others.
    """
    if kind == "Blessing" and result.outputs.get("blessing"):
        blessing = _read(Path(result.outputs["blessing"][0]["uri"]) / "blessing.json")
        return {"report": {key: blessing[key] for key in ("metrics", "verdicts") if key in blessing}}
    pushed = result.outputs.get("pushed_model", [{}])[0].get("properties", {}) if kind == "Pusher" else {}
    if not pushed.get("pushed_version"):
        return {}
    path = Path(pushed["pushed_destination"])
    manifest = local.read_manifest(path)
    version_report = {
        "version": int(pushed["pushed_version"]),
        "path": str(path),
        "manifest": str(path / local.MANIFEST),
        "metrics": dict(manifest.metrics.get("ensemble", {})),
        "members": list(manifest.members),
        "spans": list(manifest.spans),
        "pushed": bool(pushed.get("pushed")),
        "promoted": "not_promoted" not in pushed,
        "not_promoted": pushed.get("not_promoted", ""),
        "already_served": bool(pushed.get("already_served")),
    }
    return {"report": version_report}


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def main() -> None:
    """Run the command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m benison.pipelines.scheduled_node")
    parser.add_argument(
        "--run", required=True, metavar="RUN", help="a run that `python -m benison.pipelines.begin` began"
    )
    parser.add_argument("--node", required=True)
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("BENISON_ROOT", ".benison")))
    parser.add_argument("--no-cache", action="store_true")
    parser.add_argument("--attempt", type=int, metavar="N", help="shown in the log")
    parser.add_argument("--helped", action="store_true", help="for a Tuner: other tasks are its workers")
    args = parser.parse_args()
    answer_and_exit(
        lambda: run(
            args.root.absolute(),
            args.run,
            args.node,
            cache=not args.no_cache,
            attempt=args.attempt,
            helped=args.helped,
        )
    )


if __name__ == "__main__":
    main()
