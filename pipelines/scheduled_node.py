"""One node of a run that a scheduler steps through, logged beside its live output and recorded in `run.json`.

    python -m benison.pipelines.scheduled_node --run RUN --node ID [--root DIR] [--no-cache] [--attempt N]

RUN is one that `python -m benison.pipelines.begin` began. It answers as `benison.pipelines.running.answer` says.
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
from benison.pipelines.records import attempts, runs
from benison.pipelines.records.runs import Run
from benison.pipelines.running import live_log, scheduled
from benison.pipelines.running.answer import answer
from benison.pipelines.running.node_result import Result, broken
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError
from benison.serving.versions import local


def run(
    root: Path, run_id: str, node_id: str, *, cache: bool = True, attempt: int | None = None
) -> tuple[Result, Mapping[str, Any]]:
    """Runs a node as the only attempt at it; an earlier one that is still under way ends first.

    Args:
        root: ROOT.
        run_id: of a run that was begun.
        node_id: the node's.
        cache: False runs it anew, whatever the run's own setting.
        attempt: the scheduler's number of it, for the log.

    Returns:
        The result; and `report`, where the node decided or pushed something.

    Raises:
        UsageError: there is no such run or node.
    """
    settings = scheduled.settings(root, run_id)
    folder = scheduled.folder(root, run_id)
    known = {one.id: one for one in runs.read(folder / runs.FILE).nodes}
    if node_id not in known:
        raise UsageError(f"run {run_id}: no node {node_id!r}{did_you_mean(node_id, known)}")
    scheduled.use_import_path(settings)
    with live_log.writing(folder / f"{node_id}.log"), attempts.sole_attempt(folder, node_id):
        if attempt is not None:
            print(f"{node_id}, attempt {attempt}", flush=True)
        scheduled.started(root, run_id, node_id)
        result = _run(root, folder, run_id, node_id, settings, cache)
        scheduled.ended(root, run_id, node_id, result.state, result.reason, result.outputs)
    return result, report(known[node_id].kind, result)


def _run(root: Path, folder: Path, run_id: str, node_id: str, settings: scheduled.RunSettings, cache: bool) -> Result:
    try:
        quieten()
        pipeline = node.load_ir(folder / scheduled.IR, run_id, settings.params)
        upstream = {one.pipeline_node.node_info.id: one.pipeline_node.upstream_nodes for one in pipeline.nodes}
        if _any_skipped(runs.read(folder / runs.FILE), upstream[node_id]):
            return Result("skipped", reason="a node that it depends on was skipped")
        return node.run(
            folder / scheduled.IR,
            node_id,
            run_id,
            root=root,
            params=settings.params,
            cache=cache and settings.cache,
        )
    except (Exception, SystemExit) as error:
        return broken(error)


def _any_skipped(run: Run, upstream: Any) -> bool:
    return any(one.state == "skipped" for one in run.nodes if one.id in upstream)


def report(kind: str, result: Result) -> dict[str, Any]:
    """What a scheduler shows of a decision or a push.

    Args:
        kind: of component.
        result: the node's.

    Returns:
        `{"report": {…}}`: of a Blessing its metrics, rules and verdicts; of a Pusher the version; else nothing.
    """
    if kind == "Blessing" and result.outputs.get("blessing"):
        decided = _read(Path(result.outputs["blessing"][0]["uri"]) / "blessing.json")
        return {"report": {key: decided[key] for key in ("metrics", "verdicts") if key in decided}}
    pushed = result.outputs.get("pushed_model", [{}])[0].get("properties", {}) if kind == "Pusher" else {}
    if not pushed.get("pushed_version"):
        return {}
    path = Path(pushed["pushed_destination"])
    manifest = _read(path / local.MANIFEST)
    about = {
        "version": int(pushed["pushed_version"]),
        "path": str(path),
        "manifest": str(path / local.MANIFEST),
        "metrics": manifest.get("metrics", {}).get("ensemble", {}),
        "members": manifest.get("members", []),
        "spans": manifest.get("spans", []),
        "promoted": "not_promoted" not in pushed,
        "not_promoted": pushed.get("not_promoted", ""),
        "already_served": bool(pushed.get("already_served")),
    }
    return {"report": about}


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
    answer(lambda: run(args.root.absolute(), args.run, args.node, cache=not args.no_cache, attempt=args.attempt))


if __name__ == "__main__":
    main()
