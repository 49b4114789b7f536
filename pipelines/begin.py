"""The first task of a scheduled run: check the run's values and compile the pipeline for all later tasks.

    python -m benison.pipelines.begin --manifest FILE --run-id RUN [--root DIR] [--param name=value …]

It checks the form's values, ingests the spans before the newest, and compiles the pipeline into ROOT/runs/RUN. It waits
while another run of the pipeline is under way. `benison.pipelines.running.answer` describes its output.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benison.pipelines import made_from, node
from benison.pipelines.airflow import form, manifest
from benison.pipelines.airflow.manifest import PipelineManifest
from benison.pipelines.compilation.compiled import Compiled, from_ir
from benison.pipelines.config import Pipeline
from benison.pipelines.quiet import quieten
from benison.pipelines.records import attempts, locks, runs, temporary
from benison.pipelines.running import live_log, scheduled_run
from benison.pipelines.running.answer import answer_and_exit
from benison.pipelines.running.node_result import Result, failed_result
from benison.serving.errors import DataError, NodeFailed, UsageError
from benison.serving.files import system_errors

_POLL_S, _REPORT_S = 2.0, 60.0


def begin(file: Path, run_id: str, root: Path, form_values: Mapping[str, str]) -> tuple[Result, Mapping[str, Any]]:
    """Begin a run.

    Args:
        file: the manifest.
        run_id: names the run's folder; the same id starts the run again from its beginning.
        root: ROOT.
        form_values: the form's values, JSON text by name.

    Returns:
        The result; and `window`, the spans that the run uses.

    Raises:
        UsageError: a value is not allowed, a span has not landed, or the manifest is out of date.
        DataError: the data of an earlier span is invalid.
        NodeFailed: a node that ingests an earlier span failed.
    """
    pipeline = manifest.read(file)
    values = form.values(pipeline.parameters, form_values)
    span, cache = values.pop(form.SPAN, None), values.pop(form.CACHE)
    defaults = {field.name: field.default for field in pipeline.parameters}
    sets = {name: json.dumps(value) for name, value in values.items() if value != defaults[name]}
    config = manifest.config_of(file, pipeline, values)
    params = {} if config else _params(pipeline, values)
    settings = scheduled_run.RunSettings(
        cache,
        params,
        pipeline.import_path,
        manifest=str(file),
    )
    folder = scheduled_run.run_folder(root, run_id)
    with (
        system_errors.about(root),
        live_log.log_to_file(folder / f"{scheduled_run.BEGIN}.log"),
        attempts.sole_attempt(folder, scheduled_run.BEGIN),
        _wait_for_pipeline_lock(root, pipeline.name, run_id),
        temporary.folder(root, run_id, scheduled_run.BEGIN) as own,
        temporary.use(own),
    ):
        scheduled_run.begin(root, run_id, pipeline.name, settings, made_from.recordable(sets))
        try:
            compiled = _compile(pipeline, file.parent, config, folder / scheduled_run.IR, root, span)
            _ingest_earlier(compiled, root, run_id, settings)
        except BaseException:
            scheduled_run.finish(root, run_id)
            raise
    return Result("complete"), {"window": list(compiled.window)}


@contextmanager
def _wait_for_pipeline_lock(root: Path, name: str, run_id: str) -> Iterator[None]:
    """Hold the pipeline's lock; wait for it while another run is under way."""
    reported = time.monotonic() - _REPORT_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locks.pipeline_lock(root, name, run_id))
                break
            except UsageError as busy:
                if time.monotonic() - reported >= _REPORT_S:
                    print(f"waiting: {busy}", file=sys.stderr, flush=True)
                    reported = time.monotonic()
                time.sleep(_POLL_S)
        yield


def _params(pipeline: PipelineManifest, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the runtime parameters of a pipeline that was written in Python, with the types that TFX requires."""
    floats = {field.name for field in pipeline.parameters if field.type == "number"}
    return {name: float(value) if name in floats else value for name, value in values.items() if value is not None}


def _compile(
    pipeline: PipelineManifest, folder: Path, config: Pipeline | None, ir: Path, root: Path, span: str | None
) -> Compiled:
    """Compile the pipeline for this run, and check that it has the nodes that the scheduler knows.

    Raises:
        UsageError: the nodes differ.
    """
    quieten()
    if config is None:
        shutil.copyfile(folder / pipeline.ir, ir)
        compiled = from_ir(ir)
    else:
        from benison.pipelines.compilation import compiling

        compiled = compiling.for_run(config, root, ir, span)
    now, then = {task.id for task in compiled.nodes if task.ir == ir}, {task.id for task in pipeline.nodes}
    if now != then:
        changed = ", ".join(sorted(now ^ then))
        raise UsageError(
            f"{pipeline.name}: its nodes changed since it was compiled ({changed}); "
            f"compile it again (`benison compile {pipeline.name}`)"
        )
    return compiled


def _ingest_earlier(compiled: Compiled, root: Path, run_id: str, settings: scheduled_run.RunSettings) -> None:
    """Clean up after killed runs, then run the nodes that ingest earlier spans."""
    from benison.pipelines.records import lineage, metadata_store

    pipeline = node.load_ir(compiled.ir, run_id, settings.params)
    metadata_store.make_tables(metadata_store.of_pipeline(pipeline, root), root)
    lineage.abandon_unfinished(pipeline, root)
    scheduled_run.plan(root, run_id, compiled)
    mark = int(time.time())  # each attempt has its own run id in ML Metadata, so a retry can use this one's cache
    for task in compiled.nodes:
        if task.ir == compiled.ir:
            continue
        print(f"{task.id} …", flush=True)
        scheduled_run.record_start(root, run_id, task.id)
        with live_log.log_to_file(scheduled_run.run_folder(root, run_id) / f"{task.id}.log"):
            sub_run = runs.sub_run_id(run_id, f"{task.ir.stem}.{mark}")
            try:
                result = node.run(task.ir, task.name, sub_run, root=root, cache=settings.cache)
            except BaseException as error:
                scheduled_run.record_end(root, run_id, task.id, "failed", failed_result(error).reason, {})
                raise
        scheduled_run.record_end(root, run_id, task.id, result.state, result.reason, result.outputs)
        print(f"{task.id} {result.state}", flush=True)
        if result.state in runs.FAILED_STATES:
            error_type = DataError if result.state == "invalid" else NodeFailed
            raise error_type(f"{task.id}: {result.reason}")


def main() -> None:
    """Run the command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m benison.pipelines.begin")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("BENISON_ROOT", ".benison")))
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="a value as JSON")
    args = parser.parse_args()
    if any("=" not in param for param in args.param):
        parser.error("--param: expected NAME=VALUE")
    values = dict(param.split("=", 1) for param in args.param)
    answer_and_exit(lambda: begin(args.manifest.absolute(), args.run_id, args.root.absolute(), values))


if __name__ == "__main__":
    main()
