"""Run one node of a compiled pipeline: the function behind the CLI, Airflow and the notebook.

    python -m benison.pipelines.node --ir FILE --node ID --run-id RUN [--param k=v] [--root DIR] [--no-cache]

`benison.pipelines.running.answer` describes its output. A node that has already succeeded in the run runs again. For a
node of a run that a scheduler began, see `benison.pipelines.scheduled_node`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.components import alone, legacy_keras
from benison.pipelines.code import cache_key, reads, watching
from benison.pipelines.records import attempts, locks, metadata_store, runs, temporary
from benison.pipelines.running import node_cache, reruns, timing
from benison.pipelines.running.answer import answer_and_exit
from benison.pipelines.running.node_result import Result, failed_result, reason_of
from benison.pipelines.running.termination import Terminated
from benison.serving.errors import BenisonError, NodeFailed, UsageError
from benison.serving.files import system_errors

if TYPE_CHECKING:
    from tfx.orchestration.metadata import Metadata
    from tfx.proto.orchestration import pipeline_pb2

# Class paths of the releases before everything was imported as `benison.…`.
_FORMER_CLASS = re.compile(
    r'"(components\.(?:anomaly_gate|baseline|blessing|content_driver|ensemble_builder|example_gen|import_example_gen'
    r"|label_check|pusher|scorer|serving_validator|span_window|trainer|transform|tuner)\.\w+)\""
)
_RESOLVER = "tfx.dsl.components.common.resolver.Resolver"
# A strategy that finds no artifact returns None, such as LatestArtifactStrategy in a first run. TFX records this
# Resolver as failed, but runs the nodes that can run without the artifact, such as a Trainer without a base model.
_NOTHING = " returned None."
CACHE = "benison_cache"  # property of a run's context: 1 if the run may use cached results, else 0


@dataclass(frozen=True)
class Code:
    """The code of a node.

    Attributes:
        key: its hash, a part of the node's cache key; '' for a node without an executor, such as a Resolver.
        users: whether it has code of the user.
        functions: the hash of the user's functions that a node of Benison runs, a part of the key; '' without any.
    """

    key: str = ""
    users: bool = False
    functions: str = ""


def run(
    ir: Path,
    node_id: str,
    run_id: str,
    *,
    root: Path,
    params: Mapping[str, Any] | None = None,
    cache: bool = True,
    code: Code | None = None,
    taking: node_cache.Taking | None = None,
) -> Result:
    """Run one node with TFX's launcher and read its result from ML Metadata.

    Args:
        ir: compiled pipeline (JSON).
        node_id: the node's id.
        run_id: the same for all nodes of a run.
        root: ROOT; for the metadata store see `benison.pipelines.records.metadata_store`.
        params: values of the pipeline's runtime parameters.
        cache: use the result of an earlier execution with the same inputs, properties and code, if there is one. A
            node that has already succeeded in this run is never taken from the cache.
        code: from `code_of`, if the caller has it already.
        taking: what the node takes from an earlier run, in a partial run.

    Returns:
        The result; a failure is a result too, with its traceback on stderr.
    """
    legacy_keras.settle_keras()
    from tfx.orchestration.portable import launcher

    from benison.pipelines.running.executor_operators import OPERATORS

    pipeline = load_ir(ir, run_id, params or {})
    node = _find(pipeline, node_id)
    record_cache_setting(node, cache)
    executor, driver = _deployment(pipeline, node_id)
    connection = metadata_store.of_pipeline(pipeline, root)
    try:
        # A node that has already succeeded in this run was started again on purpose, so it must not be cached.
        if reruns.prepare_attempt(connection, pipeline, node) or not cache:
            node.execution_options.caching_options.enable_cache = False
        node_code = code or code_of(pipeline, node_id)
        if node_code.key:
            node.parameters.parameters[node_cache.FINGERPRINT].field_value.string_value = node_code.key
        watched = watching.watched() if node_code.users else contextlib.nullcontext()
        with _locked(root), node_cache.checked(taking), watched, timing.phase(timing.LAUNCHER):
            launcher.Launcher(
                pipeline_node=node,
                mlmd_connection=connection,
                pipeline_info=pipeline.pipeline_info,
                pipeline_runtime_spec=pipeline.runtime_spec,
                executor_spec=executor,
                custom_driver_spec=driver,
                custom_executor_operators=dict(OPERATORS),
            ).launch()
    except (Exception, SystemExit) as error:  # a node's code that calls sys.exit() has not done its work
        if isinstance(error, Terminated):
            error.end_children()
        elif line := system_errors.machine_failure(error):
            print(line, file=sys.stderr)
        elif isinstance(error, NodeFailed):
            print(error, file=sys.stderr)
        else:
            traceback.print_exc()
        try:
            reruns.close_unfinished(connection, pipeline, node, reason_of(error))
        except Exception as second:  # the database's disk is full, too; the next run closes it
            print(f"the failure could not be recorded: {reason_of(second)}", file=sys.stderr)
        return failed_result(error)
    with timing.phase(timing.RECORD):
        return _record_and_read(connection, node, lambda: _inputs(pipeline, node_id, node_code))


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold ROOT's locks of nodes, and let the node hold one alone while it measures; waiting is a phase of its own."""
    with contextlib.ExitStack() as stack:
        with timing.phase(timing.LOCK):
            stack.enter_context(locks.node_lock(root))
            alone_in_root = stack.enter_context(locks.measuring_lock(root))

        @contextlib.contextmanager
        def measuring() -> Iterator[None]:
            with contextlib.ExitStack() as measurement:
                with timing.phase(timing.LOCK):
                    measurement.enter_context(alone_in_root())
                yield

        stack.enter_context(alone.provided(measuring))
        yield


def _inputs(pipeline: pipeline_pb2.Pipeline, node_id: str, code: Code) -> Mapping[str, Any]:
    """Return the record of what a node's code has read.

    The key of the cache was made before the code was imported. If a file was saved in between, the result is that of
    the new code, and whoever restores the old file must not get it from the cache.
    """
    if not code.users:
        return reads.NOTHING
    record = reads.OF_PROCESS.record(_artifact_folders(pipeline))
    try:
        changed = code_of(pipeline, node_id) != code
    except BenisonError:  # a file is gone, or half-written
        changed = True
    return {**record, "unknown": "its code changed while it ran"} if changed else record


def code_of(pipeline: pipeline_pb2.Pipeline, node_id: str) -> Code:
    """Read the code of a node; the files stay parsed in this process and its forks.

    Raises:
        BenisonError: there is no such node, or a file of its code is not valid Python.
    """
    node = _find(pipeline, node_id)
    executor, driver = _deployment(pipeline, node_id)
    if executor is None:
        return Code()
    functions = cache_key.hash_functions(node)
    key = cache_key.hash_node(node, executor, driver, functions)
    return Code(key, cache_key.runs_user_code(node, executor, driver), functions)


def load_ir(path: Path, run_id: str, params: Mapping[str, Any]) -> pipeline_pb2.Pipeline:
    """Read a compiled pipeline and fill in the run's id and parameters.

    Raises:
        UsageError: the file names a class of Benison by the path of an earlier release.
    """
    from tfx.orchestration.portable import runtime_parameter_utils
    from tfx.proto.orchestration import pipeline_pb2

    text = path.read_text()
    if former := _FORMER_CLASS.search(text):
        raise UsageError(
            f"{path}: {former[1]} is a class path of an earlier release of Benison; "
            "compile it again (`benison compile NAME`)"
        )
    pipeline = pipeline_pb2.Pipeline.FromString(_parsed(text))
    runtime_parameter_utils.substitute_runtime_parameter(pipeline, {**params, "pipeline-run-id": run_id})
    return pipeline


@functools.lru_cache(maxsize=4)  # a worker reads the same one before each node, and each node in a fork of it
def _parsed(text: str) -> bytes:
    """Parse the JSON of a compiled pipeline; return its binary form."""
    from google.protobuf import json_format
    from tfx.proto.orchestration import local_deployment_config_pb2, pipeline_pb2

    assert local_deployment_config_pb2  # the parser must know the messages in the deployment config
    return bytes(json_format.Parse(text, pipeline_pb2.Pipeline()).SerializeToString())


def _artifact_folders(pipeline: pipeline_pb2.Pipeline) -> list[str]:
    """Return the folders of the nodes' artifacts, and TFX's folder of packed module files."""
    root = pipeline.runtime_spec.pipeline_root.field_value.string_value
    return [os.path.join(root, name) for name in (*(n.pipeline_node.node_info.id for n in pipeline.nodes), "_wheels")]


def _find(pipeline: pipeline_pb2.Pipeline, node_id: str) -> pipeline_pb2.PipelineNode:
    from benison.serving.close_names import did_you_mean

    nodes = {n.pipeline_node.node_info.id: n.pipeline_node for n in pipeline.nodes}
    if node_id not in nodes:
        hint = did_you_mean(node_id, nodes) or f"; it has {', '.join(nodes)}"
        raise NodeFailed(f"{pipeline.pipeline_info.id}: no node {node_id!r}{hint}")
    return nodes[node_id]


def record_cache_setting(node: pipeline_pb2.PipelineNode, cache: bool) -> None:
    """Record in ML Metadata whether the run may use the cache.

    The setting is a property of the run's context, because a node's own properties are part of its cache key. The
    run's first node writes it.
    """
    for context in node.contexts.contexts:
        if context.type.name == reruns.RUN:
            context.properties[CACHE].field_value.int_value = int(cache)


def _deployment(pipeline: pipeline_pb2.Pipeline, node_id: str) -> tuple[Any, Any]:
    """Return the node's executor and driver; None where it has none."""
    from tfx.orchestration.local import runner_utils

    deployment = runner_utils.extract_local_deployment_config(pipeline)
    executor = runner_utils.extract_executor_spec(deployment, node_id)
    return executor, runner_utils.extract_custom_driver_spec(deployment, node_id)


def _record_and_read(
    connection: Metadata, node: pipeline_pb2.PipelineNode, inputs: Callable[[], Mapping[str, Any]]
) -> Result:
    """Record what a node has written and read (see `node_cache.record`), and read its result from ML Metadata.

    The launcher's own return value is not enough: it is the same when inputs do not resolve, and it lists wrong outputs
    for a cached node.
    """
    from ml_metadata.proto import metadata_store_pb2 as mlmd
    from tfx.orchestration.portable.mlmd import execution_lib

    with connection as handle:
        execution = _execution(handle, node)
        if execution is None and node.inputs.conditionals:
            return Result("skipped", reason="its condition does not hold")
        if execution is None:
            return Result("failed", reason="its inputs cannot be resolved: no earlier node has written them")
        artifacts = execution_lib.get_output_artifacts(handle, execution.id)
        if (
            execution.last_known_state == mlmd.Execution.COMPLETE
            and node_cache.FINGERPRINT in node.parameters.parameters
        ):
            node_cache.record(handle, execution, artifacts, inputs())
        changed = (
            ""
            if node_cache.FINGERPRINT in node.parameters.parameters
            else node_cache.changed_artifact(handle, artifacts)
        )
        cached = execution.last_known_state == mlmd.Execution.CACHED and node.HasField("execution_options")
        # TFX publishes a Resolver and an Importer as if cached; neither computes anything.
        origin = node_cache.origin(handle, artifacts) if cached else ""
    origin = runs.whole_run_id(origin)
    outputs = {key: [_describe(a) for a in values] for key, values in artifacts.items()}
    if execution.last_known_state not in (mlmd.Execution.COMPLETE, mlmd.Execution.CACHED):
        reason = _unresolved(execution)
        if node.node_info.type.name == _RESOLVER and reason.endswith(_NOTHING):
            return Result("complete", outputs)
        return Result("failed", outputs, reason or "it has no successful execution")
    if changed:
        return Result("failed", outputs, changed)
    for described in (d for values in outputs.values() for d in values):
        if described["type"] in _BLESSINGS and described["properties"].get("blessed") == 0:
            return Result(
                "not_blessed", outputs, str(described["properties"].get("reason", "the model is not blessed")), origin
            )
        if described["type"] == "PushedModel" and (reason := described["properties"].get("not_pushed")):
            return Result("not_pushed", outputs, str(reason))
    return Result("cached" if cached else "complete", outputs, origin=origin)


_BLESSINGS = ("ModelBlessing", "InfraBlessing")


def _execution(handle: Any, node: pipeline_pb2.PipelineNode) -> Any:
    from tfx.orchestration.portable.mlmd import context_lib, execution_lib

    contexts = context_lib.prepare_contexts(handle, node.contexts)
    executions = execution_lib.get_executions_associated_with_all_contexts(handle, contexts)
    return max(executions, key=lambda execution: execution.id) if executions else None


def _unresolved(execution: Any) -> str:
    """Return the error that the launcher recorded about unresolved inputs: the last line of its traceback."""
    properties = execution.custom_properties
    text = properties["__execution_result__"].string_value if "__execution_result__" in properties else ""
    lines = str(json.loads(text or "{}").get("resultMessage", "")).splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    last = next((line for line in lines[frames[-1] + 1 if frames else 0 :] if line[:1].strip()), "")
    class_path, colon, message = last.partition(": ")
    return f"{class_path.rpartition('.')[2]}{colon}{message}"


def _describe(artifact: Any) -> dict[str, Any]:
    properties = {
        name: getattr(value, value.WhichOneof("value"))
        for name, value in artifact.mlmd_artifact.custom_properties.items()
        if value.WhichOneof("value") in ("int_value", "double_value", "string_value")
    }
    return {"uri": artifact.uri, "type": artifact.type_name, "properties": properties}


def main() -> None:
    """Run the command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m benison.pipelines.node")
    parser.add_argument("--node", required=True)
    parser.add_argument("--ir", type=Path, required=True, help="any compiled pipeline (JSON)")
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="a runtime parameter")
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("BENISON_ROOT", ".benison")))
    parser.add_argument("--no-cache", action="store_true")
    args = parser.parse_args()
    if any("=" not in param for param in args.param):
        parser.error("--param: expected k=v")
    root = args.root.absolute()
    params = dict(param.split("=", 1) for param in args.param)

    def work() -> tuple[Result, Mapping[str, Any]]:
        own_folder = temporary.folder(root, args.run_id, args.node)
        with attempts.sole_attempt(root / "runs" / args.run_id, args.node), own_folder as own, temporary.use(own):
            return run(args.ir, args.node, args.run_id, root=root, params=params, cache=not args.no_cache), {}

    answer_and_exit(work)


if __name__ == "__main__":
    main()
