"""The first task of a scheduler's run: what the run takes is resolved, checked and compiled for all later tasks.

    python -m benison.pipelines.begin --manifest FILE --run-id RUN [--root DIR] [--param name=value …]

It checks the form's values, lands and ingests the spans before the newest, and compiles the pipeline into
ROOT/runs/RUN. It waits while another run of the pipeline is under way. What it answers: see
`benison.pipelines.running.answer`.
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

from benison.pipelines import node
from benison.pipelines.airflow import form, manifest
from benison.pipelines.airflow.manifest import Manifest
from benison.pipelines.compilation.compiled import Compiled, from_ir
from benison.pipelines.config import Pipeline
from benison.pipelines.quiet import quieten
from benison.pipelines.records import attempts, locks, runs
from benison.pipelines.running import live_log, scheduled
from benison.pipelines.running.answer import answer
from benison.pipelines.running.node_result import Result, broken
from benison.serving.errors import DataError, NodeFailed, UsageError

_POLL_S, _TELL_S = 2.0, 60.0


def begin(file: Path, run_id: str, root: Path, given: Mapping[str, str]) -> tuple[Result, Mapping[str, Any]]:
    """Begins a run.

    Args:
        file: the manifest.
        run_id: names the run's folder; the same id begins the run anew.
        root: ROOT.
        given: the form's values, JSON text by name.

    Returns:
        The result; and `window`, the spans that the run takes.

    Raises:
        UsageError: a value that is not allowed, a span that has not landed, or a manifest that is out of date.
        DataError: the data of an earlier span are invalid.
        NodeFailed: a node that ingests one failed.
    """
    about = manifest.read(file)
    values = form.values(about.parameters, given)
    span, cache = values.pop(form.SPAN, None), values.pop(form.CACHE)
    config = _config(about, file.parent, values)
    params = {} if config else _params(about, values)
    settings = scheduled.RunSettings(cache, params, about.import_path)
    folder = scheduled.folder(root, run_id)
    with (
        live_log.writing(folder / f"{scheduled.BEGIN}.log"),
        attempts.sole_attempt(folder, scheduled.BEGIN),
        _alone(root, about.name, run_id),
    ):
        scheduled.begin(root, run_id, about.name, settings)
        try:
            compiled = _compile(about, file.parent, config, folder / scheduled.IR, root, span)
            _ingest_earlier(compiled, root, run_id, settings)
        except BaseException:
            scheduled.finish(root, run_id)
            raise
    return Result("complete"), {"window": list(compiled.window)}


@contextmanager
def _alone(root: Path, name: str, run_id: str) -> Iterator[None]:
    """The pipeline's lock, once no other run is under way."""
    told = time.monotonic() - _TELL_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locks.pipeline_lock(root, name, run_id))
                break
            except UsageError as busy:
                if time.monotonic() - told >= _TELL_S:
                    print(f"waits: {busy}", file=sys.stderr, flush=True)
                    told = time.monotonic()
                time.sleep(_POLL_S)
        yield


def _config(about: Manifest, beside: Path, values: Mapping[str, Any]) -> Pipeline | None:
    """The config with the run's values in it; None for a pipeline that was written in Python."""
    if about.config is None:
        return None
    return form.filled_in(json.loads((beside / about.config).read_text(encoding="utf-8")), values)


def _params(about: Manifest, values: Mapping[str, Any]) -> dict[str, Any]:
    """The runtime parameters of a pipeline that was written in Python, of the types that TFX insists on."""
    floats = {field.name for field in about.parameters if field.type == "number"}
    given = {name: value for name, value in values.items() if value is not None}
    return {name: float(value) if name in floats else value for name, value in given.items()}


def _compile(
    about: Manifest, beside: Path, config: Pipeline | None, ir: Path, root: Path, span: str | None
) -> Compiled:
    """Compiles for this run, and compares the graph with the one that the scheduler goes through."""
    quieten()
    if config is None:
        shutil.copyfile(beside / about.ir, ir)
        compiled = from_ir(ir)
    else:
        from benison.pipelines.compilation import compiling

        compiled = compiling.for_run(config, root, ir, span)
    own, drawn = {one.id for one in compiled.nodes if one.ir == ir}, {one.id for one in about.nodes}
    if own != drawn:
        changed = ", ".join(sorted(own ^ drawn))
        raise UsageError(
            f"{about.name}: its nodes changed since it was compiled ({changed}); `benison compile` it again"
        )
    return compiled


def _ingest_earlier(compiled: Compiled, root: Path, run_id: str, settings: scheduled.RunSettings) -> None:
    """Clears away what killed runs left, then runs the nodes that stand before the pipeline's own."""
    from benison.pipelines.records import lineage, metadata_store

    pipeline = node.load_ir(compiled.ir, run_id, settings.params)
    metadata_store.make_tables(metadata_store.of_pipeline(pipeline, root), root)
    lineage.abandon_unfinished(pipeline, root)
    scheduled.plan(root, run_id, compiled)
    mark = int(time.time())  # the next attempt's own, so that it may take from the cache what this one has done
    for one in compiled.nodes:
        if one.ir == compiled.ir:
            continue
        print(f"{one.id} …", flush=True)
        scheduled.started(root, run_id, one.id)
        with live_log.writing(scheduled.folder(root, run_id) / f"{one.id}.log"):
            part = runs.part(run_id, f"{one.ir.stem}.{mark}")
            try:
                result = node.run(one.ir, one.name, part, root=root, cache=settings.cache)
            except BaseException as error:
                scheduled.ended(root, run_id, one.id, "failed", broken(error).reason, {})
                raise
        scheduled.ended(root, run_id, one.id, result.state, result.reason, result.outputs)
        print(f"{one.id} {result.state}", flush=True)
        if result.state in runs.BROKEN:
            kind = DataError if result.state == "invalid" else NodeFailed
            raise kind(f"{one.id}: {result.reason}")


def main() -> None:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m benison.pipelines.begin")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("BENISON_ROOT", ".benison")))
    parser.add_argument("--param", action="append", default=[], metavar="name=value", help="a value as JSON")
    args = parser.parse_args()
    if any("=" not in given for given in args.param):
        parser.error("--param: expected name=value")
    given = dict(one.split("=", 1) for one in args.param)
    answer(lambda: begin(args.manifest.absolute(), args.run_id, args.root.absolute(), given))


if __name__ == "__main__":
    main()
