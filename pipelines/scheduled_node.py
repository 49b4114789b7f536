"""Run one node of a scheduled run: log its output to a file as well, and record it in `run.json`.

    python -m benison.pipelines.scheduled_node --run RUN --node ID [--root DIR] [--no-cache] [--attempt N]

`python -m benison.pipelines.begin` starts RUN. `benison.pipelines.running.answer` describes the output.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benison.pipelines import node
from benison.pipelines.quiet import quieten
from benison.pipelines.records import attempts, runs, temporary
from benison.pipelines.records.runs import Run
from benison.pipelines.running import live_log, scheduled_run
from benison.pipelines.running.answer import answer_and_exit
from benison.pipelines.running.node_result import Result, failed_result
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError
from benison.serving.versions import local


def run(
    root: Path, run_id: str, node_id: str, *, cache: bool = True, attempt: int | None = None
) -> tuple[Result, Mapping[str, Any]]:
    """Run a node as the only attempt at it: an earlier attempt that is still running is ended first.

    Args:
        root: ROOT.
        run_id: a run that Begin started.
        node_id: the node's id.
        cache: False never uses the cache, whatever the run's own setting.
        attempt: the scheduler's number of this attempt, for the log.

    Returns:
        The result; and a `report` of a Blessing or a Pusher.

    Raises:
        UsageError: there is no such run or node.
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
        with temporary.folder(root, run_id, node_id) as own, temporary.use(own):
            result = _run(root, folder, run_id, node_id, settings, cache)
        scheduled_run.record_end(root, run_id, node_id, result.state, result.reason, result.outputs)
    return result, report(known[node_id].kind, result)


def _run(
    root: Path, folder: Path, run_id: str, node_id: str, settings: scheduled_run.RunSettings, cache: bool
) -> Result:
    try:
        quieten()
        pipeline = node.load_ir(folder / scheduled_run.IR, run_id, settings.params)
        upstream = {n.pipeline_node.node_info.id: n.pipeline_node.upstream_nodes for n in pipeline.nodes}
        if _any_skipped(runs.read(folder / runs.FILE), upstream[node_id]):
            return Result("skipped", reason="a node that it depends on was skipped")
        return node.run(
            folder / scheduled_run.IR,
            node_id,
            run_id,
            root=root,
            params=settings.params,
            cache=cache and settings.cache,
        )
    except (Exception, SystemExit) as error:
        return failed_result(error)


def _any_skipped(run: Run, upstream: Any) -> bool:
    return any(record.state == "skipped" for record in run.nodes if record.id in upstream)


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
    args = parser.parse_args()
    answer_and_exit(
        lambda: run(args.root.absolute(), args.run, args.node, cache=not args.no_cache, attempt=args.attempt)
    )


if __name__ == "__main__":
    main()
