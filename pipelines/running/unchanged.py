"""Runs in which nothing changed: take all results from the last whole run, without TFX and without worker processes.

A run whose nodes all succeeded, or that the Blessing or the ServingValidator refused, leaves a record of what it
depended on (`whole_run`, `run_inputs`) and of its entries in ML Metadata (`run_lineage`). The next run compares. If
everything is as recorded, each node would be taken from the cache, and the Pusher would find its version served. So
the run writes what it would have written, and ends. If anything differs, changes at this moment, or cannot be compared,
the run continues in the ordinary way, which knows best what to run again.

No record is kept of a run if another one would not be cached as a whole: if the code read something unknown, if the
pushed version is not served, or if it was compared with another served version than the one that it made (with spans,
where the drift is measured against the served version). Nor with an object store, which each run checks.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.pipelines.records import locks, runs, whole_run
from benison.pipelines.records.whole_run import WholeRun
from benison.pipelines.running import run_inputs, run_lineage
from benison.pipelines.running.live_log import open_log
from benison.serving.errors import NodeFailed

if TYPE_CHECKING:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    from benison.pipelines.config import Pipeline
    from benison.pipelines.running.run_lineage import RunLineage

_WHOLE = frozenset({"complete", "cached", "skipped", "not_blessed"})  # states of the nodes of a whole run
_SERVED = frozenset({"pushed", "already_served"})
_OUTCOMES = frozenset({*_SERVED, "not_blessed"})
_INPUT_HASH = "input_fingerprint"  # property of ExampleGen's execution


@dataclass(frozen=True)
class _Last:
    """The last whole run, and what was read of it."""

    record: WholeRun
    run: runs.Run
    irs: list[Path]
    store: Any
    lineage: RunLineage


class Comparison:
    """Compares a run that begins with the last whole run of its pipeline.

    Args:
        config: the pipeline's config.
        root: ROOT.
        span: the value of `--span`.
    """

    def __init__(self, config: Pipeline, root: Path, span: str | None) -> None:
        self._config = config
        self._root = root
        self._span = span
        self._record = whole_run.read(root, config.name)
        self._files = run_inputs.FilesRead()
        self._before: dict[str, Any] | None = None

    @property
    def is_first(self) -> bool:
        """True if the pipeline has no earlier run in ROOT, so that nothing is in the cache."""
        return len(list((self._root / "runs").glob(f"{self._config.name}-*"))) <= 1

    def repeat(self, run: runs.Run) -> bool:
        """Write the results of the last whole run as those of `run`, if nothing has changed since.

        Returns:
            True if they were written; False leaves the run as it was.

        Raises:
            NodeFailed: ML Metadata or the run's folder could not be written.
        """
        with locks.node_lock(self._root):  # pruning waits
            last = self._last()
            if isinstance(last, str):
                return False
            try:
                self._write(run, last)
            except Exception as error:
                reason = f"nothing has changed, but the run could not be recorded: {error}; run again"
                raise NodeFailed(reason) from error
        return True

    def difference(self) -> str:
        """Return what differs from the last whole run; '' if nothing does."""
        last = self._last()
        return last if isinstance(last, str) else ""

    def begin(self, run: runs.Run) -> None:
        """Read what must not change while the nodes run; call this before the first node starts.

        It is written into the run's folder, so that a run that is interrupted has a record too.
        """
        try:
            self._before = dict(run_inputs.surroundings(self._config, self._files))
            whole_run.save_inputs(run.folder, {**self._before, "code": run_inputs.code(self._config)})
        except Exception:
            self._before = None

    def changed_since(self, run: runs.Run) -> Sequence[str]:
        """Return the dotted names of what has changed since an earlier run, of what that run has recorded; sorted.

        See `run_inputs.in_words`.
        """
        then = {**_data_read(run), **(whole_run.read_inputs(run.folder) or {})}
        now: dict[str, Any] = {}
        with suppress(Exception):
            now["code"] = run_inputs.code(self._config)
        with suppress(Exception):  # the first ones are known, even if the last cannot be read
            for name, value in run_inputs.inputs(self._config, self._root, self._span, self._files):
                now[name] = value
        both = now.keys() & then.keys()
        return sorted(d for name in both for d in whole_run.differences(then[name], now[name], name))

    def remember(self, run: runs.Run, functions: Mapping[str, str | None]) -> None:
        """Record what a run whose nodes have ended depended on, and all of it if the next one could repeat it.

        The record of an earlier run may stay, because it names the newest execution of then.

        Args:
            run: the run.
            functions: by node, the hash of the user's functions that were part of the key of its cache.
        """
        try:
            files = run_inputs.FilesRead()
            inputs = dict(run_inputs.inputs(self._config, self._root, self._span, files))
            if any(inputs[name] != value for name, value in (self._before or {}).items()):
                return
            for other in runs.earlier(self._root, run):
                before = whole_run.read_inputs(other.folder)
                if before is not None and inputs.keys() <= before.keys():  # a part may have read no data
                    run.changed = run_inputs.in_words(whole_run.differences(before, inputs))
                    break
            whole_run.save_inputs(run.folder, inputs)
            record = self._recorded(run, functions, inputs, files)
        except Exception:  # such as a file that was removed at this moment; a record is never needed
            return
        if record is not None:
            record.save(self._root, run.pipeline)

    def _last(self) -> _Last | str:
        """Return the last whole run if nothing has changed since, else what is different."""
        if self._record is None:
            return "there is no whole run"
        try:
            return self._compared(self._record)
        except Exception as error:  # in doubt the run goes the ordinary way, which reports what is wrong
            return str(error) or type(error).__name__

    def _compared(self, record: WholeRun) -> _Last | str:
        files = run_inputs.FilesRead()
        for name, now in run_inputs.inputs(self._config, self._root, self._span, files):
            if changed := list(whole_run.differences(record.inputs.get(name), now, name)):
                return ", ".join(changed)
        run = runs.read(self._root / "runs" / record.run / runs.FILE)
        store = run_lineage.open_store(self._root)
        lineage = run_lineage.read(store, run, record.origins)
        if lineage.newest != record.newest or lineage.hash() != record.entries:
            return "entries in ML Metadata"
        if difference := lineage.difference():
            return difference
        irs = [run.folder / name for name in ("pipeline.json", *(f"span-{number}.json" for number in run.window[:-1]))]
        if run.outcome not in _OUTCOMES or not all(file.is_file() for file in irs):
            return f"the folder of run {run.id}"
        files.refuse_changed()  # while the others were compared
        return _Last(record, run, irs, store, lineage)

    def _write(self, run: runs.Run, last: _Last) -> None:
        """Write what a run without changes writes: its files, and its entries in ML Metadata."""
        for file in last.irs:
            shutil.copyfile(file, run.folder / file.name)
        whole_run.save_inputs(run.folder, last.record.inputs)
        run.window, run.repeats = list(last.run.window), last.run.id
        cached = {entry.node for entry in last.lineage.entries if entry.origin is not None}
        run.nodes = [
            replace(
                node,
                state="cached" if node.id in cached and node.state == "complete" else node.state,
                log=str(run.folder / f"{node.id}.log"),
                started=time.time(),
                seconds=0.0,
                profile={},
                origin=(node.origin or last.run.id) if node.id in cached else "",
            )
            for node in last.run.nodes
        ]
        for node in run.nodes:
            log = open_log(Path(node.log))
            os.write(log, f"nothing changed since run {last.run.id}\n".encode())
            os.close(log)
        run_lineage.repeat(last.store, last.lineage, last.run, run, lambda artifact: _pushed_again(run, artifact))
        lineage = run_lineage.read(last.store, run)
        replace(last.record, run=run.id, origins=lineage.origins, entries=lineage.hash(), newest=lineage.newest).save(
            self._root, run.pipeline
        )

    def _recorded(
        self, run: runs.Run, functions: Mapping[str, str | None], inputs: dict[str, Any], files: run_inputs.FilesRead
    ) -> WholeRun | None:
        if self._before is None or not self._can_be_repeated(run):
            return None
        self._files.refuse_changed()
        served = inputs["served"]
        if run.outcome_of_nodes() in _SERVED and (served is None or served["number"] != _pushed(run)):
            return None
        # What the nodes had in the keys of their cache must be what is there now.
        used = {functions.get(node.id) for node in run.nodes if node.state != "skipped"}
        if not used <= run_inputs.users_functions(self._config):
            return None
        store = run_lineage.open_store(self._root)
        lineage = run_lineage.read(store, run)
        if not _is_complete(run, lineage) or lineage.difference():
            return None
        for properties in lineage.properties(_INPUT_HASH):
            if inputs["data"].get(str(properties["span"].int_value)) != properties[_INPUT_HASH].string_value:
                return None
        files.refuse_changed()
        return WholeRun(run.id, inputs, lineage.origins, lineage.hash(), lineage.newest)

    def _can_be_repeated(self, run: runs.Run) -> bool:
        if run.part or self._config.serving.store or not {node.state for node in run.nodes} <= _WHOLE:
            return False
        outcome = run.outcome_of_nodes()
        if outcome == "pushed":
            # Else an earlier push was promoted now, and its own baseline counts in the next run.
            new = run.outputs("PushedModel")[-1]["properties"]
            return self._config.spans is None and bool(new["pushed"]) and "not_promoted" not in new
        return outcome in _OUTCOMES


def _pushed_again(run: runs.Run, before: mlmd.Artifact) -> mlmd.Artifact:
    """Return the artifact of a Pusher that finds its version served, and set it in the run."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    folder = Path(before.uri).with_name(run.id)
    folder.mkdir()
    artifact = mlmd.Artifact(type_id=before.type_id, uri=str(folder), state=mlmd.Artifact.LIVE)
    for name, value in before.custom_properties.items():
        artifact.custom_properties[name].CopyFrom(value)
    artifact.custom_properties["pushed"].int_value = 0
    artifact.custom_properties["already_served"].int_value = 1
    for node in run.nodes:
        if node.kind == run_lineage.PUSHER:
            ((key, (output,)),) = node.outputs.items()
            properties = {**output["properties"], "pushed": 0, "already_served": 1}
            node.outputs = {key: [{**output, "uri": artifact.uri, "properties": properties}]}
    return artifact


def _data_read(run: runs.Run) -> dict[str, Any]:
    """Return the data that a run has read, as `run_inputs` has it; a run that was interrupted has no other record."""
    data: dict[str, Any] = {}
    for output in run.outputs("Examples"):
        properties = output["properties"]
        if _INPUT_HASH in properties:  # an ExampleGen's
            data[str(properties.get("span", 0))] = properties[_INPUT_HASH]
            if not run.window:
                data["files"] = json.loads(properties.get("files", "[]"))
    return {"data": {"window": list(run.window), **data}} if data else {}


def _pushed(run: runs.Run) -> str:
    return str(run.outputs("PushedModel")[-1]["properties"]["pushed_version"])


def _is_complete(run: runs.Run, lineage: RunLineage) -> bool:
    """Return True if each node that ran has one execution, which the cache keeps if it can."""
    nodes = [entry.node for entry in lineage.entries]
    ran = sorted(node.id for node in run.nodes if node.state != "skipped")
    # A Resolver has nothing of its own to keep: it names artifacts of other nodes.
    kept = all(entry.origin is not None or entry.kind in (run_lineage.PUSHER, "Resolver") for entry in lineage.entries)
    return sorted(nodes) == ran and kept
